"""The stages of a supernet that trains path by path (`train.stages.single_path`)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from searchspace import Space, SpaceError
from train.compute import distributed
from train.networks import load_arrays, to_arrays
from train.networks.paths import PathSupernet
from train.runs.folder import RunFolder, RunJob, Stage
from train.settings import TrainSettings
from train.stages import path_supernet, train_first, train_imitation, train_single_path
from train.stages.paths import RULES


def refuse(space: Space, settings: TrainSettings) -> None:
    """SpaceError for a space of one network or with stages.

    PonasError for layers of different numbers of candidates, where a fair rule was asked for.
    """
    if all(len(labels) == 1 for labels in space.labels):
        raise SpaceError(
            f"space '{space.name}' is one network, which leaves no path to choose: `ponas train specialized"
            f" {space.name}` trains it."
        )
    RULES[settings.single_path.sampling](space)


def stages(folder: RunFolder, settings: TrainSettings) -> tuple[Stage, ...]:
    """The supernet; where asked for its first network and the candidates' imitation of it before."""
    paths, supernet = folder.paths, Stage(folder.paths.weights, _supernet)
    if not settings.single_path.first_epochs:
        return (supernet,)
    return (Stage(paths.step("first"), _first), Stage(paths.step("imitation"), _imitation), supernet)


def epochs(space: Space, settings: TrainSettings) -> tuple[tuple[str, int], ...]:
    """How long each stage trains."""
    asked = settings.single_path
    every = {"first": asked.first_epochs, "imitation": asked.imitation_epochs, "supernet": asked.epochs}
    return tuple((name, count) for name, count in every.items() if count)


def _first(job: RunJob) -> None:
    paths, settings = job.folder.paths, job.settings.single_path
    network = train_first(
        job.folder.space,
        job.folder.splits,
        replace(settings, epochs=settings.first_epochs),
        seed=job.settings.seed,
        compute=job.compute,
        state=paths.step_state("first"),
        on_progress=job.on_progress,
    )
    job.folder.save_network(paths.step("first"), network)
    distributed.first(partial(paths.step_state("first").unlink, missing_ok=True))


def _imitation(job: RunJob) -> None:
    paths, settings = job.folder.paths, job.settings.single_path
    supernet = _random(job)
    train_imitation(
        supernet,
        job.folder.load_network(paths.step("first"), job.compute),
        job.folder.splits,
        replace(settings, epochs=settings.imitation_epochs),
        seed=job.settings.seed,
        compute=job.compute,
        state=paths.step_state("imitation"),
        on_progress=job.on_progress,
    )
    job.folder.save_weights(paths.step("imitation"), "supernet", to_arrays(supernet.state_dict()))
    distributed.first(partial(paths.step_state("imitation").unlink, missing_ok=True))


def _supernet(job: RunJob) -> None:
    paths, supernet = job.folder.paths, _random(job)
    if job.settings.single_path.first_epochs:
        job.folder.load_weights(paths.step("imitation"), lambda held: load_arrays(supernet, held.tensors))
    train_single_path(
        supernet,
        job.folder.splits,
        job.settings.single_path,
        seed=job.settings.seed,
        compute=job.compute,
        state=paths.supernet_state,
        on_progress=job.on_progress,
    )
    job.folder.save_weights(paths.weights, "supernet", to_arrays(supernet.state_dict()))
    distributed.first(partial(paths.supernet_state.unlink, missing_ok=True))


def _random(job: RunJob) -> PathSupernet:
    settings = job.settings
    return path_supernet(job.folder.space, settings.single_path, seed=settings.seed, compute=job.compute)
