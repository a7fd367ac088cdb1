"""From another project's latency table to one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.errors import PonasError
from ponas_deploy.tables.foreign import Source, fbnet_grid, source_of
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.once_for_all import LackingCell, read_once_for_all
from searchspace.spaces import SPACES, build_space


@dataclass(frozen=True, slots=True)
class ImportedTable:
    """A table that was made of another project's, what that lacks of the space, and what else to know.

    Where a cell of the space is lacking, the table holds the others and names no space.
    """

    source: Source
    table: LatencyTable
    lacking: tuple[LackingCell, ...]
    notes: tuple[str, ...]


def import_table(path: Path, space: str | None, resolution: int = 224, classes: int = 1000) -> ImportedTable:
    """A latency table in milliseconds: of once-for-all's YAML, in the layers of a space, or of FBNet's text.

    `resolution` (pixels) and `classes` are those of the space's networks. FileFormatError for a file of
    another kind, that is broken, or that lacks all candidates of a layer; UnknownNameError for a space that
    nobody knows; PonasError without a space where one is needed, and with one where the file has its own
    layers; MissingExtraError where PyYAML is needed and not installed.
    """
    source = source_of(path)
    made_of = (("imported from", f"{path.name} ({source})"),)
    if source == "fbnet":
        if space is not None:
            raise PonasError(f"{path} has layers of its own: leave --space out.")
        note = "the file has no stem and no head: they count nothing, and every network takes longer."
        return ImportedTable(source, LatencyTable(fbnet_grid(path), environment=made_of), (), (note,))
    if space is None:
        raise PonasError(
            f"{path} is once-for-all's, which has one entry a shape and no layers: name the space whose"
            f" layers it shall fill with --space (known are {', '.join(SPACES)})."
        )
    built = build_space(space, resolution, classes)
    found = read_once_for_all(path, built)
    cells = [cell for cell in found.lacking if cell.candidate]
    notes = [
        f"{cell.layer}: there is no '{cell.key}', it counts nothing."
        for cell in found.lacking
        if not cell.candidate
    ]
    if cells:
        total = sum(map(len, built.labels))
        notes.append(
            f"{len(cells)} of {total} cells of space '{space}' are not in the file: the table holds the"
            " others, and takes an accuracy table of the same candidates."
        )
    key = None if cells else SpaceKey.of(built)
    return ImportedTable(
        source, LatencyTable(found.grid, key, environment=made_of), found.lacking, tuple(notes)
    )
