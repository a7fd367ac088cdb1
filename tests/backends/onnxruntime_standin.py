"""ONNX Runtime with a GPU, played by the real runtime: its CPU provider wears a GPU provider's name.

It computes, writes down what it was asked, and refuses options that the real providers do not know.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns, sleep
from types import SimpleNamespace
from typing import Any

import pytest

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


# From ONNX Runtime's sources: cuda_execution_provider_info.cc and tensorrt_execution_provider_info.cc.
KNOWN = {
    "CUDAExecutionProvider": {
        *("device_id", "has_user_compute_stream", "user_compute_stream", "gpu_mem_limit"),
        *(
            "arena_extend_strategy",
            "cudnn_conv_algo_search",
            "do_copy_in_default_stream",
            "gpu_external_alloc",
        ),
        *(
            "gpu_external_free",
            "gpu_external_empty_cache",
            "cudnn_conv_use_max_workspace",
            "enable_cuda_graph",
        ),
        *("cudnn_conv1d_pad_to_nc1d", "tunable_op_enable", "tunable_op_tuning_enable", "prefer_nhwc"),
        *("tunable_op_max_tuning_duration_ms", "enable_skip_layer_norm_strict_mode"),
        *("use_ep_level_unified_stream", "use_tf32"),
    },
    "TensorrtExecutionProvider": {
        *("device_id", "user_compute_stream", "trt_max_partition_iterations", "trt_min_subgraph_size"),
        *("trt_max_workspace_size", "trt_fp16_enable", "trt_int8_enable", "trt_engine_cache_enable"),
        *("trt_engine_cache_path", "trt_engine_cache_prefix", "trt_force_sequential_engine_build"),
        *("trt_timing_cache_enable", "trt_timing_cache_path", "trt_force_timing_cache"),
        *("trt_builder_optimization_level", "trt_auxiliary_streams", "trt_cuda_graph_enable"),
        *("trt_ep_context_embed_mode", "trt_ep_context_file_path", "trt_dump_ep_context_model"),
    },
}


class Options:
    """`SessionOptions` that can be read."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.optimized_model_filepath = ""

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class RunOptions:
    """`RunOptions` that can be read, with the real ones inside."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.real = onnxruntime.RunOptions()

    def add_run_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value
        self.real.add_run_config_entry(key, value)


class Gpu:
    """The runtime of a machine with a GPU; `sessions` are the (options, provider options) asked for."""

    def __init__(self, *providers: str) -> None:
        self.providers = providers or tuple(KNOWN)
        self.sessions: list[tuple[Options, dict[str, str]]] = []
        self.refuse_graph = self.refuse_all = ""
        self.stands_in = False
        self.runs: list[dict[str, str]] = []
        self.inputs: list[str] = []
        self.calls: list[str] = []
        self.replay_waits, self._held_until_ns = False, 0

    def hold(self, time_ns: float) -> None:
        """Keep the stream, by the host's clock, from what is enqueued next."""
        self.calls.append("hold")
        self._held_until_ns = perf_counter_ns() + round(time_ns)

    def cuda(self) -> SimpleNamespace:
        """As `_cuda.Cuda`: a stream, and events 0.75 ms apart for each run between them."""
        api = SimpleNamespace(
            cudaEventCreate="create",
            cudaEventRecord="record",
            cudaEventElapsedTime="elapsed",
            cudaEventDestroy=lambda event: self.calls.append("destroy"),
        )

        def call(what: str, function: str, *arguments: object) -> float:
            first, *last = [number for number, call in enumerate(self.calls) if call == "record"][-2:] or [0]
            self.calls.append(function)
            return 0.75 * self.calls[first : last[0] if last else None].count("run")

        return SimpleNamespace(
            api=api,
            stream=4711,
            fills_queue=True,
            call=call,
            hold_stream=self.hold,
            is_done=lambda event: False,
            synchronize=lambda what: self.calls.append("wait"),
        )

    def module(self) -> SimpleNamespace:
        real = onnxruntime
        values = SimpleNamespace(
            ortvalue_from_numpy=lambda array, device, number: real.OrtValue.ortvalue_from_numpy(
                array, "cpu", 0
            ),
            ortvalue_from_shape_and_type=lambda shape, kind, device, number: (
                real.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cpu", 0)
            ),
        )
        return SimpleNamespace(
            __version__="1.31.1",
            cuda_version="13.0",
            set_default_logger_severity=lambda level: None,
            get_available_providers=lambda: [*self.providers, "CPUExecutionProvider"],
            preload_dlls=lambda: print("this must not be seen"),
            GraphOptimizationLevel=real.GraphOptimizationLevel,
            ExecutionMode=real.ExecutionMode,
            SessionOptions=Options,
            RunOptions=RunOptions,
            OrtValue=values,
            InferenceSession=self.session,
        )

    def session(
        self, model: bytes | str, options: Options, providers: list[Any], enable_fallback: int
    ) -> SimpleNamespace:
        [(name, chosen)] = providers
        assert enable_fallback == 0
        assert options.entries["session.disable_cpu_ep_fallback"] == "1"
        if unknown := set(chosen) - KNOWN[name]:
            raise RuntimeError(f"Unknown provider option: {unknown}")
        self.sessions.append((options, chosen))
        if self.refuse_all:
            raise RuntimeError(self.refuse_all)
        if self.refuse_graph and chosen.get("enable_cuda_graph") == "1":
            raise RuntimeError(self.refuse_graph)
        mine = onnxruntime.SessionOptions()
        if options.optimized_model_filepath:
            mine.optimized_model_filepath = options.optimized_model_filepath
        if "trt_ep_context_file_path" in chosen:
            Path(chosen["trt_ep_context_file_path"]).write_bytes(bytes(model))  # type: ignore[arg-type]
        compiled = onnxruntime.InferenceSession(model, mine, providers=["CPUExecutionProvider"])

        self.inputs.append(compiled.get_inputs()[0].type)

        def run(binding: Any, options: RunOptions) -> None:
            self.runs.append(dict(options.entries))
            self.calls.append("run")
            if self.replay_waits and "1" in (
                chosen.get("enable_cuda_graph"),
                chosen.get("trt_cuda_graph_enable"),
            ):
                sleep(max(0, self._held_until_ns - perf_counter_ns()) / 1e9)
            compiled.run_with_iobinding(binding, options.real)

        return SimpleNamespace(
            get_providers=lambda: ["CPUExecutionProvider"] if self.stands_in else [name],
            get_inputs=compiled.get_inputs,
            get_outputs=compiled.get_outputs,
            io_binding=compiled.io_binding,
            run_with_iobinding=run,
        )
