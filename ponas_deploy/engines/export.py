"""An engine of a network that is given: no budget, no search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ponas_deploy.backends import OnBuildProgress, registry
from ponas_deploy.engines import loop
from ponas_deploy.engines.emit import refuse_existing
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.mixed import source_for
from ponas_deploy.engines.task import WeightsSource
from ponas_deploy.engines.wanted import carried_by
from ponas_deploy.engines.weights import refuse_other_network
from ponas_deploy.errors import PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.profiling.places import conditions_at, for_engines, reached
from ponas_deploy.profiling.tables import one_of
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables.latency import Conditions
from searchspace.architecture import Architecture
from searchspace.space import Space


def export(
    architecture: Architecture,
    target: Target | Conditions,
    *,
    out: Path | str,
    weights: WeightsSource | Path | str | None = None,
    data: str | None = None,
    finetune: int = 0,
    calibration: Path | str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_note: OnNote = no_note,
    on_build: OnBuildProgress | None = None,
    place: Place | None = None,
) -> Engine:
    """Build a given network as an engine of a machine, and measure it there: no budget, no search.

    Args:
        architecture: the network, of its space, resolution and classes.
        target: this machine or a board with one runtime (its first precision where none is named), or
            conditions of one of these or of `place`.
        out: the folder that the engine goes to.
        weights: a file (safetensors, .pth) or a source of weights; None for random ones.
        data: the data set of the weights, where the file does not say it.
        finetune: epochs that inherited weights are fine-tuned.
        calibration: images for the scales of int8: a folder, or a .npy file, (count, 3, PX, PX) float32.
        seed: of random weights and of fine-tuning.
        overwrite: whether an engine in `out` is replaced.
        on_note, on_build: called with lines for people, and with how far a build is.
        place: where the target is reached already.

    Returns: the engine, measured in milliseconds in fresh processes.

    Raises: OverwriteError for a folder that is there, PonasError for a target that cannot be reached or
    leaves several runtimes open, UnknownNameError for a runtime or precision that is not here, WeightsError
    for weights of another network, BackendError when the runtime fails, MeasurementError when somebody else
    is measuring.
    """
    folder = Path(out)
    refuse_existing(folder, overwrite=overwrite)
    if isinstance(target, Conditions) and place is None:
        target = _target_in(target)
    if isinstance(target, Target) and not target.is_known:
        raise PonasError(target.unreachable)
    source = weights_for(architecture.space, weights, data, finetune, seed, calibration, on_note)
    refuse_other_network(source, architecture)
    with _place_and_conditions(target, place, f"an engine for {folder}", on_note) as (place, conditions):
        on_note(f"building for {conditions.text}, then timing in fresh processes ...")
        manifest = loop.build_and_measure(
            architecture, source, conditions, folder, overwrite=overwrite, on_build=on_build, place=place
        )
    return Engine(folder, manifest)


def _target_in(conditions: Conditions) -> Target:
    """The device of conditions, with their runtime and the rest; PonasError for threads it has not."""
    named = conditions.device, conditions.backend, conditions.precision
    return Target(*named, conditions.threads, conditions.batch, streams=conditions.streams)


@contextmanager
def _place_and_conditions(
    target: Target | Conditions, given: Place | None, what: str, on_note: OnNote
) -> Iterator[tuple[Place, Conditions]]:
    """Where an engine is built, and its conditions; PonasError for what a device cannot give."""
    if not isinstance(target, Target):
        registry.refuse_without_engines((target.backend,))
        yield given or HERE, target
        return
    with reached(target, what, on_note) as place:
        yield place, one_of(conditions_at(place, for_engines(place, target, on_note)))


def weights_for(
    space: Space,
    weights: WeightsSource | Path | str | None,
    data: str | None = None,
    finetune: int = 0,
    seed: int = 0,
    calibration: Path | str | None = None,
    on_note: OnNote = no_note,
) -> WeightsSource:
    """The source that was given, or that of a file, which must be for the space."""
    carried = carried_by(weights, data, finetune, seed, calibration, on_note)
    carried.space(space.name, space.resolution, space.classes)
    return source_for(space, carried.source(space.resolution))
