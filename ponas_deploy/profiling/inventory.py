"""Which latency tables serve a target, and which are still to be made.

A target names a device, runtimes, precisions, threads and batch; the space is given beside it. For this
machine a table from the user's store serves while everything it was made with is the same (`staleness`); a
table shipped with the package was measured elsewhere and serves only under its device's own name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ponas_deploy.backends import registry
from ponas_deploy.boards.book import Entry, find_board, read_book
from ponas_deploy.errors import PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.machines import gpu
from ponas_deploy.machines.advice import command_for
from ponas_deploy.machines.machine import this_machine, threads_fault
from ponas_deploy.machines.names import slug
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.plans import plan_for
from ponas_deploy.profiling.build_time import BuildTimes
from ponas_deploy.profiling.devices import installed, known_devices, runtimes
from ponas_deploy.profiling.staleness import Difference, differences, in_words
from ponas_deploy.tables import store
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.resolutions import at, pixels
from ponas_deploy.tables.spaces import is_sound
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space
from searchspace.spaces import build_space

if TYPE_CHECKING:
    from ponas_deploy.profiling.progress import OnProgress

THIS_MACHINE = "cpu"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a network shall run, and how.

    `device` is `cpu` or `gpu` of this machine, or the name of a device that has latency tables (see
    `devices`). Without `backends` every runtime that is installed is considered (of a board of the device
    book those that it names there, see `used_backends`), without `precisions` every precision they have;
    lists are kept as tuples, a lone name as a list of one. `threads` is what the runtime may use, `batch` the
    images of one run.

    Raises PonasError for fewer than one thread or image, and for more threads than this machine has
    processors where it is the device.
    """

    device: str
    backends: Sequence[str] = ()
    precisions: Sequence[str] = ()
    threads: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        for what in ("backends", "precisions"):
            given = getattr(self, what)
            object.__setattr__(self, what, (given,) if isinstance(given, str) else tuple(given))
        for what in ("threads", "batch"):
            if getattr(self, what) < 1:
                raise PonasError(f"{what} is {getattr(self, what)}: ask for 1 or more.")
        if (fault := threads_fault(self.threads)) and self.local:
            raise PonasError(fault)

    @property
    def local(self) -> bool:
        """Whether the device is the machine this runs on: its processor or its GPU."""
        return self._on_processor or self.on_gpu

    @property
    def on_gpu(self) -> bool:
        """Whether the device is the GPU of the machine this runs on."""
        asked = slug(self.device)
        return not self._on_processor and asked in (gpu.GPU, gpu.this_gpu() or gpu.GPU)

    @property
    def device_name(self) -> str:
        """The name tables of the device carry; PonasError where a GPU is asked for and none answers."""
        if self._on_processor:
            return this_machine().name
        if self.on_gpu:
            return gpu.required_gpu()
        board = find_board(self.device)
        return board.name if board else slug(self.device)

    @property
    def board(self) -> Entry | None:
        """The board of the device book that the device is, by its name or an alias."""
        return None if self.local else find_board(self.device)

    @property
    def used_backends(self) -> tuple[str, ...]:
        """The runtimes that were named, else those that the device book names for the board."""
        if self.backends:
            return tuple(self.backends)
        board = self.board
        return board.board.backends if board else ()

    @property
    def is_known(self) -> bool:
        """Whether the device is this machine or in the book."""
        return self.local or self.board is not None

    @property
    def unreachable(self) -> str:
        """A sentence for a device that is neither this machine nor in the book."""
        return (
            f"'{self.device}' is not this machine: `ponas devices add {slug(self.device) or 'NAME'} --host"
            " user@address` adds it as a board."
        )

    @property
    def _on_processor(self) -> bool:
        return slug(self.device) in (THIS_MACHINE, this_machine().name)


def profile_there(target: Target) -> str:
    """The same for one that shall be profiled, and how the table of one without a link comes here."""
    return (
        f"{target.unreachable} Or run `ponas profile --device cpu` (or gpu) on it:"
        f" its table, copied into your store here (`ponas devices` names the folder), serves"
        f" `ponas specialize --device {target.device}`."
    )


def serving(
    target: Target, space: Space, place: Place | None = None, on_note: OnNote = no_note
) -> tuple[StoredTable, ...]:
    """The stored tables of a space that serve a target; UnknownNameError for a device that has none.

    At `place`, where the device is reached, what was made with anything that is different there serves not.
    """
    devices = known_devices()
    tables = devices.get(target.device_name, ())
    fitting = (stored for stored in tables if not mismatch(target, space, stored))
    place = place or (HERE if target.local else None)
    found = tuple(stored for stored in fitting if place is None or _serves_at(place, stored))
    if not found and place is None:
        if not tables and target.board:
            raise PonasError(f"{target.device_name} has no latency table yet, and is not reached now.")
        refuse_unknown(target, devices)
        raise PonasError(
            f"no table of {target.device_name} serves: {mismatch(target, space, tables[0])};"
            f" see `ponas devices`{_with_space(of_other_spaces(target, space))}."
        )
    return measured_first(_newest(found, on_note), on_note)


