"""Profiles of a target: latency tables that are made, kept, gone on with, or made again.

A target may leave several runtimes and precisions open; each is a table of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.profiling.differences import in_words
from ponas_deploy.profiling.making import make_table, missing, path_at, power_mode_at
from ponas_deploy.profiling.places import conditions_at, reached
from ponas_deploy.profiling.prior import NETWORKS, load_prior
from ponas_deploy.profiling.progress import DONE, FAILED, OnProgress, at_stage, of_runtime, with_notes
from ponas_deploy.profiling.staleness import differences
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables import store
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space

SECONDS = 75.0
"""Seconds for each table where nobody says."""
# A profile that took so many times what it was given, and what starting takes, was too slow for its time.
_OVERTIME, _STARTING_S = 1.1, 3.0


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """How a profile is made, beyond what is profiled.

    `seconds` are for each table. `device_name` is what this machine is called in its tables, empty for its
    own name. Tables go to the folder `out`, or to the user's store. `accuracy` is the accuracy table, by path
    or name, whose front is measured most carefully; None for the space's own. With `prior`, another
    latency table's path or name, no block is timed: it is fitted on `networks` whole networks. `overwrite`
    measures again what is there already.
    """

    seconds: float = SECONDS
    device_name: str = ""
    out: Path | None = None
    accuracy: str | None = None
    prior: str | None = None
    networks: int | None = None
    overwrite: bool = False
    seed: int = 0


def profile_tables(
    target: Target,
    space: Space,
    options: ProfileOptions | None = None,
    *,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
    place: Place | None = None,
) -> tuple[StoredTable, ...]:
    """Profile a machine: one stored table for each runtime and precision that the target leaves open.

    A board of the device book is reached over its link, unless `place` is it already.

    A table that has all its rounds is kept, one that ran out of time is gone on with. Raises PonasError for
    a device that cannot be reached, UnknownNameError for runtimes, precisions and tables that nobody
    knows, TableMismatchError for a prior or an accuracy table of another space, BackendError when a runtime
    fails, MeasurementError when nothing trustworthy came out.
    """
    there = nullcontext(place) if place else reached(target, f"profile of {space.name}", on_note)
    with there as place:
        return _profiled(target, place, space, options or ProfileOptions(), on_note, on_progress)


def _profiled(
    target: Target,
    place: Place,
    space: Space,
    options: ProfileOptions,
    on_note: OnNote,
    on_progress: OnProgress | None,
) -> tuple[StoredTable, ...]:
    paths = {}
    for conditions in conditions_at(place, target):
        named = replace(conditions, device=options.device_name or conditions.device)
        paths[named] = path_at(place, named, SpaceKey.of(space), options.out)
    prior = store.find_table(options.prior) if options.prior else None
    accuracy = accuracy_of(space, options.accuracy)
    known = load_prior(prior, options.networks or NETWORKS) if prior else None
    if known:
        known.refuse_one_network(space)
        known.grid(space)
    made = []
    for named, path in paths.items():
        found, further = (None, False)
        overwrite = options.overwrite or is_outdated(path, place, on_note)
        if not overwrite:
            found, further = to_go_on(path, from_prior=prior is not None, on_note=on_note)
        if found is None:
            if known:
                known.refuse_same(named, space, power_mode_at(place))
            found = profile_stored(
                named,
                space,
                options.seconds,
                path=path,
                overwrite=overwrite,
                further=further,
                accuracy=accuracy,
                prior=prior,
                networks=options.networks,
                seed=options.seed,
                on_note=on_note,
                on_progress=on_progress,
                place=place,
            )
        else:
            kept = at_stage(DONE, f"kept, {_certified(found.table)}")
            of_runtime(named, space.resolution, on_progress)(kept)
        made.append(found)
    return tuple(made)


def profile_stored(
    conditions: Conditions,
    space: Space,
    time_budget_s: float,
    *,
    path: Path | None = None,
    overwrite: bool = False,
    further: bool = False,
    accuracy: Path | None = None,
    prior: Path | None = None,
    networks: int | None = None,
    seed: int = 0,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
    place: Place = HERE,
) -> StoredTable:
    """Profile a machine for `conditions` and store the table, saying when it took longer than it should.

    `accuracy` and `prior` are tables in files, `networks` how many are timed to fit the prior on.
    """
    origin = f" from {prior}" if prior else ""
    on_note(
        f"profiling {conditions.text}, at {space.resolution} px{origin}, for at most about"
        f" {time_budget_s:.0f} s"
    )
    started, report = monotonic(), of_runtime(conditions, space.resolution, on_progress)
    try:
        made = make_table(
            conditions,
            space,
            time_budget_s=time_budget_s,
            path=path,
            overwrite=overwrite,
            further=further,
            accuracy=accuracy or accuracy_of(space),
            prior=prior,
            networks=networks,
            on_progress=with_notes(on_note, report),
            seed=seed,
            place=place,
        )
    except PonasError as error:
        report(at_stage(FAILED, str(error)))
        raise
    report(at_stage(DONE, _certified(made.table), took_s=monotonic() - started))
    protocol = made.table.protocol
    took_s = monotonic() - started - protocol.extended_s
    if took_s > _OVERTIME * time_budget_s + _STARTING_S:
        on_note(
            f"the table is complete, after {took_s:.0f} s: with fewer rounds and networks than these it would"
            " have no certificate"
        )
    return made


def _certified(table: LatencyTable) -> str:
    certificate = table.certificate
    if certificate is None:
        return "no certificate"
    return f"mean error {certificate.mean_error_pct:.1f} %, noise floor {certificate.noise_floor_pct:.1f} %"


def accuracy_of(space: Space, name: str | None = None) -> Path | None:
    """The accuracy table that was named, or the space's own where it has one."""
    try:
        return store.find_table(name or f"accuracy/{space.name}")
    except UnknownNameError:
        if name:
            raise
        return None


