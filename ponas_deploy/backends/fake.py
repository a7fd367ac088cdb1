"""A device that is arithmetic, for tests: it needs no runtime, and it never sleeps.

Its time is computed from the ONNX graph, so it adds up over nodes exactly. Every way in which real
devices depart from that can be switched on: what a run costs by itself, noise that only ever slows
down, samples that are slow because of interference, and a factor of each model that no sum explains.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ponas_deploy.backends._buffers import check_images, check_settings, first_line, static_shape
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAME = "fake"
ENGINE = "engine.fake.onnx"


@dataclass(frozen=True)
class FakeDevice:
    """What the device takes and how it departs from that; percentages are of the true time."""

    node_ns: float = 2_000.0
    mac_ns: float = 0.02
    run_ns: float = 5_000.0
    """What every run costs besides its nodes: a sum of isolated cells counts it too often."""
    thread_efficiency: float = 0.9
    noise_pct: float = 0.0
    """Standard deviation of the normal of which each sample gets the absolute value on top."""
    interference_pct: float = 0.0
    """Range of a factor that each model has for itself: above zero, latencies do not add up."""
    slow_samples: range = range(0)
    """Samples of the device, counted from 0, during which it is half as fast."""
    seed: int = 0


class FakeBackend:
    """A deterministic runtime for tests, on a `FakeDevice`: outputs are true, times are computed.

    `FakeBackend(FakeDevice(noise_pct=2.0, seed=1))` takes the place of any backend in this library, such as
    in `profile`. Outputs, of the model's shape, come from ONNX's reference implementation. `elapsed_ns` is
    the device's own clock: the nanoseconds that all samples took together; `samples` counts them. Raises
    what every backend raises: BackendError for a model that cannot be read or has an open shape, for an
    engine that is missing and for a closed session, UnknownNameError for a precision other than its two.
    """

    name = _NAME

    def __init__(self, device: FakeDevice | None = None) -> None:
        self.device = device or FakeDevice()
        self.elapsed_ns = 0
        self.samples = 0

    def precisions(self) -> tuple[str, ...]:
        """fp32, and bf16 at half the cost a MAC (the outputs are the same)."""
        return ("fp32", "bf16")

    def environment(self) -> tuple[tuple[str, str], ...]:
        """The device's description."""
        return (("runtime", "fake 1"), ("fake_device", str(self.device)))

    def load(self, model: bytes, settings: RunSettings) -> FakeSession:
        """Read the graph and compute what it costs."""
        check_settings(_NAME, self.precisions(), settings)
        return FakeSession(model, settings, self)

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Write the model as it is."""
        self.load(model, settings).close()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ENGINE).write_bytes(model)
        return (folder / ENGINE,)

    def open(self, engine: Path, settings: RunSettings) -> FakeSession:
        """A session of a model that `save` wrote."""
        check_settings(_NAME, self.precisions(), settings)
        try:
            model = engine.read_bytes()
        except OSError as error:
            raise BackendError(_NAME, f"cannot open {engine}: {error.strerror}.") from error
        return self.load(model, settings)


class FakeSession:
    """A graph with its cost; see `backends.Session`."""

    def __init__(self, model: bytes, settings: RunSettings, backend: FakeBackend) -> None:
        self._proto: Any = _parse(model)
        self._settings, self._backend = settings, backend
        device, digest = backend.device, zlib.crc32(model)
        self._noise = np.random.default_rng((device.seed, digest))
        own = np.random.default_rng((digest, device.seed)).uniform(-1.0, 1.0)
        factor = 1.0 + device.interference_pct / 100 * own
        self.true_ns = factor * _cost_ns(self._proto.graph, device, settings)

    def settings(self) -> RunSettings:
        """What it was loaded with."""
        self._open()
        return self._settings

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs by ONNX's reference implementation."""
        from onnx.reference import ReferenceEvaluator

        self._open()
        graph = self._proto.graph
        check_images(_NAME, images, _sizes(graph.input[0]))
        try:
            outputs: Any = ReferenceEvaluator(self._proto).run(None, {graph.input[0].name: images})
        except Exception as error:  # whatever an operator raises, or that there is no such operator
            raise BackendError(_NAME, f"cannot run the model: {first_line(error)}") from error
        return np.asarray(outputs[0], dtype=np.float32)

    def time_ns(self, runs: int) -> int:
        """Nanoseconds that `runs` runs take together on the device's clock."""
        self._open()
        backend, device = self._backend, self._backend.device
        slow = 2.0 if backend.samples in device.slow_samples else 1.0
        noise = 1.0 + device.noise_pct / 100 * abs(self._noise.standard_normal())
        taken = round(runs * self.true_ns * slow * noise)
        backend.samples += 1
        backend.elapsed_ns += taken
        return taken

    def close(self) -> None:
        """Forget the graph."""
        self._proto = None

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        if self._proto is None:
            raise BackendError(_NAME, "the session is closed: load the model again.")


def _parse(model: bytes) -> Any:
    import onnx

    try:
        proto = onnx.load_model_from_string(model)
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf's DecodeError has no public home
        raise BackendError(_NAME, f"cannot load the model: {first_line(error)}") from error
    for value, what in ((proto.graph.input[0], "input"), (proto.graph.output[0], "output")):
        static_shape(_NAME, _sizes(value), what)
    return proto


def _sizes(value: Any) -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)


def _cost_ns(graph: Any, device: FakeDevice, settings: RunSettings) -> float:
    per_mac = device.mac_ns * (0.5 if settings.precision == "bf16" else 1.0)
    speed = 1.0 + device.thread_efficiency * (settings.threads - 1)
    work = sum(device.node_ns + per_mac * macs for macs in _node_macs(graph))
    return device.run_ns + work / speed


def _node_macs(graph: Any) -> Iterator[int]:
    """Multiply-accumulates of each node, zero for those without weights."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = {value.name: _sizes(value) for value in (*graph.value_info, *graph.output)}
    for node in graph.node:
        matrix = weights.get(node.input[1]) if len(node.input) > 1 else None
        images, _, *pixels = shapes.get(node.output[0], (0, 0))
        yield images * prod(matrix) * prod(pixels) if matrix else 0
