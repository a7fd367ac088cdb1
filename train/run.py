"""The door of this room: images in, accuracy table and weights out.

    result = train_run(preset("quick"), Path("runs/digits"))

A run whose folder holds an unfinished run of the same settings continues it; a finished one is read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch

from ponas_deploy.tables import (
    AccuracyOrigin,
    AccuracyTable,
    Grid,
    SpaceKey,
    load_accuracy_table,
    write_accuracy_table,
)
from searchspace import Architecture, Space, build_space
from train.compute import Compute
from train.data import Splits, load
from train.folder import RunFolder, dotted
from train.loop import evaluate
from train.meta import train_meta
from train.modules import Network
from train.progress import LayerRow, OnProgress, Progress, silent
from train.progressive import fine_tune
from train.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run leaves behind: the table, and where the files are.

    `weights` is the supernet (every candidate), `meta` the meta network, `best` the network of each
    layer's best candidate.
    """

    table: AccuracyTable
    table_path: Path
    weights: Path
    meta: Path
    best: Architecture


def train_run(settings: TrainSettings, run_dir: Path, on_progress: OnProgress = silent) -> TrainResult:
    """Train the meta network, fine-tune it progressively, write accuracy table and weights.

    Raises UnknownNameError (data set, space, device), RunMismatchError (the folder holds another
    run), TrainingError (the loss is not finite). After any of them, and after Ctrl-C, the last
    finished epoch or layer is kept, and the same call continues from there.
    """
    compute = Compute.on(settings.device, settings.workers)
    on_progress(Progress("data", 0, 1, settings.data))
    splits = load(
        settings.data,
        resolution=settings.resolution,
        seed=settings.seed,
        workers=settings.workers,
        on_progress=on_progress,
    )
    space = build_space(settings.space, splits.resolution, splits.classes)
    on_progress(Progress("data", 1, 1, f"{len(splits.train.labels)} training images"))
    folder = RunFolder(run_dir, space, splits, settings.seed)
    folder.claim(settings)
    if not folder.table.exists():
        with compute.seeded(settings.seed):  # what torch draws for new modules is overwritten
            _train(settings, folder, compute, on_progress)
    folder.tidy()
    return _result(folder)


def _train(settings: TrainSettings, folder: RunFolder, compute: Compute, on_progress: OnProgress) -> None:
    space, splits, seed = folder.space, folder.splits, settings.seed
    if not folder.meta.exists():
        meta, _ = train_meta(
            space,
            splits,
            settings.meta,
            seed=seed,
            compute=compute,
            state=folder.meta_state,
            on_progress=on_progress,
        )
        folder.save_meta(meta)
    network, finished = folder.load_network(compute)
    rows = list(finished)
    for row in rows:
        on_progress(Progress("fine-tune", 0, 1, f"layer {row.layer}", row=row))
    tuning = fine_tune(
        space,
        network,
        splits,
        settings.fine_tune,
        seed=seed,
        compute=compute,
        finished=len(rows),
        on_progress=on_progress,
    )
    for tuned in tuning:
        rows.append(tuned.row)
        folder.save_layer(network, rows, tuned)
    folder.save_supernet(network)
    table = accuracy_table(rows, space, splits, settings, _details(settings, folder, network, compute))
    write_accuracy_table(table, folder.table)


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
    top1 = Grid(
        tuple(row.layer for row in rows),
        tuple(row.labels for row in rows),
        tuple(row.top1_pct for row in rows),
    )
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return AccuracyTable.from_top1(top1, space=SpaceKey.of(space), origin=origin, created=created)


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


def _result(folder: RunFolder) -> TrainResult:
    table = load_accuracy_table(folder.table)
    details = dict(table.origin.details) if table.origin else {}
    best = Architecture(folder.space, tuple(details.get("best", "").split(",")))
    return TrainResult(table, folder.table, folder.weights, folder.meta, best)