def _newest(tables: Sequence[StoredTable], on_note: OnNote) -> tuple[StoredTable, ...]:
    """The newest of tables of the same conditions, which are of several power modes; others are named."""
    newest = {_named(stored): stored for stored in sorted(tables, key=lambda one: one.table.created)}
    for stored in tables:
        if (other := newest[_named(stored)]) is not stored:
            mode = other.table.power_mode or "unknown"
            on_note(f"{stored.name} is left out: {other.name}, of power mode {mode}, was made later")
    return tuple(stored for stored in tables if newest[_named(stored)] is stored)


def _named(stored: StoredTable) -> Conditions:
    """The conditions of a table, with the device by the name that it is asked for by."""
    return replace(stored.conditions, device=stored.device)


def refuse_unknown(target: Target, devices: Mapping[str, object]) -> None:
    """UnknownNameError for what is neither this machine nor in the book nor of `devices`, with tables."""
    if not target.local and target.board is None and target.device_name not in devices:
        names = {THIS_MACHINE, gpu.GPU, *devices, *(entry.name for entry in read_book())}
        raise UnknownNameError("device", target.device, names, advice=profile_there(target))


def measured_first(tables: Sequence[StoredTable], on_note: OnNote = no_note) -> tuple[StoredTable, ...]:
    """The measured tables where there are any, else the estimated ones; that some are left out is said."""
    measured = tuple(stored for stored in tables if not stored.table.estimated)
    if not measured or len(measured) == len(tables):
        return tuple(tables)
    for stored in tables:
        if stored.table.estimated:
            on_note(f"{stored.name} is estimated and left out: {measured[0].name} was measured")
    return measured


def resolutions_of(target: Target, space: Space) -> tuple[int, ...]:
    """The resolutions in pixels that a device has fitting tables of, of a space at any resolution."""
    tables = known_devices().get(target.device_name, ())
    keyed = [(one.table.space, one) for one in tables if one.table.space]
    ours = ((key.resolution, stored) for key, stored in keyed if key.name == space.name)
    return tuple(sorted({px for px, stored in ours if not mismatch(target, at(space, px), stored)}))


def of_other_spaces(target: Target, space: Space) -> tuple[str, ...]:
    """The known spaces whose stored tables would serve a target: for this machine the user's own tables."""
    found = set[str]()
    for stored in known_devices().get(target.device_name, ()):
        key = stored.table.space
        if key is None or key.name == space.name or not is_sound(key) or (target.local and stored.shipped):
            continue
        if not mismatch(target, build_space(key.name, key.resolution, key.classes), stored):
            found.add(key.name)
    return tuple(sorted(found))


def _with_space(names: Sequence[str]) -> str:
    """How the tables of other spaces are named, in words; empty without any."""
    return f", and --space {' or '.join(names)} takes those of that space" if names else ""


def of_conditions(conditions: Conditions) -> tuple[StoredTable, ...]:
    """The user's own tables of this machine in these conditions, of any space, that still serve."""
    named = replace(conditions, device=slug(conditions.device))
    tables = known_devices().get(named.device, ())
    alike = (one for one in tables if _named(one) == named)
    return tuple(stored for stored in alike if _serves_at(HERE, stored))


def outdated(
    target: Target, space: Space, place: Place = HERE
) -> tuple[tuple[StoredTable, tuple[Difference, ...]], ...]:
    """The user's own tables that would serve, were the machine still as it was; with what differs."""
    found = ((stored, differences(stored, place)) for stored in _ours(target, space, place))
    return tuple((stored, differ) for stored, differ in found if differ)


def own_tables(target: Target, space: Space, place: Place = HERE) -> tuple[StoredTable, ...]:
    """The user's own tables of a machine that fit, stale or not; PonasError where there is none."""
    if not (found := _ours(target, space, place)):
        here = "this machine " if target.local else ""
        raise PonasError(
            f"no table of yours is of {here}({target.device_name}) and space {space.name} and fits:"
            f" {command_for('ponas profile', target.device_name)} makes one, `ponas devices` lists those"
            f" there are{_with_space(of_other_spaces(target, space))}."
        )
    return found


