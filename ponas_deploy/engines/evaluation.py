"""The accuracy of a network on labelled images: through torch, then through its engine.

Every refusal comes first. Needs the extra `train`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.engines.accuracy import Accuracy, agree, measure
from ponas_deploy.engines.manifest import Manifest
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.task import random_weights_warning
from ponas_deploy.engines.weights_files import read_file
from ponas_deploy.errors import (
    MissingExtraError,
    PonasError,
    TableMismatchError,
    UnknownNameError,
)
from ponas_deploy.files.class_names import difference
from ponas_deploy.files.notes import Advance, OnNote, no_note
from ponas_deploy.files.weights import WeightsFile
from ponas_deploy.profiling.places import reached
from ponas_deploy.profiling.target import THIS_MACHINE, Target
from ponas_deploy.tables.grid import SpaceKey
from searchspace.architecture import Architecture
from searchspace.mixed import plain_network
from searchspace.weights import Weights

if TYPE_CHECKING:
    from train.data import Images, Splits
    from train.progress import TrainingProgress

SPLITS = ("test", "validation", "train")
_SYNONYMS = {"val": "validation", "valid": "validation"}


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What is evaluated: a network by name, text form or file, its weights, the images, and an engine.

    `data` is a folder or a known data set, None for what the weights were trained on; `split` is test,
    validation, train or all; `resolution` in pixels, None for the weights'; `workers` processes decode them.
    """

    arch: str
    weights: Path
    data: str | None
    engine: Path | None
    split: str
    space: str | None
    resolution: int | None
    workers: int
    seed: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The accuracy of a network through torch, and through an engine where one was named."""

    torch: Accuracy
    cross_entropy: float
    data: str
    split: str
    resolution: int
    space: str
    choices: tuple[str, ...]
    weights: str
    agree: bool | None = None
    engine: Accuracy | None = None
    engine_folder: str = ""
    engine_conditions: str = ""
    engine_weights: str = ""


def evaluate(wanted: EvaluationRequest, advance: Advance, on_note: OnNote = no_note) -> Evaluation:
    """Evaluate; every PonasError but a broken runtime's comes before the first image."""
    if find_spec("torch") is None:
        raise MissingExtraError("torch, which evaluation needs,", "train")
    wanted = replace(wanted, split=_SYNONYMS.get(wanted.split, wanted.split))
    if wanted.split not in (*SPLITS, "all"):
        raise UnknownNameError("split", wanted.split, (*SPLITS, "all"))
    from train.runs import fitting

    file = read_file(wanted.weights, on_note)
    manifest = _manifest(wanted.engine) if wanted.engine else None
    splits = _splits(wanted, file, manifest, advance, on_note)
    architecture = fitting(wanted.arch, wanted.space, file, splits)
    images = [getattr(splits, name) for name in (SPLITS if wanted.split == "all" else (wanted.split,))]
    if manifest:
        if not manifest.trained:
            on_note(f"{wanted.engine}: {random_weights_warning(measured=manifest.measured is not None)}")
        _same_network(manifest, architecture)
        _same_classes(manifest, splits)
    found = _through_torch(wanted, architecture, file, splits, images, advance)
    if manifest is None or wanted.engine is None:
        return found
    accuracy = _through_engine(wanted.engine, manifest, images, advance, on_note)
    return replace(
        found,
        engine=accuracy,
        agree=agree(found.torch, accuracy, manifest.conditions.precision),
        engine_folder=str(wanted.engine),
        engine_conditions=manifest.conditions.text,
        engine_weights=manifest.weights,
    )


def _manifest(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if not manifest.engine_file:
        raise PonasError(f"{folder} holds no engine yet ({manifest.status}): name one that is built.")
    return manifest


def _splits(
    wanted: EvaluationRequest,
    file: WeightsFile,
    manifest: Manifest | None,
    advance: Advance,
    on_note: OnNote,
) -> Splits:
    """The images, cut as the weights' training cut them; PonasError when their classes are others."""

    from train.runs import load_images

    def report(progress: TrainingProgress) -> None:
        if progress.note:
            on_note(progress.text)
        else:
            advance(progress.done, progress.total, progress.text.partition(":")[0])

    return load_images(
        (file,),
        data=wanted.data,
        resolution=wanted.resolution,
        seed=wanted.seed,
        workers=wanted.workers,
        otherwise_px=manifest.space.resolution if manifest else None,
        otherwise_names=manifest.class_names if manifest else (),
        on_progress=report,
    )


def _same_network(manifest: Manifest, architecture: Architecture) -> None:
    engine = plain_network(manifest.architecture)
    if engine.choices != architecture.choices:
        raise TableMismatchError(
            f"the engine is another network's, {','.join(manifest.choices)}: evaluate that one."
        )
    ours = SpaceKey.of(architecture.space)
    if SpaceKey.of(engine.space) != ours:
        raise TableMismatchError(
            f"the engine is for {manifest.space.classes} classes at {manifest.space.resolution} px of space"
            f" '{manifest.space.name}', the images are {ours.classes} classes at {ours.resolution} px."
        )


def _same_classes(manifest: Manifest, splits: Splits) -> None:
    """TableMismatchError where the engine numbers other classes, or the same in another order."""
    ours, theirs = manifest.class_names, splits.class_names
    if not ours or not theirs or ours == theirs:
        return
    text = difference(ours, theirs, "the engine", splits.name) or "the engine numbers them in another order"
    raise TableMismatchError(f"the classes differ, {text}: evaluate the engine of these weights.")


def _through_torch(
    wanted: EvaluationRequest,
    architecture: Architecture,
    file: WeightsFile,
    splits: Splits,
    images: Sequence[Images],
    advance: Advance,
) -> Evaluation:
    from train.stages import evaluate_weights

    weights, how = _fitted(architecture, file, splits, wanted.seed)
    evaluation = evaluate_weights(
        architecture, weights, images, on_progress=lambda p: advance(p.done, p.total, p.text)
    )
    return Evaluation(
        torch=Accuracy(evaluation.top1_pct, evaluation.top5_pct, evaluation.images),
        cross_entropy=evaluation.cross_entropy,
        data=splits.name,
        split=wanted.split,
        resolution=splits.resolution,
        space=architecture.space.name,
        choices=architecture.choices,
        weights=f"{wanted.weights.name}: {how}",
    )


def _fitted(architecture: Architecture, file: WeightsFile, splits: Splits, seed: int) -> tuple[Weights, str]:
    """A network's own weights, or a supernet's as `ponas specialize` and `export` inherit them."""
    from train.stages import inherited_weights

    if not file.supernet:
        return file.inherited(architecture), "as they are"
    how = "inherited, batch norm recalibrated"
    return inherited_weights(architecture, file.stored, splits, seed=seed), how


def _through_engine(
    folder: Path, manifest: Manifest, images: Sequence[Images], advance: Advance, on_note: OnNote
) -> Accuracy:
    from train.stages.evaluation import batches, count

    size, total = manifest.conditions.batch, count(images)

    def arrays() -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        done = 0
        for batch, labels in batches(images, size):
            yield batch.numpy(), labels.numpy()
            done += len(labels)
            advance(done, total, f"through {manifest.conditions.backend}")

    conditions = manifest.conditions
    target = Target(conditions.device, conditions.backend)
    if not target.is_known:
        on_note(f"{target.unreachable} The images go through {folder} on this machine.")
        target = Target(THIS_MACHINE, conditions.backend)
    with reached(target, f"evaluation of {folder}", on_note) as place:
        backend = place.backend(conditions.backend)
        with backend.open(folder / manifest.engine_file, manifest.settings) as session:
            return measure(session, arrays(), size)
