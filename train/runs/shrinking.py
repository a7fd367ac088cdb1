"""The stages of progressive shrinking, in a space with stages (`train.stages.shrinking`)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from searchspace import Space
from searchspace.elastic import ELASTIC
from train.compute import distributed
from train.networks import ElasticNetwork, Network, refuse_inelastic
from train.runs.folder import RunFolder, RunJob, Stage
from train.settings import TrainSettings
from train.stages import (
    ShrinkStep,
    elastic_of,
    finished_supernet,
    shrink_steps,
    train_largest,
    train_step,
)


def refuse(space: Space, settings: TrainSettings) -> None:
    """SpaceError for a space whose candidates are no parts of one network."""
    refuse_inelastic(space)


def stages(folder: RunFolder, settings: TrainSettings) -> tuple[Stage, ...]:
    """The largest network, the supernet step by step, its batch norm in the end."""
    paths, steps = folder.paths, shrink_steps(folder.space, settings.shrink)
    files = [paths.step(step.name) for step in steps]
    return (
        Stage(paths.meta, _largest),
        *(
            Stage(file, partial(_step, step, before))
            for step, file, before in zip(steps, files, (None, *files), strict=False)
        ),
        Stage(paths.weights, partial(_finish, files[-1] if files else None)),
    )


def epochs(space: Space, settings: TrainSettings) -> tuple[tuple[str, int], ...]:
    """How long each dimension trains."""
    steps = shrink_steps(space, settings.shrink)
    found: dict[str, int] = {"largest": settings.shrink.epochs}
    for step in steps:
        found[step.dimension] = step.earlier + step.epochs
    return tuple(found.items())


def _largest(job: RunJob) -> None:
    largest = train_largest(
        job.folder.space,
        job.folder.splits,
        job.settings.shrink,
        seed=job.settings.seed,
        compute=job.compute,
        state=job.folder.paths.meta_state,
        on_progress=job.on_progress,
    )
    job.folder.save_meta(largest)


def _step(step: ShrinkStep, before: Path | None, job: RunJob) -> None:
    paths = job.folder.paths
    teacher, network = _supernet(before, job)
    train_step(
        network,
        teacher,
        job.folder.splits,
        step,
        job.settings.shrink,
        seed=job.settings.seed,
        compute=job.compute,
        state=paths.step_state(step.name),
        on_progress=job.on_progress,
    )
    job.folder.save_weights(paths.step(step.name), ELASTIC, network.arrays())
    distributed.first(partial(paths.step_state(step.name).unlink, missing_ok=True))


def _finish(last: Path | None, job: RunJob) -> None:
    _, network = _supernet(last, job)
    finished_supernet(network, job.folder.splits, job.settings.seed, job.compute)
    job.folder.save_weights(job.folder.paths.weights, ELASTIC, network.arrays())


def _supernet(file: Path | None, job: RunJob) -> tuple[Network, ElasticNetwork]:
    """The largest network, and the supernet as a step has left it, at first that of the largest network."""
    teacher = job.folder.load_meta(job.compute)
    network = elastic_of(teacher, job.compute)
    if file is not None:
        job.folder.load_weights(file, lambda held: network.load(held.shared))
    return teacher, network
