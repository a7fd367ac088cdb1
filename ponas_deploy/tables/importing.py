"""From another project's latency table to one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.tables.foreign import Source, fbnet_grid, source_of
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.once_for_all import FoundCells, LackingCell, read_once_for_all
from searchspace.space import Space
from searchspace.spaces import SPACES

_SHOWN = 4


@dataclass(frozen=True, slots=True)
class ImportedTable:
    """A table that was made of another project's, what that lacks of the space, and what else to know.

    Where a cell of the space is lacking, the table holds the others and names no space.
    """

    source: Source
    table: LatencyTable
    lacking: tuple[LackingCell, ...] = ()
    notes: tuple[str, ...] = ()


def import_table(file: Path | str, space: Space | None = None, *, on_note: OnNote = no_note) -> LatencyTable:
    """Make a latency table, in milliseconds, of another project's.

    Args:
        file: once-for-all's or ProxylessNAS' (YAML, an entry a shape), or FBNet's (text, a line a layer).
        space: the space whose layers the entries of the YAML fill, at the resolution in pixels and the
            number of classes of its networks; None for FBNet's, which has layers of its own.
        on_note: called with what the file lacks of the space.

    Returns: the table; where cells of the space are lacking it holds the others, and names no space.

    Raises: FileFormatError for a file of another kind, that is broken, or that lacks all candidates of a
    layer (of a space whose layers may be left out: any cell), PonasError without a space where one is
    needed, MissingExtraError where reading YAML needs PyYAML.
    """
    made = imported(Path(file), space)
    for note in made.notes:
        on_note(note)
    return made.table


def imported(path: Path, space: Space | None) -> ImportedTable:
    """The same with all that is to be said of it."""
    source = source_of(path)
    made_of = (("imported from", f"{path.name} ({source})"),)
    if source == "fbnet":
        if space is not None:
            raise PonasError(f"{path} has layers of its own: leave --space out.")
        note = "the file has no stem and no head: they count nothing, and every network takes longer."
        return ImportedTable(source, LatencyTable(fbnet_grid(path), environment=made_of), notes=(note,))
    if space is None:
        raise PonasError(
            f"{path} is once-for-all's, which has one entry a shape and no layers: name the space whose"
            f" layers it shall fill with --space (known are {', '.join(SPACES)})."
        )
    found = read_once_for_all(path, space)
    cells = [cell for cell in found.lacking if cell.candidate]
    if cells and space.stages:
        raise FileFormatError(path, "", _unusable(space, cells))
    table = LatencyTable(found.grid, None if cells else SpaceKey.of(space), environment=made_of)
    return ImportedTable(source, table, found.lacking, _notes(space, found, len(cells)))


def _notes(space: Space, found: FoundCells, lacking: int) -> tuple[str, ...]:
    notes = [
        f"{cell.layer}: there is no '{cell.key}', it counts nothing."
        for cell in found.lacking
        if not cell.candidate
    ]
    if lacking:
        notes.append(
            f"{lacking} of {_cells(space)} cells of space '{space.name}' are not in the file: the table holds"
            " the others, and takes an accuracy table of the same candidates."
        )
    return tuple(notes)


def _unusable(space: Space, lacking: list[LackingCell]) -> str:
    """Why a part of a space whose layers may be left out is no table: nothing would keep its depth rule."""
    keys = tuple(dict.fromkeys(cell.key for cell in lacking))
    named = ", ".join(f"'{key}'" for key in keys[:_SHOWN])
    more = f" and {len(keys) - _SHOWN} more entries" if len(keys) > _SHOWN else ""
    return (
        f"lacks {len(lacking)} of {_cells(space)} cells of space '{space.name}' at {space.resolution} px:"
        f" {named}{more}. A table of the others would not know which layers may be left out: name a file that"
        " has them all."
    )


def _cells(space: Space) -> int:
    return sum(map(len, space.labels))
