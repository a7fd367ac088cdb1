"""The accuracy tables that a network is chosen by: as files, which a manifest names by their hash."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from ponas_deploy.errors import PonasError
from ponas_deploy.files.home import home
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.records import sha256
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.store import StoredAccuracy
from searchspace.architecture import only_network
from searchspace.mixed import is_mixed, plain_name
from searchspace.space import Space

Losses: TypeAlias = AccuracyTable | StoredAccuracy
RUN_TABLE = "accuracy.json"
"""The accuracy table in the folder of a run, beside its weights."""
MIXED_TABLE = "accuracy-mixed.json"
"""The one with what each layer loses in int8."""
_NO_INT8_LOSSES = (
    "the accuracy table of {name} does not say what layers lose in int8, which mixed precision is searched"
    " by: `ponas table int8 --weights FILE` measures it."
)


def stored_losses(
    space: Space, losses: Losses | Sequence[Losses] | None = None, weights: str = ""
) -> tuple[StoredAccuracy, ...]:
    """The files of accuracy tables; without any the space's own, else the one beside a file of weights."""
    given = (losses,) if isinstance(losses, AccuracyTable | StoredAccuracy) else losses or ()
    found = tuple(map(_in_store, given))
    if found:
        _refuse_without_int8(space, found)
        return found
    name = MIXED_TABLE if is_mixed(space.name) else RUN_TABLE
    try:
        return (store.own_accuracy_table(space.name),)
    except PonasError:
        if (beside := _beside(weights, name)) is not None:
            return (store.accuracy_table(str(beside)),)
        if is_mixed(space.name):
            raise PonasError(_NO_INT8_LOSSES.format(name=plain_name(space.name))) from None
        raise


def losses_of_blocks(
    space: Space, named: StoredAccuracy | None, weights: str, on_note: OnNote = no_note
) -> AccuracyTable:
    """The losses that those in INT8 come on top of: of a table that was named, or as `stored_losses` finds.

    Of a space with one network there is nothing to lose by a choice of blocks. A note says what becomes of a
    run's own table.
    """
    if named is None and only_network(space):
        return AccuracyTable(Grid.over(space, ([0.0] for _ in space.layers)), space=SpaceKey.of(space))
    found = stored_losses(space, named, weights)
    if named is None and (text := table_beside(weights, found)):
        on_note(text)
    return found[0].table


def _refuse_without_int8(space: Space, found: Sequence[StoredAccuracy]) -> None:
    """PonasError for a table that does not know what layers lose in int8, where that is searched."""
    for one in found:
        key = one.table.space
        if is_mixed(space.name) and key and not is_mixed(key.name):
            raise PonasError(f"{one.path}: {_NO_INT8_LOSSES.format(name=key.name)}")


def table_beside(weights: str, used: Sequence[StoredAccuracy]) -> str:
    """What is said of a run's own accuracy table, which lies beside its weights and was not asked for."""
    name = MIXED_TABLE if any(one.path.name == MIXED_TABLE for one in used) else RUN_TABLE
    if (beside := _beside(weights, name)) is None:
        return ""
    if beside in [one.path for one in used]:
        return f"the accuracy table is {beside}, which was made with these weights."
    return f"{beside} was made with these weights and is not used: name it with --accuracy-table."


def _beside(weights: str, name: str = RUN_TABLE) -> Path | None:
    path = Path(weights).parent / name
    return path if weights and path.is_file() else None


def _in_store(losses: Losses) -> StoredAccuracy:
    """The stored table that is equal to a value; else it is stored under its hash."""
    if isinstance(losses, StoredAccuracy):
        return losses
    for root in (store.SHIPPED, home()):
        for path in sorted((root / "accuracy").glob("*.json")):
            found = _readable(path)
            if found is not None and found.table == losses:
                return found
    return _stored(losses)


def _readable(path: Path) -> StoredAccuracy | None:
    try:
        return store.accuracy_table(str(path))
    except PonasError:  # a broken file in the store is another one's trouble
        return None


def _stored(losses: AccuracyTable) -> StoredAccuracy:
    draft = home() / "accuracy" / "draft.json"
    write_accuracy_table(losses, draft, overwrite=True)
    path = draft.with_name(f"given-{sha256(draft)[:12]}.json")
    draft.replace(path)
    return StoredAccuracy(path, losses)