def _ours(target: Target, space: Space, place: Place) -> tuple[StoredTable, ...]:
    tables = known_devices().get(target.device_name, ())
    ours = (stored for stored in tables if not (stored.shipped or mismatch(target, space, stored)))
    return tuple(stored for stored in ours if _has_runtime(place, stored))


def device_of(stored: StoredTable) -> Target:
    """Where a table was made, as a target; TableMismatchError where that is no machine we can reach."""
    if stored.device == this_machine().name:
        return Target(THIS_MACHINE, threads=stored.conditions.threads)
    target = Target(gpu.GPU if stored.device == gpu.this_gpu() else stored.device)
    if target.board:
        return replace(target, backends=stored.conditions.backend, threads=stored.conditions.threads)
    if not target.local:
        raise TableMismatchError(
            f"{stored.name} is of {stored.device}, this machine is {this_machine().name}: recheck it there."
        )
    return target


def mismatch(target: Target, space: Space, stored: StoredTable) -> str:
    """Why a table is not one of this target and space, empty when it is."""
    conditions, key = stored.conditions, SpaceKey.of(space)
    found = stored.table.space or key
    for what, asked, made in (
        ("device", target.device_name, stored.device),
        ("space", key.name, found.name),
        ("fingerprint", key.fingerprint, found.fingerprint),
        ("resolution", key.resolution, found.resolution),
        ("classes", key.classes, found.classes),
        ("threads", target.threads, conditions.threads),
        ("batch", target.batch, conditions.batch),
    ):
        if asked != made:
            return f"{stored.name} is of {what} {made}, not {asked}"
    backends = target.backends if stored.table.estimated else target.used_backends
    for what, wanted, is_of in (
        ("backend", backends, conditions.backend),
        ("precision", target.precisions, conditions.precision),
    ):
        if wanted and is_of not in wanted:
            return f"{stored.name} is of {what} {is_of}, not {' or '.join(wanted)}"
    return ""


def given(target: Target, spaces: Sequence[Space], named: Sequence[StoredTable]) -> tuple[StoredTable, ...]:
    """Tables that were named, each checked against the target and the space at its resolution.

    TableMismatchError says where one differs, or names a resolution that no table is of.
    """
    by_px = {space.resolution: space for space in spaces}
    for stored in named:
        if target.local and stored.table.estimated:
            raise TableMismatchError(
                f"{stored.name} is estimated, and '{target.device}' is this machine:"
                " `ponas profile` measures it."
            )
        key = stored.table.space
        space = by_px.pop(key.resolution, None) if key else None
        space = space or next((one for one in spaces if key and one.resolution == key.resolution), spaces[0])
        if reason := mismatch(target, space, stored):
            raise TableMismatchError(f"{reason}: an engine is not built from another one's latencies.")
    if by_px:
        raise TableMismatchError(f"no latency table that was named is of {pixels(tuple(by_px))}: name one.")
    return tuple(named)


def caveats(target: Target, stored: StoredTable, place: Place | None = None) -> tuple[str, ...]:
    """Warnings about a table that was named although it does not serve at its place, if that is reached."""
    place = place or (HERE if target.local else None)
    if place is None or not _has_runtime(place, stored):
        return ()
    advice = f"its predictions may be off (ponas table recheck {stored.name})."
    if stored.shipped:
        return (f"table {stored.name} came with the package, measured on another machine: {advice}",)
    differ = differences(stored, place)
    return (f"{in_words(stored, differ)}: {advice}",) if differ else ()


def missing(
    target: Target,
    tables: Sequence[StoredTable],
    *,
    every_precision: bool = False,
    known: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Conditions, ...]:
    """What a machine must be profiled for: each runtime at the precisions that were named.

    Where none is named that is a runtime's default precision, or with `every_precision` all it has here. A
    runtime that is not installed is left out, unless it was named. `known` are the precisions of each
    runtime of a board (`places`); nothing is known of another device.
    """
    if known is None and not target.local:
        return ()
    device = target.device_name
    have = {stored.table.conditions for stored in tables}
    known = _precisions(target.backends, on_gpu=target.on_gpu) if known is None else known
    for precision in target.precisions:
        if not any(precision in precisions for precisions in known.values()):
            where = "this machine" if target.local else target.device_name
            raise UnknownNameError(
                f"precision on {where}", precision, {p for ps in known.values() for p in ps}
            )
    wanted = (
        Conditions(device, name, precision, target.threads, target.batch)
        for name, precisions in known.items()
        for precision in (target.precisions or (precisions if every_precision else precisions[:1]))
        if precision in precisions
    )
    return tuple(conditions for conditions in wanted if conditions not in have)


