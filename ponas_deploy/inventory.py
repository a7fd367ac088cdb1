"""Which latency tables serve a wish, and which are still to be made.

A wish names a device, runtimes, precisions, threads, batch and a space. For this machine a table from
the user's store serves while processor and runtime are the ones it was made with; a table shipped with
the package was measured elsewhere and serves only under its device's own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ponas_deploy import store
from ponas_deploy.backends import BACKENDS, get_backend
from ponas_deploy.devices import this_machine
from ponas_deploy.errors import BackendError, PonasError, UnknownNameError
from ponas_deploy.store import StoredTable
from ponas_deploy.tables import Conditions, SpaceKey
from searchspace.space import Space

THIS_MACHINE = "cpu"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to deploy on. Empty `backends` and `precisions` leave the choice to us."""

    device: str
    space: Space
    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    threads: int = 1
    batch: int = 1

    @property
    def local(self) -> bool:
        """Whether the device is the machine this runs on."""
        return store.slug(self.device) in (THIS_MACHINE, this_machine().name)

    @property
    def device_name(self) -> str:
        """The name tables of the device carry."""
        return this_machine().name if self.local else store.slug(self.device)


def serving(wish: Wish) -> tuple[StoredTable, ...]:
    """The stored tables that serve a wish; for another device, UnknownNameError when it has none."""
    found = store.latency_tables(wish.device_name, SpaceKey.of(wish.space))
    tables = tuple(stored for stored in found if _serves(wish, stored))
    if not tables and not wish.local:
        if wish.device_name not in store.devices():
            raise UnknownNameError("device", wish.device, {THIS_MACHINE, *store.devices()})
        raise PonasError(
            f"no table of {wish.device_name} is for space '{wish.space.name}' at {wish.space.resolution} px,"
            f" {wish.threads} threads, batch {wish.batch} and these runtimes:"
            " see `ponas devices`, or profile it there."
        )
    return tables


def missing(wish: Wish, tables: Sequence[StoredTable]) -> tuple[Conditions, ...]:
    """What this machine must be profiled for: each runtime at its default precision, or those wished.

    A runtime that is not installed is left out, unless it was wished for.
    """
    if not wish.local:
        return ()
    have = {stored.table.conditions for stored in tables}
    wanted = []
    for name in wish.backends or BACKENDS:
        try:
            known = get_backend(name).precisions()
        except BackendError:
            if wish.backends:
                raise
            continue
        precisions = [p for p in wish.precisions if p in known or wish.backends] or known[:1]
        for precision in precisions:
            _refuse_unknown(name, precision, known)
            wanted.append(Conditions(wish.device_name, name, precision, wish.threads, wish.batch))
    return tuple(conditions for conditions in wanted if conditions not in have)


def _refuse_unknown(backend: str, precision: str, known: Sequence[str]) -> None:
    if precision not in known:
        raise UnknownNameError(f"precision of {backend} on this machine", precision, known)


def _serves(wish: Wish, stored: StoredTable) -> bool:
    conditions = stored.table.conditions
    if conditions is None or (wish.local and stored.shipped):
        return False
    return (
        conditions.threads == wish.threads
        and conditions.batch == wish.batch
        and (not wish.backends or conditions.backend in wish.backends)
        and (not wish.precisions or conditions.precision in wish.precisions)
        and (not wish.local or _fresh(stored))
    )


def _fresh(stored: StoredTable) -> bool:
    """Whether processor and runtime are still those of the table."""
    made = dict(stored.table.environment)
    conditions = stored.table.conditions
    if conditions is None:
        return False
    try:
        now = {**dict(this_machine().environment()), **dict(get_backend(conditions.backend).environment())}
    except PonasError:
        return False
    return all(made.get(key) == now.get(key) for key in ("processor", "runtime"))
