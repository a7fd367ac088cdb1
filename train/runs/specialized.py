"""A specialized network from images to weights and a result, in a folder of its own.

    run.json                what was asked; a run of other settings is refused here
    log.csv                 how it went; see `train.files.log`
    state.safetensors       the network after its last finished epoch; gone when training ends
    weights.safetensors     the trained network
    result.json             its accuracy and where it comes from, written last

Every file but the log is written whole or not at all: a run killed at any moment goes on from its last epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ponas_deploy.files.documents import read_document, write_document
from ponas_deploy.files.records import sha256
from ponas_deploy.files.weights import WeightsFile, read_weights, write_weights
from ponas_deploy.tables.grid import SpaceKey
from searchspace import Architecture
from train.compute import Compute, distributed, generator
from train.data import Splits
from train.files import SPECIALIZED, SPECIALIZED_RUN, RunLog, SourceFile, SpecializedDocument, claim, lock
from train.networks import Network, describe, initialise, refuse_other_images, to_arrays
from train.progress import Evaluation, OnProgress, both, silent
from train.settings import SpecializedSettings
from train.stages import (
    evaluate_weights,
    inherited_network,
    load_teacher,
    recalibrate_batch_norm,
    refuse_other_space,
    train_network,
)

RUN, STATE, WEIGHTS, RESULT = "run.json", "state.safetensors", "weights.safetensors", "result.json"
LOG = "log.csv"
_BEFORE = {"label_smoothing": 0.0, "decay": "cosine", "nesterov": True, "norm_decay": True}
"""The settings of runs that do not name them."""


@dataclass(frozen=True, slots=True)
class SpecializedResult:
    """A trained network: its weights, and its accuracy in float32 on images that it never saw.

    `document` is what the file at `path` holds.
    """

    weights: Path
    path: Path
    document: SpecializedDocument

    @property
    def validation(self) -> Evaluation:
        """On the images that also fill accuracy tables."""
        return self.document.validation

    @property
    def test(self) -> Evaluation:
        """On the images of the final test."""
        return self.document.test


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What is to be trained: a network, on images, from scratch or from `inherited` weights.

    `teacher` belongs to the settings' distillation: ValueError when only one of the two is given.
    """

    architecture: Architecture
    splits: Splits
    settings: SpecializedSettings
    seed: int = 0
    inherited: WeightsFile | None = None
    teacher: WeightsFile | None = None

    def __post_init__(self) -> None:
        if (self.teacher is None) != (self.settings.distillation is None):
            raise ValueError("a teacher and the settings of its distillation come together")

    @property
    def files(self) -> dict[str, WeightsFile]:
        """The files that go into it, by their part."""
        both = {"inherited": self.inherited, "teacher": self.teacher}
        return {name: file for name, file in both.items() if file}

    def identity(self) -> dict[str, Any]:
        """Everything that decides what comes out."""
        splits = self.splits
        parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        return {
            "space": SpaceKey.of(self.architecture.space).document(),
            "choices": list(self.architecture.choices),
            "data": splits.name,
            "split_seed": splits.seed,
            "images": {name: len(part.labels) for name, part in parts.items()},
            "seed": self.seed,
            "training": asdict(self.settings),
            **{name: sha256(file.stored) for name, file in self.files.items()},
        }


def specialized_run(
    job: TrainingJob, folder: Path, *, device: str = "auto", on_progress: OnProgress = silent
) -> SpecializedResult:
    """Train one network and measure what it is worth; started by torchrun, all its processes together.

    A folder with an unfinished run of the same job goes on, a finished one is read. Raises
    WeightsError (a file that does not fit), RunMismatchError, TrainingError, OutOfMemoryError, PonasError
    (another process trains in the folder), OtherProcessError; the last finished epoch is kept.
    """
    compute = Compute.on(device)
    if not distributed.leads():
        with distributed.joined(compute.device):
            return _run(job, folder, compute, silent)
    with distributed.joined(compute.device), lock.held(folder), RunLog(folder / LOG) as log:
        return _run(job, folder, compute, both(log, on_progress))


