"""What INT8 scales are made of: the largest magnitude of each value, seen while images run in ONNX Runtime.

Without images of the network's own, normally distributed random ones stand in: good enough for latency, which
does not depend on scales, and meaningless for accuracy. The same images give the same scales.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ponas_deploy.backends._buffers import first_line, static_shape
from ponas_deploy.backends.onnx_precision import model_bytes, read_model, values_read, weighted_nodes
from ponas_deploy.backends.onnxruntime_sessions import (
    compiled,
    import_onnxruntime,
    session_options,
    translated,
)
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError, FileFormatError
from ponas_deploy.files.opening import check_regular

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANDOM_BATCHES = 4
INT8_SCALES = "int8_scales"
"""Under this name an environment says where the scales come from."""


@dataclass(frozen=True)
class Calibration:
    """The images that INT8 scales come from, and which percentile of their values a scale covers.

    `images` is (count, channels, height, width) float32, prepared as the network wants them; None stands for
    random ones. 100 is the plain maximum; a smaller percentile lets the rarest values saturate, so that the
    others are resolved more finely. BackendError for images that scales cannot come from.
    """

    images: NDArray[np.float32] | None = None
    percentile: float = 100.0

    def __post_init__(self) -> None:
        if not 50 < self.percentile <= 100:
            raise BackendError(
                "calibration", f"the percentile {self.percentile:g} is not above 50 and at most 100."
            )
        if self.images is None:
            return
        shape, kind = self.images.shape, self.images.dtype
        if len(shape) != 4 or not shape[0] or kind != np.float32 or not np.isfinite(self.images).all():
            raise BackendError(
                "calibration",
                f"the images are {kind} of shape {shape}: give finite float32 values of shape (count,"
                " channels, height, width), prepared as the network wants them.",
            )

    @property
    def text(self) -> str:
        """For people and environments: where the scales come from."""
        if self.images is None:
            source = f"{RANDOM_BATCHES} random batches"
        else:
            digest = hashlib.sha256(np.ascontiguousarray(self.images).tobytes()).hexdigest()[:12]
            source = f"{len(self.images)} images ({digest})"
        statistic = "maximum" if self.percentile == 100 else f"percentile {self.percentile:g}"
        return f"symmetric, {statistic} of {source}"

    def batches(self, shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
        """Inputs of `shape`; the first images fill the last batch up. BackendError for other images."""
        if self.images is not None:
            if self.images.shape[1:] != shape[1:]:
                raise BackendError(
                    "calibration",
                    f"the images are {self.images.shape[1:]} each, the model takes {shape[1:]}: scales come"
                    " from images of its own size.",
                )
            for start in range(0, len(self.images), shape[0]):
                chosen = np.arange(start, start + shape[0]) % len(self.images)
                yield np.ascontiguousarray(self.images[chosen], np.float32)
            return
        random = np.random.default_rng(0)
        for _ in range(RANDOM_BATCHES):
            yield random.standard_normal(shape, dtype=np.float32)


def read_images(path: Path) -> NDArray[np.float32]:
    """Images for `Calibration` out of a .npy file; FileFormatError where it is none."""
    check_regular(path)
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FileFormatError(path, "", f"is no .npy file of images ({first_line(error)})") from error
    if not isinstance(found, np.ndarray):
        raise FileFormatError(path, "", "holds several arrays: write the images alone, with numpy.save.")
    return found


def largest_magnitudes(
    backend: str, model: bytes, calibration: Calibration, layers: Collection[str] | None = None
) -> Mapping[str, float]:
    """The largest magnitude of each value that a strongly typed runtime quantises (`onnx_precision.py`)."""
    names = values_read(weighted_nodes(backend, read_model(backend, model), layers))
    found = value_ranges(backend, model, calibration, names)
    return {name: max(-least, most) for name, (least, most) in found.items()}


def value_ranges(
    backend: str, model: bytes, calibration: Calibration, names: Sequence[str]
) -> Mapping[str, tuple[float, float]]:
    """The least and the largest of each value, zero among them, over all images.

    With a percentile both end at that of the magnitudes, the widest over the batches.
    """
    import onnx

    proto = read_model(backend, model)
    graph = proto.graph
    source = graph.input[0]
    sizes = [size.dim_value or size.dim_param for size in source.type.tensor_type.shape.dim]
    shape = static_shape(backend, sizes, "input")
    inside = [name for name in names if name != source.name]
    del graph.output[:]
    graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in inside
    )
    runtime = import_onnxruntime(backend)
    found = dict.fromkeys(names, (0.0, 0.0))
    with translated(backend, "cannot calibrate the model"):
        session = inside and compiled(runtime, model_bytes(proto), session_options(runtime, RunSettings()))
        for images in calibration.batches(shape):
            values = dict(zip(inside, session.run(inside, {source.name: images}))) if session else {}
            values[source.name] = images
            for name in names:
                least, most = _range(values[name], calibration.percentile)
                found[name] = min(found[name][0], least), max(found[name][1], most)
    return found


def _range(values: NDArray[np.float32], percentile: float) -> tuple[float, float]:
    least, most = float(values.min()), float(values.max())
    if percentile == 100:
        return least, most
    end = float(np.percentile(np.abs(values), percentile))
    return max(least, -end), min(most, end)
