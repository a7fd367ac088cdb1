"""Which known space a table is of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ponas_deploy.errors import PonasError, TableMismatchError
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.architectures import agreed
from ponas_deploy.tables.files import AnyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.known import known_space, staged_space
from ponas_deploy.tables.resolutions import pixels
from searchspace.space import Space
from searchspace.spaces import SPACES, build_space, fingerprint_of, is_known


def space_of(table: AnyTable) -> Space | None:
    """The known space a table is of: the one it names, or the one with the same layers and candidates.

    None where the space is not known, or where the table's fingerprint is not the space's.
    """
    key = table.space
    if key is not None:
        return build_space(key.name, key.resolution, key.classes) if is_sound(key) else None
    return known_space(values_of(table))


def space_for(table: AnyTable, name: str | None, resolution: int | None, classes: int | None) -> Space | None:
    """The known space of a table, or the one of that name, at a resolution (pixels) and a number of classes.

    None for both where the table says them, or for the default's. None is returned where no space is known;
    PonasError for what is not what the table says, or can be said of no known space.
    """
    known, key = space_of(table), table.space
    resolution, classes = sizes_of([table], resolution, classes)
    if name is None and known is None:
        if key is None and (resolution or classes):
            raise PonasError(
                "--resolution and --classes are of a space that is known, and the table's labels belong to"
                " none: name one with --space."
            )
        return None
    sizes = {what: size for what, size in (("resolution", resolution), ("classes", classes)) if size}
    return build_space(name or (known.name if known else ""), **sizes)


def spaces_for(
    tables: Sequence[AnyTable], name: str | None, resolutions: Sequence[int], classes: int | None
) -> list[Space | None]:
    """`space_for` of each table, at one of `resolutions` (pixels); without any each is at its own.

    PonasError also for a resolution that no table is of.
    """
    if len(resolutions) < 2:
        return [space_for(table, name, resolutions[0] if resolutions else None, classes) for table in tables]
    found = [table.space.resolution if table.space else None for table in tables]
    if lacking := sorted(set(resolutions) - set(found)):
        raise PonasError(
            f"no latency table is of {pixels(lacking)}: name one of each, or leave out --resolution."
        )
    if others := sorted({px for px in found if px} - set(resolutions)):
        raise PonasError(f"a latency table is of {pixels(others)}, which --resolution leaves out.")
    return [space_for(table, name, px, classes) for table, px in zip(tables, found, strict=True)]


def sizes_of(
    tables: Sequence[AnyTable], resolution: int | None, classes: int | None
) -> tuple[int | None, int | None]:
    """The resolution (pixels) and classes asked for, or what all tables agree on.

    None for what nobody says or tables say differently; PonasError where another is asked for than they say.
    """
    keys = [table.space for table in tables if table.space]
    of = "tables are" if len(tables) > 1 else "table is"
    return (
        agreed("resolution", resolution, _common([key.resolution for key in keys]), of),
        agreed("classes", classes, _common([key.classes for key in keys]), of),
    )


def _common(sizes: Sequence[int]) -> int | None:
    return sizes[0] if len(set(sizes)) == 1 else None


def ruling_space(table: AnyTable) -> Space | None:
    """The space whose depth rule the networks of a table keep.

    The known one, else the one with stages that has the table's layers and at least its candidates.
    """
    return space_of(table) or staged_space(values_of(table))


def resolutions(tables: Iterable[AnyTable]) -> tuple[int, ...]:
    """The sides of the networks' input in pixels, of those tables that say it."""
    return tuple(table.space.resolution for table in tables if table.space)


def is_sound(key: SpaceKey) -> bool:
    """Whether the space is known and still the one that the table was made for."""
    known = is_known(key.name) and key.resolution > 0 and key.classes > 0
    return known and fingerprint_of(key.name) == key.fingerprint


def name_of(fingerprint: str) -> str | None:
    """The name of the known space with this fingerprint."""
    return next((name for name in SPACES if fingerprint_of(name) == fingerprint), None)


def values_of(table: AnyTable) -> Grid:
    """A table's values as they were measured: latency in ms, top-1 in percent, or loss where that is all."""
    return table.top1 or table.loss if isinstance(table, AccuracyTable) else table.grid


def in_order_of(grid: Grid, key: SpaceKey | None, space: Space, what: str) -> Grid:
    """A table's values in the order of a space; TableMismatchError for a table (`what`) of another space."""
    own = SpaceKey.of(space)
    if key is not None and key.fingerprint != own.fingerprint:
        raise TableMismatchError(
            f"{what} is of space '{key.name}' ({key.fingerprint}), what is measured is of '{own.name}'"
            f" ({own.fingerprint}): take a table of that space."
        )
    blank = Grid.over(space, ([0.0] * len(labels) for labels in space.labels))
    return grid.aligned_to(blank, what, f"space '{space.name}'")
