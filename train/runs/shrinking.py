"""A run in a space with stages: progressive shrinking, then a table fitted to random subnets.

    result = shrink_run(preset("quick", space="ofa-mbv3"), Path("runs/digits"), fit)

What is kept, and how a run goes on after it was stopped, is as in `train.runs.supernet`: after each epoch,
each step of the recipe and each group of evaluated subnets.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from ponas_deploy.errors import FileFormatError, WeightsError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.weights import read_weights, write_weights
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from searchspace.elastic import ELASTIC
from train.compute import Compute, distributed
from train.files import RunLog, RunPaths, lock
from train.networks import ElasticNetwork, describe, refuse_inelastic
from train.progress import OnProgress, TrainingProgress, both, silent
from train.runs.enough import refuse_few, too_small
from train.runs.folder import RunFolder, logged, opened, space_of
from train.runs.subnets import EvaluatedSubnets, FitTable, Run, SubnetsWanted, evaluated_subnets
from train.runs.supernet import TrainResult, result_of
from train.settings import TrainSettings, dotted
from train.stages import elastic_of, finished_supernet, shrink_steps, train_largest, train_step


def shrink_run(
    settings: TrainSettings,
    run_dir: Path,
    fit: FitTable,
    on_progress: OnProgress = silent,
    on_note: OnNote = no_note,
) -> TrainResult | None:
    """Train the largest network, then the supernet step by step; write the table that `fit` makes of subnets.

    `best` of the result is the best of those subnets. None in a process that only helps another one. See
    `train.runs.supernet.train_run` for what is raised, and what is kept; SpaceError for a space whose
    candidates share no weights or that is not made for the resolution, PonasError for too few images.
    """
    refuse_inelastic(space_of(settings))  # before an image is read
    leads = distributed.leads()
    compute = Compute.on(settings.device, settings.workers, settings.precision)
    paths = RunPaths(run_dir)
    with lock.held(run_dir) if leads else nullcontext():
        with distributed.joined(compute.device):
            folder = _trained(settings, paths, compute, on_progress if leads else silent)
        if not leads:
            return None
        if not paths.table.exists():
            table = _fitted(settings, folder, compute, fit, on_progress, on_note)
            write_accuracy_table(table, paths.table)
        return result_of(folder)


def _trained(
    settings: TrainSettings, paths: RunPaths, compute: Compute, on_progress: OnProgress
) -> RunFolder:
    folder = opened(settings, paths, on_progress)
    refuse_few(folder.splits)
    if text := too_small(folder.splits):
        on_progress(TrainingProgress("data", 1, 1, text, note=True))
    folder.claim(settings)
    if not folder.has(paths.weights):
        logged(_train, settings, folder, compute, on_progress)
    distributed.first(paths.tidy)
    return folder


def _train(settings: TrainSettings, folder: RunFolder, compute: Compute, on_progress: OnProgress) -> None:
    paths, recipe, splits = folder.paths, settings.shrink, folder.splits
    if not folder.has(paths.meta):
        largest = train_largest(
            folder.space,
            splits,
            recipe,
            seed=settings.seed,
            compute=compute,
            state=paths.meta_state,
            on_progress=on_progress,
        )
        folder.save_meta(largest)
    teacher = folder.load_meta(compute)
    network = elastic_of(teacher, compute)
    steps = shrink_steps(folder.space, recipe)
    done = [step for step in steps if folder.has(paths.step(step.name))]
    if done:
        _load(network, paths.step(done[-1].name))
    for step in steps[len(done) :]:
        train_step(
            network,
            teacher,
            splits,
            step,
            recipe,
            seed=settings.seed,
            compute=compute,
            state=paths.step_state(step.name),
            on_progress=on_progress,
        )
        _save(network, folder, paths.step(step.name))
        distributed.first(partial(paths.step_state(step.name).unlink, missing_ok=True))
    finished_supernet(network, splits, settings.seed, compute)
    _save(network, folder, paths.weights)


def _save(network: ElasticNetwork, folder: RunFolder, path: Path) -> None:
    header = describe(ELASTIC, folder.space, folder.splits, folder.seed)
    distributed.first(lambda: write_weights(path, network.arrays(), header))


def _load(network: ElasticNetwork, path: Path) -> None:
    file = distributed.first(partial(read_weights, path))
    try:
        network.load(file.shared)
    except WeightsError as error:
        raise FileFormatError(path, "", f"is not a supernet of this run: {error}") from error


def _fitted(
    settings: TrainSettings,
    folder: RunFolder,
    compute: Compute,
    fit: FitTable,
    on_progress: OnProgress,
    on_note: OnNote,
) -> AccuracyTable:
    """The table of random subnets, with the recipe in its origin."""
    paths, recipe = folder.paths, settings.shrink
    run = Run(read_weights(paths.weights), folder.space, folder.splits)
    wanted = SubnetsWanted("fit", recipe.networks, None, 0, settings.seed, settings.device)
    with RunLog(paths.log) as log:
        found = evaluated_subnets(run, wanted, both(log, on_progress), on_note)
    table = fit(run, found)
    assert table.origin is not None
    steps = shrink_steps(folder.space, recipe)
    epochs = {"largest": recipe.epochs, **{step.dimension: step.earlier + step.epochs for step in steps}}
    details = (*table.origin.details, *_details(settings, folder, found, compute).items())
    return replace(table, origin=replace(table.origin, epochs=tuple(epochs.items()), details=details))


def _details(
    settings: TrainSettings, folder: RunFolder, found: EvaluatedSubnets, compute: Compute
) -> dict[str, str]:
    top1, best = max(zip(found.networks.values, found.networks.choices, strict=True))
    return {
        "training_images": str(len(folder.splits.train.labels)),
        "best": ",".join(best),
        "best_validation_top1_pct": f"{top1:.2f}",
        **{name: str(value) for name, value in dotted({"shrink": asdict(settings.shrink)})},
        "device": compute.text,
        "torch": torch.__version__,
    }