def is_outdated(path: Path, place: Place, on_note: OnNote = no_note) -> bool:
    """Whether a table was made with something that is another thing at its place now; a line says what."""
    if not path.exists():
        return False
    found = StoredTable(path, load_latency_table(path))
    differ = differences(found, place)
    if differ:
        on_note(f"{in_words(found, differ)}: measured again")
    return bool(differ)


def to_go_on(path: Path, *, from_prior: bool, on_note: OnNote = no_note) -> tuple[StoredTable | None, bool]:
    """The table at `path` where it is kept as it is, and whether to add to the one that is there."""
    if not path.exists():
        return None, False
    found = StoredTable(path, load_latency_table(path))
    protocol = found.table.protocol
    if protocol.stopped_by != "time":
        why = "has all its rounds"
    elif from_prior and protocol.prior is None:
        why = "has its own blocks, which no prior betters,"
    elif protocol.prior is not None and not from_prior:
        why = f"was made from the prior {protocol.prior.name}"
    else:
        return None, True
    on_note(f"{path} {why} and is kept (--force measures it again)")
    return found, False


def profile(
    space: Space,
    target: Target,
    *,
    seconds: float = SECONDS,
    overwrite: bool = False,
    seed: int = 0,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
) -> LatencyTable:
    """Measure this machine: every candidate of every layer of a space, into one certified latency table.

    Cells are timed alone, whole networks in the same rounds correct their sums, and other whole networks
    certify them. The table goes into the user's store, where `deploy` finds it. One that has all its rounds
    already is returned as it is, one that ran out of time is gone on with; `overwrite` measures it again.

    Args:
        space: what is measured, at its own resolution in pixels and number of classes.
        target: this machine ("cpu", "gpu" or its name), with one runtime, and at most one precision (the
            runtime's first where none is named); several would be several tables.
        seconds: about how long it may take, building included; at the least what a certificate needs.
        overwrite: whether a table that is there already is measured again.
        seed: of the random networks and of the order of measuring.
        on_note: called with lines for people.
        on_progress: called with how far the profile is.

    Returns: the table, cells in milliseconds, with its raw rounds and its certificate.

    Raises: PonasError for a target that is not this machine or leaves several runtimes open,
    UnknownNameError for a runtime or precision that is not here, BackendError when the runtime fails,
    MeasurementError when nothing trustworthy came out or somebody else is measuring.
    """
    if target.local:
        one_of(missing(target, ()))
    options = ProfileOptions(seconds, overwrite=overwrite, seed=seed)
    (made,) = profile_tables(target, space, options, on_note=on_note, on_progress=on_progress)
    return made.table


def one_of(found: Sequence[Conditions]) -> Conditions:
    """The only conditions that a target leaves; PonasError names them where there are several."""
    if len(found) != 1:
        texts = "; ".join(conditions.text for conditions in found)
        raise PonasError(
            f"the target leaves {len(found)} runtimes or precisions open ({texts}): name one of them; the"
            " others are asked for on their own."
        )
    return found[0]
