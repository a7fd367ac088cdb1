"""Engines: a folder with the compiled network, the ONNX it came from, and a manifest that says what it is.

model.onnx        the portable network, any runtime can read it
engine.*          what the backend made of it for this device
manifest.json     see `manifest.py`
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.engines.building import Images, build_apart
from ponas_deploy.engines.manifest import MANIFEST, MODEL, EngineFile, Manifest
from ponas_deploy.engines.manifest_file import write_manifest
from ponas_deploy.errors import OverwriteError, PonasError
from ponas_deploy.files.opening import make_folder, place_of
from ponas_deploy.files.records import sha256, write_bytes
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.tables.latency import Conditions
from searchspace.architecture import Architecture
from searchspace.weights import Weights


def build(
    architecture: Architecture,
    weights: Weights,
    conditions: Conditions,
    folder: Path,
    images: Images | None = None,
    on_build: OnBuildProgress | None = None,
    metadata: Mapping[str, str] | None = None,
    place: Place = HERE,
    compute_capability: str = "",
) -> Path:
    """Write `model.onnx` and the backend's engine files into `folder`; returns the file that opens it.

    `images` are those of INT8 scales, `metadata` what the model says of itself. `on_build` is called with how
    far a build is, where the runtime reports it. `place` is the machine that builds it;
    with a `compute_capability` this one does, for GPUs of that.
    """
    from searchspace.graph import network_model

    model = folder / MODEL
    write_bytes(model, network_model(architecture, weights, conditions.batch, metadata).SerializeToString())
    return build_apart(model, conditions, images, on_build, place, compute_capability)


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """Say before anything is built that an engine cannot be put at `folder`.

    OverwriteError when it exists and that was not asked for; PonasError when it is a file, the current
    folder (or one around it), or a folder of something else: those are never replaced.
    """
    place, current = place_of(folder), Path.cwd()
    if place.exists() and not place.is_dir():
        raise PonasError(f"{folder} is a file, an engine is a folder: name another one.")
    if place == current or place in current.parents:
        raise PonasError(
            f"{folder} is the current folder or one around it, which is not replaced: name a folder in it."
        )
    if not place.exists():
        return
    if not overwrite:
        raise OverwriteError(folder)
    if not (place / MANIFEST).exists() and any(place.iterdir()):
        raise PonasError(f"{folder} is not an engine folder and is not replaced: name another one.")


def move_all(source: Path, target: Path) -> None:
    """Move the files of a folder into another one."""
    for path in source.iterdir():
        shutil.move(path, target / path.name)


@contextmanager
def scratch_beside(folder: Path) -> Iterator[Path]:
    """A temporary folder on the same disk as `folder`, gone afterwards."""
    place = place_of(folder)
    try:
        make_folder(place.parent)
        scratch = Scratch(place.parent, f".{place.name}.")
    except OSError as error:
        raise PonasError(f"{folder} cannot be made: {error.strerror}.") from error
    with scratch as name:
        yield Path(name)


def emit(
    manifest: Manifest, folder: Path, fill: Callable[[Path], None], *, overwrite: bool = False
) -> Manifest:
    """Put an engine folder in place whole or not at all; `fill` writes its files, the manifest comes last."""
    refuse_existing(folder, overwrite=overwrite)
    place = place_of(folder)
    with scratch_beside(place) as scratch:
        staging = scratch / place.name
        staging.mkdir()
        fill(staging)
        files = tuple(
            EngineFile(path.name, sha256(path), path.stat().st_size) for path in sorted(staging.iterdir())
        )
        complete = replace(manifest, files=files)
        write_manifest(complete, staging)
        if place.exists():
            place.rename(scratch / "replaced")
        staging.rename(place)
    return complete
