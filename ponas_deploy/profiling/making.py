"""Which latency tables a target still needs, and profiling a machine for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ponas_deploy.backends import registry
from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.machines import gpu
from ponas_deploy.machines.machine import this_machine, threads_fault
from ponas_deploy.machines.names import slug
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.measuring.plans import plan_for
from ponas_deploy.profiling.build_time import BuildTimes
from ponas_deploy.profiling.devices import installed, runtimes
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables import store
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space

if TYPE_CHECKING:
    from ponas_deploy.profiling.progress import OnProgress


def missing(
    target: Target,
    tables: Sequence[StoredTable],
    *,
    every_precision: bool = False,
    known: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Conditions, ...]:
    """What a machine must be profiled for: each runtime at the precisions that were named.

    Where none is named that is a runtime's default precision, or with `every_precision` all it has here that
    the target considers. A
    runtime that is not installed is left out, unless it was named. `known` are the precisions of each
    runtime of a board (`places`); nothing is known of another device.
    """
    if known is None and not target.local:
        return ()
    device = target.device_name
    have = {stored.table.conditions for stored in tables}
    known = precisions_here(target.backends, on_gpu=target.on_gpu) if known is None else known
    for precision in target.precisions:
        if not any(precision in precisions for precisions in known.values()):
            where = "this machine" if target.local else target.device_name
            raise UnknownNameError(
                f"precision on {where}", precision, {p for ps in known.values() for p in ps}
            )
    count = None if every_precision else 1
    able = registry.with_streams(known, target.streams, named=bool(target.backends))
    wanted = (
        Conditions(device, name, precision, target.threads, target.batch, target.streams)
        for name, precisions in known.items()
        if name in able
        for precision in (target.precisions or target.open_precisions(precisions[:count]))
        if precision in precisions
    )
    return tuple(conditions for conditions in wanted if conditions not in have)


def path_at(place: Place, conditions: Conditions, space: SpaceKey, folder: Path | None = None) -> Path:
    """Where the table of a machine in its power mode of now lies; see `latency_path`."""
    return store.latency_path(conditions, space, power_mode_at(place), folder)


def power_mode_at(place: Place) -> str:
    """The power mode of a machine now; empty where it has none."""
    return dict(place.environment()).get("power_mode", "")


def precisions_here(backends: Sequence[str], *, on_gpu: bool) -> dict[str, tuple[str, ...]]:
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
