"""GPU providers for the real ONNX Runtime: their sessions go to the stand-in, all others stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Binding:
    """Knows whether there is an input that was not computed yet: a thousand runs of one are the same."""

    def __init__(self, real: Any) -> None:
        self.real, self.is_new = real, True

    def synchronize_inputs(self) -> None:
        self.is_new = True
        self.real.synchronize_inputs()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def dress(real: Any) -> None:
    on_cpu = real.InferenceSession

    class Options(real.SessionOptions):
        def __init__(self) -> None:
            super().__init__()
            self.entries: dict[str, str] = {}

        def add_session_config_entry(self, key: str, value: str) -> None:
            self.entries[key] = value
            if key != "session.disable_cpu_ep_fallback":
                super().add_session_config_entry(key, value)

    class RunOptions(real.RunOptions):
        def __init__(self) -> None:
            super().__init__()
            self.entries: dict[str, str] = {}
            self.real = self

        def add_run_config_entry(self, key: str, value: str) -> None:
            self.entries[key] = value

    class OrtValue:
        @staticmethod
        def ortvalue_from_numpy(array: Any, device: str = "cpu", number: int = 0) -> Any:
            return real_value.ortvalue_from_numpy(array, "cpu", 0)

        @staticmethod
        def ortvalue_from_shape_and_type(shape: Any, kind: Any, device: str = "cpu", number: int = 0) -> Any:
            return real_value.ortvalue_from_shape_and_type(shape, kind, "cpu", 0)

    def session(model: Any, sess_options: Any = None, providers: Any = None, **more: Any) -> Any:
        if not providers or isinstance(providers[0], str):
            return on_cpu(model, sess_options, providers=providers, **more)
        # These import ONNX Runtime themselves.
        from onnxruntime_standin import Gpu
        from stand_in_machine import MACHINE, run_ms

        made = Gpu().session(model, sess_options, providers, more["enable_fallback"])
        run = made.run_with_iobinding
        size = len(model) if isinstance(model, bytes) else Path(model).stat().st_size
        took_ms = run_ms(size)

        def timed(binding: Any, options: Any) -> None:
            MACHINE.now_ms += took_ms
            if binding.is_new:
                run(binding.real, options)
                binding.is_new = False

        bind = made.io_binding
        made.run_with_iobinding, made.io_binding = timed, lambda: Binding(bind())
        return made

    real_value, available = real.OrtValue, real.get_available_providers()
    real.SessionOptions, real.RunOptions, real.OrtValue = Options, RunOptions, OrtValue
    real.InferenceSession = session
    real.get_available_providers = lambda: ["CUDAExecutionProvider", "TensorrtExecutionProvider", *available]
    real.cuda_version = "13.0"