def _precisions(backends: Sequence[str], *, on_gpu: bool) -> dict[str, tuple[str, ...]]:
    """The precisions of each runtime here: of those named, or of all that are installed."""
    if backends:
        return {name: installed(name, on_gpu=on_gpu).precisions() for name in backends}
    known = runtimes(on_gpu=on_gpu)
    found = {runtime.backend: runtime.precisions for runtime in known if not runtime.problem}
    if not found:
        why = f" ({known[0].problem})" if on_gpu else f": {registry.install_line()}."
        raise PonasError(f"no runtime {'for the GPU ' if on_gpu else ''}is installed{why}")
    return found


def make_table(
    conditions: Conditions,
    space: Space,
    *,
    time_budget_s: float,
    path: Path | None = None,
    overwrite: bool = False,
    further: bool = False,
    accuracy: Path | None = None,
    prior: Path | None = None,
    networks: int | None = None,
    on_progress: OnProgress | None = None,
    seed: int = 0,
    place: Place = HERE,
) -> StoredTable:
    """Profile a machine for `conditions` and store the table, in the user's store or at `path`.

    A process of its own does it here, a worker on a board, and one at a time on a machine. The journal lies
    beside the table until that is safe; an interrupted profile goes on from it. An existing table is replaced
    only with `overwrite`, and rounds are added to it only with `further`. `accuracy` and `prior` are tables
    in files (`profile`), `networks` how many are timed to fit the prior on.
    """
    from ponas_deploy.files.lock import machine_to_oneself
    from ponas_deploy.files.opening import refuse_file
    from ponas_deploy.profiling.on_board import profile_on_board
    from ponas_deploy.profiling.prior import NETWORKS
    from ponas_deploy.profiling.supervise import Timeouts, profile_in_worker
    from ponas_deploy.profiling.worker import Request
    from ponas_deploy.remote.place import BoardPlace
    from ponas_deploy.tables.files import load_latency_table

    key = SpaceKey.of(space)
    path = path or path_at(place, conditions, key)
    refuse_file(path, overwrite=overwrite or further)
    file, journal = path.absolute(), path.with_suffix(".journal").absolute()
    request = Request(
        conditions,
        key,
        file,
        journal,
        time_budget_s,
        seed,
        plan_for(conditions.backend),
        overwrite=overwrite,
        further=further,
        accuracy=accuracy and accuracy.absolute(),
        prior=prior and prior.absolute(),
        networks=networks or NETWORKS,
        built_before=built_before(conditions),
    )
    if isinstance(place, BoardPlace):
        profile_on_board(request, place, on_progress)
    else:
        timeouts = Timeouts(building_s=registry.entry_of(conditions.backend).no_output_s)
        with machine_to_oneself(store.lock_path(), conditions.text):
            profile_in_worker(request, on_progress, timeouts)
    journal.unlink(missing_ok=True)
    return StoredTable(path, load_latency_table(path))


def path_at(place: Place, conditions: Conditions, space: SpaceKey, folder: Path | None = None) -> Path:
    """Where the table of a machine in its power mode of now lies; see `latency_path`."""
    return store.latency_path(conditions, space, dict(place.environment()).get("power_mode", ""), folder)


def built_before(conditions: Conditions) -> BuildTimes | None:
    """What models took to build in the last profile of this runtime here, rather of the same precision."""
    tables, _ = store.latency_tables()
    device = slug(conditions.device)
    ours = [stored for stored in tables if not stored.shipped and stored.device == device]
    found = [
        (stored.conditions.precision == conditions.precision, stored.table.created, took)
        for stored in ours
        if stored.conditions.backend == conditions.backend
        and (took := BuildTimes.of(stored.table.protocol.builds))
    ]
    return max(found, key=lambda one: one[:2])[2] if found else None


def local_conditions(backend: str, precision: str | None, threads: int, batch: int) -> Conditions:
    """Conditions on this machine; the runtime's default precision where none is named."""
    if fault := threads_fault(threads):
        raise PonasError(fault)
    runtime = registry.real_backend(backend)
    known, on_gpu = runtime.precisions(), registry.runs_on_gpu(runtime)
    if precision is not None and precision not in known:
        raise UnknownNameError(f"precision of {backend} on this machine", precision, known)
    device = gpu.required_gpu() if on_gpu else this_machine().name
    return Conditions(device, backend, precision or known[0], threads, batch)


def _serves_at(place: Place, stored: StoredTable) -> bool:
    return not stored.shipped and _has_runtime(place, stored) and not differences(stored, place)


def _has_runtime(place: Place, stored: StoredTable) -> bool:
    try:
        place.backend(stored.conditions.backend).environment()
    except PonasError:
        return False
    return True
