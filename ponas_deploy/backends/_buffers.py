"""What the runtimes share: aligned buffers, and the checks that come before a runtime is asked."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError, UnknownNameError
from ponas_deploy.machines.processes import lacks_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIGNMENT_BYTES = 64


def aligned_buffer(shape: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
    """A float32 array of `shape` that starts at a cache line, filled with N(0, 1).

    Where a buffer starts moves a latency by percents; zeros would let sparse kernels cheat.
    """
    count = prod(shape)
    raw = np.empty(4 * count + _ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT_BYTES
    buffer: NDArray[np.float32] = raw[start : start + 4 * count].view(np.float32).reshape(tuple(shape))
    buffer[...] = np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)
    return buffer


def filled_buffer(shape: Sequence[int], kind: Any, seed: int = 0) -> NDArray[Any]:
    """An array of any type as the input of a model that nobody knows more of.

    N(0, 1) for floats, ones for whole numbers and flags (a token, a mask, an index that is nearly always
    there), any byte for images.
    """
    of = np.dtype(kind)
    if of == np.float32:
        return aligned_buffer(shape, seed)
    if of == np.uint8:
        return np.random.default_rng(seed).integers(0, 256, tuple(shape), dtype=np.uint8)
    if of.kind == "f":
        return aligned_buffer(shape, seed).astype(of)
    return np.ones(tuple(shape), of)


def check_settings(backend: str, precisions: Sequence[str], settings: RunSettings) -> None:
    """UnknownNameError for a precision this machine does not run, BackendError for no threads."""
    if settings.precision not in precisions:
        raise UnknownNameError(f"precision of {backend} on this machine", settings.precision, precisions)
    if settings.threads < 1:
        raise BackendError(backend, f"{settings.threads} threads were asked for: ask for 1 or more.")


def static_shape(backend: str, shape: Sequence[object], what: str) -> tuple[int, ...]:
    """A shape of whole numbers; BackendError when the model leaves one open."""
    sizes = [size for size in shape if isinstance(size, int) and size > 0]
    if len(sizes) != len(shape):
        raise BackendError(
            backend, f"the model's {what} has the open shape {list(shape)}: every size must be fixed."
        )
    return tuple(sizes)


def check_images(backend: str, images: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """BackendError when the images are not what the model takes."""
    if tuple(images.shape) != shape:
        raise BackendError(backend, f"the images have shape {tuple(images.shape)}, the model takes {shape}.")


def import_fault(error: Exception, package: str) -> str:
    """Why a runtime's package cannot be imported, and what helps."""
    reason = first_line(error).rstrip(".")
    remedy = "close other programs" if lacks_memory(reason) else f"pip install {package}"
    return f"cannot be imported ({reason}): {remedy}."


def first_line(error: BaseException) -> str:
    """What a runtime's error says first, as the end of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if text.endswith(".") else f"{text}."
