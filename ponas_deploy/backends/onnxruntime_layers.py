"""What each node of a model takes, by ONNX Runtime's own profiler.

The profiler writes a trace in the form of Chrome's tracing: one event a node and run, `dur` in
microseconds (https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html). Nodes are of
the optimised graph: fused, and with reorders of the memory layout between them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from ponas_deploy.backends.onnxruntime import OnnxRuntimeSession
from ponas_deploy.backends.onnxruntime_sessions import (
    compiled,
    import_onnxruntime,
    session_options,
    translated,
)
from ponas_deploy.backends.protocol import RunSettings

_NAME = "onnxruntime"
_ENDING = "_kernel_time"
RUNS, _DISCARDED = 20, 3


def layer_times_ms(model: bytes, settings: RunSettings, runs: int = RUNS) -> tuple[tuple[str, float], ...]:
    """Name and median milliseconds of each node in order, of `runs` runs of a model on the CPU.

    A name is the node's, with its operator. The profiler's own work is in them: their sum is more than a run
    takes. BackendError where the runtime is not installed, or refuses the model.
    """
    runtime = import_onnxruntime(_NAME)
    options = session_options(runtime, settings)
    with TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "trace")
        with translated(_NAME, "cannot load the model"):
            profiled = compiled(runtime, model, options)
        with OnnxRuntimeSession(profiled) as session:
            session.time_ns(runs + _DISCARDED)
        trace = Path(profiled.end_profiling()).read_text(encoding="utf-8")
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in json.loads(trace):
        if event.get("cat") == "Node" and event["name"].endswith(_ENDING):
            operator = event["args"].get("op_name", "")
            name = event["name"].removesuffix(_ENDING).rpartition("/")[2]
            times[event["args"].get("node_index", name), f"{name} ({operator})"].append(event["dur"] / 1e3)
    return tuple((name, median(found[_DISCARDED:])) for (_, name), found in times.items())
