"""The door of this room: images in, accuracy table and weights out.

    result = train_run(preset("quick"), Path("runs/digits"))

A run whose folder holds an unfinished run of the same settings continues it; a finished one is read.
Started by torchrun, all its processes train together.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import torch

from ponas_deploy.errors import PonasError
from ponas_deploy.tables.accuracy import AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.grid import SpaceKey
from searchspace import Architecture, Space
from train.compute import Compute, distributed, enough_memory
from train.data import Splits
from train.files import RunPaths, grid_of, lock
from train.networks import Network, refuse_untrainable
from train.progress import LayerRow, OnProgress, TrainingProgress, silent
from train.runs.folder import RunFolder, RunJob, Stage, opened, run_stages, space_of
from train.settings import FineTuneSettings, TrainSettings, dotted, recipe_of
from train.stages import evaluate, fine_tune, train_meta


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run leaves behind: the table, and where the files are.

    `weights` is the supernet (every candidate), `meta` the meta network or None where none was trained,
    `best` the network of each layer's best candidate.
    """

    table: AccuracyTable
    table_path: Path
    weights: Path
    meta: Path | None
    best: Architecture


def train_run(settings: TrainSettings, run_dir: Path, on_progress: OnProgress = silent) -> TrainResult:
    """Train the meta network, fine-tune it progressively, write accuracy table and weights.

    Raises PonasError for another recipe than the progressive one (`train.runs.fitted_run` trains by those),
    UnknownNameError (data set, space, device), RunMismatchError (the folder holds another run), TrainingError
    (the loss is not finite), OutOfMemoryError, PonasError (another process trains in the folder),
    OtherProcessError (another of the processes that train together failed). After any of them, and after
    Ctrl-C, the last finished epoch or layer is kept, and the same call continues from there.
    """
    if (recipe := recipe_of(settings)) != "progressive":
        raise PonasError(
            f"space '{settings.space}' is asked to train by the recipe {recipe}, and train_run knows only"
            " progressive: call train.runs.fitted_run."
        )
    leads = distributed.leads()
    compute = Compute.on(settings.device, settings.workers, settings.precision)
    with distributed.joined(compute.device), lock.held(run_dir) if leads else nullcontext():
        return _run(settings, RunPaths(run_dir), compute, on_progress if leads else silent)


def _run(settings: TrainSettings, paths: RunPaths, compute: Compute, on_progress: OnProgress) -> TrainResult:
    refuse_untrainable(space_of(settings))  # before an image is read
    folder = opened(settings, paths, on_progress)
    folder.claim(settings)
    if not folder.has(paths.table):
        stages = (Stage(paths.meta, _meta), Stage(paths.table, _fine_tuned))
        run_stages(stages, RunJob(settings, folder, compute, on_progress))
    distributed.first(paths.tidy)
    return result_of(folder)


def _meta(job: RunJob) -> None:
    meta, _ = train_meta(
        job.folder.space,
        job.folder.splits,
        job.settings.meta,
        seed=job.settings.seed,
        compute=job.compute,
        state=job.folder.paths.meta_state,
        on_progress=job.on_progress,
    )
    job.folder.save_meta(meta)


def _fine_tuned(job: RunJob) -> None:
    settings, folder, compute = job.settings, job.folder, job.compute
    space, splits = folder.space, folder.splits
    network, finished = folder.load_unfinished(compute)
    rows = list(finished)
    for row in rows:
        job.on_progress(TrainingProgress("fine-tune", 0, 1, f"layer {row.layer}", row=row))
    tuning = fine_tune(
        space,
        network,
        splits,
        settings.fine_tune,
        seed=settings.seed,
        compute=compute,
        finished=len(rows),
        on_progress=job.on_progress,
    )
    with _enough_for_candidates(settings.fine_tune):
        for tuned in tuning:
            rows.append(tuned.row)
            folder.save_layer(network, rows, tuned)
    folder.save_supernet(network)
    table = accuracy_table(rows, space, splits, settings, _details(settings, folder, network, compute))
    distributed.first(partial(write_accuracy_table, table, folder.paths.table))


def _enough_for_candidates(settings: FineTuneSettings) -> AbstractContextManager[None]:
    """Short of memory, first fewer candidates go through the network at once, then fewer images."""
    stage = "the candidates of a layer"
    if settings.pass_images >= 2 * settings.batch:
        return enough_memory(stage, settings.pass_images, "fine_tune.pass_images =")
    return enough_memory(stage, settings.batch, "fine_tune.batch =")


def accuracy_table(
    rows: list[LayerRow],
    space: Space,
    splits: Splits,
    settings: TrainSettings,
    details: dict[str, str],
) -> AccuracyTable:
    """The table of the finished rows, with where it comes from."""
    origin = AccuracyOrigin(
        data=splits.name,
        method="progressive",
        resolution=space.resolution,
        classes=space.classes,
        images=len(splits.validation.labels),
        epochs=(("meta", settings.meta.epochs), ("fine_tune", settings.fine_tune.epochs)),
        seed=settings.seed,
        details=tuple(details.items()),
    )
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return AccuracyTable.from_top1(grid_of(rows), space=SpaceKey.of(space), origin=origin, created=created)


def _details(
    settings: TrainSettings, folder: RunFolder, network: Network, compute: Compute
) -> dict[str, str]:
    """What else a reader of the table may want to know, with the accuracy of both ends of the run."""
    splits = folder.splits
    meta = folder.load_meta(compute)
    chosen = dotted({"meta": asdict(settings.meta), "fine_tune": asdict(settings.fine_tune)})
    return {
        "training_images": str(len(splits.train.labels)),
        "test_images": str(len(splits.test.labels)),
        "meta_validation_top1_pct": f"{evaluate(meta, splits.validation, compute).top1_pct:.2f}",
        "meta_test_top1_pct": f"{evaluate(meta, splits.test, compute).top1_pct:.2f}",
        "best": network.architecture.text,
        "best_test_top1_pct": f"{evaluate(network, splits.test, compute).top1_pct:.2f}",
        **{name: str(value) for name, value in chosen},
        "device": compute.text,
        "torch": torch.__version__,
    }


def result_of(folder: RunFolder) -> TrainResult:
    """What a finished run has left in its folder."""
    paths = folder.paths
    table = distributed.first(partial(load_accuracy_table, paths.table))
    details = dict(table.origin.details) if table.origin else {}
    best = Architecture.from_text(folder.space, details.get("best", ""))
    meta = paths.meta if folder.has(paths.meta) else None
    return TrainResult(table, paths.table, paths.weights, meta, best)
