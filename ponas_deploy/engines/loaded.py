"""An emitted engine, opened for use: images in, logits out, with the engine's own preprocessing."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import RunSettings, Session, get_backend, registry
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.manifest import MODEL, Manifest
from ponas_deploy.engines.preprocessing import refused
from ponas_deploy.engines.task import random_weights_warning
from ponas_deploy.errors import BackendError, FileFormatError, PonasError
from ponas_deploy.files.images import read_image
from ponas_deploy.files.records import sha256
from ponas_deploy.machines.machine import this_machine

ImageFile: TypeAlias = str | Path
_LARGEST = 2.0
"""Floats in [0, 1] overshoot it a little where they were resized before; those of other ranges by far."""


class LoadedEngine:
    """An open engine: call it with images, close it at the end; a context manager.

    `engine` says what it is. Not for use by several threads at once.
    """

    def __init__(self, engine: Engine, session: Session) -> None:
        self.engine, self._session = engine, session

    def __call__(self, images: NDArray[Any] | ImageFile | Sequence[ImageFile]) -> NDArray[np.float32]:
        """Logits (N, classes) float32 of N images; any N, the engine's batch is filled up or split.

        `images` are (N, H, W, 3), RGB, of any size, uint8 or floats in [0, 1]: they are resized, cut and
        normalised as the weights' training did it. So are image files, one or several, given as paths and
        decoded as for training. Or they are the network's own input, (N, 3, PX, PX) floats of the engine's
        resolution, taken as they are. One image may come without its N.

        Raises PonasError for an array of another shape or kind, for images where the weights do not say how
        they become their input, and for a file that is no image or has pixels of an unknown range.
        """
        manifest = self.engine.manifest
        files = _files(images)
        inputs = _inputs(np.asarray(images), manifest) if files is None else _decoded(files, manifest)
        batch, classes = manifest.conditions.batch, manifest.space.classes
        logits = np.empty((len(inputs), classes), np.float32)
        for start in range(0, len(inputs), batch):
            some = inputs[start : start + batch]
            filled = np.zeros((batch, *some.shape[1:]), np.float32)
            filled[: len(some)] = some
            logits[start : start + len(some)] = self._session.run(filled)[: len(some)]
        return logits

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, in the order of the logits; empty where the weights do not say."""
        return self.engine.class_names

    def close(self) -> None:
        """Free the engine; it is not used again."""
        self._session.close()

    def __enter__(self) -> LoadedEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_engine(folder: Path | str) -> LoadedEngine:
    """Open an emitted engine through its runtime, to run images through it.

    Args:
        folder: the engine's folder, as `deploy` or `export` made it. Where the engine is still to be built on
            its device, the portable network runs through ONNX Runtime.

    A UserWarning says where the engine's weights are random: its answers mean nothing.
    Where this process may use fewer processors than the engine has threads, it runs on those there are.

    Returns: a context manager that is called with images (N, H, W, 3), image files, or (N, 3, PX, PX), and
    returns logits (N, classes) float32, in the order of its `class_names`.

    Raises: FileFormatError for a folder without a manifest or with a file that changed since, BackendError
    when the runtime is missing or refuses the engine.
    """
    engine = Engine.read(folder)
    manifest = engine.manifest
    if not manifest.trained:
        said = random_weights_warning(measured=manifest.measured is not None)
        warnings.warn(f"{folder}: {said}", UserWarning, stacklevel=2)
    name = manifest.engine_file or MODEL
    path = engine.folder / name
    expected = next((file.sha256 for file in manifest.files if file.name == name), "")
    if not path.is_file() or sha256(path) != expected:
        raise FileFormatError(path, "", "is not the file that was emitted: emit the engine again.")
    threads = min(manifest.conditions.threads, this_machine().cores)
    if manifest.engine_file:
        settings = replace(manifest.settings, threads=threads)
        session = _opened(path, settings, manifest)
    else:
        settings = RunSettings(threads=threads)
        session = get_backend(registry.reference_backend()).load(path.read_bytes(), settings)
    return LoadedEngine(engine, session)


def _opened(engine: Path, settings: RunSettings, manifest: Manifest) -> Session:
    """The engine's session; where it is for GPUs that are not here, the BackendError says so."""
    name = manifest.conditions.backend
    try:
        return get_backend(name).open(engine, settings)
    except BackendError as error:
        if not manifest.compute_capability:
            raise
        raise BackendError(
            name,
            f"{engine.parent} is for GPUs of compute capability {manifest.compute_capability} and runs on one"
            f" alone: {error.reason}",
        ) from error


def _inputs(images: NDArray[Any], manifest: Manifest) -> NDArray[np.float32]:
    """The network's input (N, 3, PX, PX) of what a caller gave."""
    given = images[None] if images.ndim == 3 else images
    side = manifest.space.resolution
    if given.ndim != 4 or not (given.dtype == np.uint8 or np.issubdtype(given.dtype, np.floating)):
        raise refused(f"an array of shape {images.shape} and type {images.dtype} is no images")
    if given.shape[1:] == (3, side, side) and given.dtype != np.uint8:
        return given.astype(np.float32, copy=False)
    if given.shape[3] != 3 or not all(given.shape[1:3]):
        raise refused(f"an array of shape {images.shape} is not of this engine of {side} px")
    if given.dtype != np.uint8 and given.size and np.abs(given).max() > _LARGEST:
        raise refused(f"images as floats reach {np.abs(given).max():g}, which is beyond [0, 1]")
    return _prepared(given, manifest)


def _files(images: Any) -> list[Path] | None:
    """The files that images are named by; None for an array."""
    if isinstance(images, (str, Path)):
        return [Path(images)]
    names = list(images) if isinstance(images, (list, tuple)) else []
    return (
        [Path(name) for name in names] if names and all(isinstance(n, (str, Path)) for n in names) else None
    )


def _decoded(files: Sequence[Path], manifest: Manifest) -> NDArray[np.float32]:
    return _prepared((read_image(path) for path in files), manifest)


def _prepared(images: Iterable[NDArray[Any]], manifest: Manifest) -> NDArray[np.float32]:
    """The network's input of images (H, W, 3) of any sizes."""
    how, side = manifest.preprocessing, manifest.space.resolution
    if how is None:
        raise PonasError(
            f"the weights of this engine ({manifest.weights}) do not say how images become their input: give"
            f" (N, 3, {side}, {side}) float32, normalised as in training."
        )
    found = [how.input_of(image, side) for image in images]
    return np.stack(found) if found else np.empty((0, 3, side, side), np.float32)
