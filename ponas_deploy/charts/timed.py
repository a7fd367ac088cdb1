"""The layers of a stock network or of any ONNX model, timed on this machine by ONNX Runtime's profiler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.onnxruntime import OnnxRuntimeBackend
from ponas_deploy.backends.onnxruntime_layers import layer_times_ms
from ponas_deploy.engines.onnx_files import fixed_model
from ponas_deploy.engines.stock import stock_networks
from ponas_deploy.engines.stock_models import stock_model
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.machines.machine import this_machine


@dataclass(frozen=True, slots=True)
class TimedNetwork:
    """A network whose layers a runtime timed: its name, where that was, and name and ms of each layer."""

    name: str
    where: str
    layers: tuple[tuple[str, float], ...]


def timed_network(model: str, threads: int = 1, on_note: OnNote = no_note) -> TimedNetwork:
    """The layers of an ONNX file, or of a stock network by its name, in fp32 on this machine's processor.

    UnknownNameError for what is neither, FileFormatError for what is no ONNX model, BackendError where ONNX
    Runtime refuses it, MissingExtraError where a stock network is still to be built and its library missing.
    """
    if Path(model).suffix.lower() == ".onnx" or Path(model).exists():
        name, path = Path(model).name, Path(model)
    else:
        (network,) = stock_networks([model])
        name, path = network.name, stock_model(network, 1).path
    data = fixed_model(path, {}, 1).data
    settings = RunSettings("fp32", threads)
    on_note(f"timing the layers of {name} by ONNX Runtime's profiler ...")
    runtime = dict(OnnxRuntimeBackend().environment())["runtime"]
    many = f"{threads} thread{'s' if threads > 1 else ''}"
    return TimedNetwork(
        name, f"{this_machine().name}, {runtime} fp32, {many}, batch 1", layer_times_ms(data, settings)
    )