def _run(job: TrainingJob, folder: Path, compute: Compute, on_progress: OnProgress) -> SpecializedResult:
    architecture, splits = job.architecture, job.splits
    refuse_other_space(architecture, splits)
    for file in job.files.values():
        refuse_other_images(file, splits)
    weights, result, state = folder / WEIGHTS, folder / RESULT, folder / STATE
    with compute.seeded(job.seed):  # what torch draws for new modules is overwritten
        network = _untrained(job, compute)
        teacher = load_teacher(job.teacher, splits, compute) if job.teacher else None
        identity = job.identity()
        distributed.first(partial(_claim, folder, identity))
        if not distributed.first(weights.exists):
            _train(network, job, teacher, state, compute, on_progress)
            header = describe("network", architecture.space, splits, splits.seed)
            tensors = to_arrays(network.state_dict())
            distributed.first(
                partial(write_weights, weights, tensors, {**header, "choices": architecture.text})
            )
        found = distributed.first(partial(_measured, job, identity, folder, compute))
    distributed.first(partial(state.unlink, missing_ok=True))
    return SpecializedResult(weights, result, found)


def _claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Make sure that the folder is this run's, and remove what a killed process has half written."""
    results = folder / WEIGHTS, folder / RESULT
    claim(folder, SPECIALIZED_RUN, identity, results, defaults={"training": _BEFORE})
    for name in (RUN, STATE, WEIGHTS, RESULT):
        for half_written in folder.glob(f".{name}.*"):
            half_written.unlink(missing_ok=True)


def _untrained(job: TrainingJob, compute: Compute) -> Network:
    if job.inherited:
        return inherited_network(job.architecture, job.inherited.tensors, compute)
    network = Network(job.architecture)
    initialise(network, generator(job.seed, "weights"))
    return compute.place(network)


def _train(
    network: Network,
    job: TrainingJob,
    teacher: nn.Module | None,
    state: Path,
    compute: Compute,
    on_progress: OnProgress,
) -> None:
    splits, settings, seed = job.splits, job.settings, job.seed
    train_network(
        network,
        splits,
        settings,
        seed=seed,
        compute=compute,
        teacher=teacher,
        remeasured=job.inherited is not None,
        state=state,
        on_progress=on_progress,
    )
    if job.inherited:
        recalibrate_batch_norm(network, splits, settings.batch, seed, compute)


def _measured(
    job: TrainingJob, identity: Mapping[str, Any], folder: Path, compute: Compute
) -> SpecializedDocument:
    """Accuracy on the validation and on the test images, once measured and then read."""
    path = folder / RESULT
    if not path.exists():
        write_document(path, SPECIALIZED, _document(job, identity, folder / WEIGHTS, compute))
    return read_document(path, SPECIALIZED)


def _document(
    job: TrainingJob, identity: Mapping[str, Any], weights: Path, compute: Compute
) -> SpecializedDocument:
    tensors, splits = read_weights(weights).tensors, job.splits
    validation, test = (
        evaluate_weights(job.architecture, tensors, [images], device=compute.device.type)
        for images in (splits.validation, splits.test)
    )
    files = {name: SourceFile(file.path.name, identity[name]) for name, file in job.files.items()}
    return SpecializedDocument(
        validation=validation,
        test=test,
        weights=weights.name,
        weights_sha256=sha256(weights),
        space=SpaceKey.of(job.architecture.space),
        choices=job.architecture.choices,
        data=splits.name,
        split_seed=splits.seed,
        images=identity["images"],
        seed=job.seed,
        training=job.settings,
        inherited=files.get("inherited"),
        teacher=files.get("teacher"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device=compute.text,
        torch=str(torch.__version__),
    )
