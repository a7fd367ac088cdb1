"""Several resolutions of one space, and what networks lose at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ponas_deploy.errors import PonasError, TableMismatchError
from ponas_deploy.tables.accuracy import AccuracyTable
from searchspace.mixed import plain_name
from searchspace.space import Space
from searchspace.spaces import ELASTIC_PX, build_space, is_known

AUTO = "auto"
"""In place of resolutions: those that make sense."""


def spaces_at(space: Space, resolutions: Sequence[int]) -> tuple[Space, ...]:
    """The space at each of several resolutions in pixels.

    PonasError for one that stands twice, or that a supernet for several resolutions was not trained at,
    SpaceError for one that the space is not made for.
    """
    if len(set(resolutions)) < len(resolutions):
        raise PonasError(f"a resolution stands twice in {pixels(resolutions)}: name each once.")
    known = ELASTIC_PX.get(plain_name(space.name))
    found = tuple(at(space, px) for px in resolutions)
    beyond = [px for px in resolutions if known and px not in known] if len(resolutions) > 1 else []
    if known and beyond:
        raise PonasError(
            f"the supernet of space '{space.name}' is trained at {known[0]} to {known[-1]} px, not at"
            f" {pixels(beyond)}: search resolutions in between."
        )
    return found


def at(space: Space, resolution: int) -> Space:
    """The space at another resolution in pixels; SpaceError for one that it is not made for."""
    if space.resolution == resolution:
        return space
    if is_known(space.name):
        return build_space(space.name, resolution, space.classes)
    return replace(space, resolution=resolution)


def at_resolutions(
    tables: Sequence[AccuracyTable], resolutions: Sequence[int | None]
) -> tuple[tuple[int, AccuracyTable], ...]:
    """Which of the accuracy tables counts at each resolution in pixels, and the table as it counts there.

    One table counts at all of them, by its terms, several at those that they were measured at. Without
    resolutions to compare, the one there is counts by its terms or as it is. TableMismatchError where nothing
    says what networks lose at a resolution, or where several tables do not predict top-1: losses of one table
    are not those of another.
    """
    wanted = sorted({px for px in resolutions if px is not None})
    if len(tables) == 1:
        if len(wanted) < 2:
            return tuple((0, tables[0].brought_to(px) if px else tables[0]) for px in resolutions)
        moved = {px: tables[0].at(px) for px in wanted}
        return tuple((0, moved[px] if px else tables[0]) for px in resolutions)
    by_px = {table.measured_px: place for place, table in enumerate(tables)}
    if len(by_px) < len(tables) or set(by_px) != set(resolutions):
        measured = pixels([table.measured_px or 0 for table in tables])
        raise TableMismatchError(
            f"the accuracy tables are of {measured}, and {pixels(wanted)} are searched: name a table of each."
        )
    if any(table.top1_scale is None for table in tables):
        raise TableMismatchError(
            "accuracy tables of several resolutions are compared by the top-1 that they predict, and one of"
            " them only ranks: take tables that `ponas table fit` made."
        )
    return tuple((by_px[px], tables[by_px[px]]) for px in resolutions)


def resolution_warnings(table: AccuracyTable, resolutions: Sequence[int]) -> tuple[str, ...]:
    """What is to be said of resolutions that a table's terms and no measurement speak for; else nothing."""
    terms, measured = table.resolution_terms, table.measured_px
    others = [px for px in resolutions if terms and px != measured and terms.lost_pp(px) is not None]
    if terms is None or not others:
        return ()
    off = f"what networks lose elsewhere is one term for all: {terms.text(others)}."
    return (f"the accuracy table: it was measured at {measured} px only; {off}",)


def pixels(resolutions: Sequence[int]) -> str:
    """`160, 192 and 224 px`."""
    names = [str(px) for px in sorted(resolutions)]
    return f"{' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))} px"
