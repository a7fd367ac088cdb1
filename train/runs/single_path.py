"""The one stage of a supernet that trains path by path (`train.stages.single_path`)."""

from __future__ import annotations

from functools import partial

from ponas_deploy.files.weights import write_weights
from searchspace import Space, SpaceError
from train.compute import distributed
from train.networks import describe, to_arrays
from train.runs.folder import RunFolder, RunJob, Stage
from train.settings import TrainSettings
from train.stages import train_single_path
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
    """The supernet."""
    return (Stage(folder.paths.weights, _supernet),)


def epochs(space: Space, settings: TrainSettings) -> tuple[tuple[str, int], ...]:
    """How long it trains."""
    return (("supernet", settings.single_path.epochs),)


def _supernet(job: RunJob) -> None:
    folder, state = job.folder, job.folder.paths.supernet_state
    supernet = train_single_path(
        folder.space,
        folder.splits,
        job.settings.single_path,
        seed=job.settings.seed,
        compute=job.compute,
        state=state,
        on_progress=job.on_progress,
    )
    header = describe("supernet", folder.space, folder.splits, folder.seed)
    arrays = to_arrays(supernet.state_dict())
    distributed.first(lambda: write_weights(folder.paths.weights, arrays, header))
    distributed.first(partial(state.unlink, missing_ok=True))
