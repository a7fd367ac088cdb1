"""A run whose accuracy table is fitted to random subnets of its supernet: by shrinking, or path by path.

    result = fitted_run(preset("quick", space="ofa-mbv3"), Path("runs/digits"), fit)

What is kept, and how a run goes on after it was stopped, is as in `train.runs.supernet`: after each epoch,
each stage of the recipe and each group of evaluated subnets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ponas_deploy.errors import PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.weights import read_weights
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from searchspace import Space
from train.compute import Compute, distributed
from train.files import RunLog, RunPaths, lock
from train.progress import OnProgress, TrainingProgress, both, silent
from train.runs import shrinking, single_path
from train.runs.enough import refuse_few, too_small
from train.runs.folder import RunFolder, RunJob, Stage, opened, run_stages, space_of
from train.runs.subnets import EvaluatedSubnets, FitTable, Run, SubnetsWanted, evaluated_subnets
from train.runs.supernet import TrainResult, result_of
from train.settings import RECIPES, TrainSettings, dotted, recipe_of


@dataclass(frozen=True, slots=True)
class _Recipe:
    """The stages of a recipe, the last of which leaves the supernet; its table is fitted to `networks`.

    `refuse` raises for a space that it cannot train as it is asked to. `epochs` are those of the table's
    origin, by stage.
    """

    refuse: Callable[[Space, TrainSettings], None]
    stages: Callable[[RunFolder, TrainSettings], Sequence[Stage]]
    networks: Callable[[TrainSettings], int]
    epochs: Callable[[Space, TrainSettings], tuple[tuple[str, int], ...]]


_RECIPES = {
    "shrinking": _Recipe(
        shrinking.refuse, shrinking.stages, lambda asked: asked.shrink.networks, shrinking.epochs
    ),
    "single-path": _Recipe(
        single_path.refuse,
        single_path.stages,
        lambda asked: asked.single_path.networks,
        single_path.epochs,
    ),
}


def fitted_run(
    settings: TrainSettings,
    run_dir: Path,
    fit: FitTable,
    on_progress: OnProgress = silent,
    on_note: OnNote = no_note,
) -> TrainResult | None:
    """Train a supernet by the stages of its recipe, then write the table that `fit` makes of random subnets.

    `best` of the result is the best of those subnets. None in a process that only helps another one. See
    `train.runs.supernet.train_run` for what is raised, and what is kept; SpaceError for a space that the
    recipe cannot train or that is not made for the resolution, PonasError for too few images, and for the
    progressive recipe, which is that of `train_run`.
    """
    if (name := recipe_of(settings)) not in _RECIPES:
        raise PonasError(
            f"space '{settings.space}' is asked to train by the recipe {name}, and fitted_run knows only"
            f" {' and '.join(_RECIPES)}: call train.runs.train_run."
        )
    recipe = _RECIPES[name]
    recipe.refuse(space_of(settings), settings)  # before an image is read
    leads = distributed.leads()
    compute = Compute.on(settings.device, settings.workers, settings.precision)
    paths = RunPaths(run_dir)
    with lock.held(run_dir) if leads else nullcontext():
        with distributed.joined(compute.device):
            folder = _trained(recipe, settings, paths, compute, on_progress if leads else silent)
        if not leads:
            return None
        if not paths.table.exists():
            table = _table(recipe, settings, folder, compute, fit, on_progress, on_note)
            write_accuracy_table(table, paths.table)
        return result_of(folder)


def _trained(
    recipe: _Recipe, settings: TrainSettings, paths: RunPaths, compute: Compute, on_progress: OnProgress
) -> RunFolder:
    folder = opened(settings, paths, on_progress)
    refuse_few(folder.splits)
    if text := too_small(folder.splits):
        on_progress(TrainingProgress("data", 1, 1, text, note=True))
    folder.claim(settings)
    if not folder.has(paths.weights):
        stages = recipe.stages(folder, settings)
        run_stages(stages, RunJob(settings, folder, compute, on_progress))
    distributed.first(paths.tidy)
    return folder


def _table(
    recipe: _Recipe,
    settings: TrainSettings,
    folder: RunFolder,
    compute: Compute,
    fit: FitTable,
    on_progress: OnProgress,
    on_note: OnNote,
) -> AccuracyTable:
    """The table of random subnets, with the recipe in its origin."""
    paths = folder.paths
    run = Run(read_weights(paths.weights), folder.space, folder.splits)
    wanted = SubnetsWanted("fit", recipe.networks(settings), None, 0, settings.seed, settings.device)
    with RunLog(paths.log) as log:
        found = evaluated_subnets(run, wanted, both(log, on_progress), on_note)
    table = fit(run, found)
    assert table.origin is not None
    details = (*table.origin.details, *_details(settings, folder, found, compute).items())
    epochs = recipe.epochs(folder.space, settings)
    return replace(table, origin=replace(table.origin, epochs=epochs, details=details))


def _details(
    settings: TrainSettings, folder: RunFolder, found: EvaluatedSubnets, compute: Compute
) -> dict[str, str]:
    top1, best = max(zip(found.networks.values, found.networks.choices, strict=True))
    used = {name: asdict(getattr(settings, name)) for name in RECIPES[recipe_of(settings)]}
    return {
        "training_images": str(len(folder.splits.train.labels)),
        "best": ",".join(best),
        "best_validation_top1_pct": f"{top1:.2f}",
        **{name: str(value) for name, value in dotted(used)},
        "device": compute.text,
        "torch": torch.__version__,
    }
