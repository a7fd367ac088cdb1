"""Which search space a command works in: what says so, in which order, and the default.

`--space` comes first, then the header of weights, then the tables that were named. Where an architecture is
given it decides (`architectures.named_by`). Else it is the space that is worth most: its accuracy table is of
ImageNet, and trained weights of it are public.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ponas_deploy.tables.architectures import agreed
from ponas_deploy.tables.files import AnyTable
from ponas_deploy.tables.known import known_space
from ponas_deploy.tables.spaces import values_of
from searchspace import DEFAULT_SPACE, SUMMARIES
from searchspace.spaces import is_known

_OTHER = "ponas"


@dataclass(frozen=True, slots=True)
class ChosenSpace:
    """A space by its name, and in a few words why it is that one."""

    name: str
    why: str

    @property
    def text(self) -> str:
        """One line for people."""
        summary = SUMMARIES.get(self.name, "")
        return f"{self.name}{summary and f': {summary}'} ({self.why})"


def chosen_space(
    asked: str | None, weights: str | None = None, tables: Iterable[AnyTable | None] = ()
) -> ChosenSpace:
    """The space that was `asked` for, else that of `weights`, else of the first table that says one.

    A table is of the space it names, or whose layers and candidates it has. PonasError where the weights are
    for another space than was asked for.
    """
    name = agreed("space", asked, weights)
    if name is not None:
        return ChosenSpace(name, "--space" if asked else "that of the weights")
    for table in tables:
        if table is not None and (found := _named_by(table)):
            return ChosenSpace(found, "that of the table")
    return ChosenSpace(DEFAULT_SPACE, f"default; --space {_OTHER} for {SUMMARIES[_OTHER]}")


def _named_by(table: AnyTable) -> str | None:
    if table.space is not None:
        return table.space.name if is_known(table.space.name) else None
    known = known_space(values_of(table))
    return known.name if known else None
