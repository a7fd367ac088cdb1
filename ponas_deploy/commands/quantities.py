"""Quantities with units as options of the command line: one that cannot be read is a usage error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from searchspace.errors import PonasError

if TYPE_CHECKING:
    from ponas_deploy.search.notation import Limit, Notation

LEAST_PROFILE_S = 5.0
_LEAST_RECHECK_S = 3.0


def limit_parser(notation: Notation) -> Callable[[str | Limit], Limit]:
    """A parser of limits in a notation, for an option; typer.BadParameter for what is none."""

    def limit(text: str | Limit) -> Limit:
        return _parse(notation, text) if isinstance(text, str) else text  # typer parses what it parsed again

    return limit


def parse_duration(text: str | float) -> float:
    """`600ms`, `20s`, `2min`, `1.5h` or a bare number of seconds, in seconds."""
    from ponas_deploy.search.notation import DURATIONS

    return _parse(DURATIONS, str(text)).amount


def parse_profile_time(text: str | float) -> float:
    """The same for a profile, which needs a few seconds."""
    return _at_least(LEAST_PROFILE_S, text, "for a certified table")


def parse_recheck_time(text: str | float) -> float:
    """The same for measuring a few cells again."""
    return _at_least(_LEAST_RECHECK_S, text, "for measuring cells again")


def _at_least(least_s: float, text: str | float, what: str) -> float:
    seconds = parse_duration(text)
    if seconds < least_s:
        raise typer.BadParameter(f"'{text}' is too short {what}: ask for {least_s:g}s or more.")
    return seconds


@dataclass(frozen=True, slots=True)
class Resolutions:
    """Sides of the square input that were asked for, in pixels; none where they are left open (`auto`)."""

    px: tuple[int, ...] = ()

    @property
    def one(self) -> int | None:
        """The only one; None where there are several, or where they are left open."""
        return self.px[0] if len(self.px) == 1 else None


def parse_resolutions(text: str | Resolutions) -> Resolutions:
    """`192`, `160,192,224` or `auto`; a usage error for anything else, and for one that stands twice."""
    from ponas_deploy.files.bounds import Resolution, fault
    from ponas_deploy.tables.resolutions import AUTO

    if not isinstance(text, str):
        return text  # typer parses what it parsed again
    found = list[int]()
    for part in [] if text.strip() == AUTO else map(str.strip, text.split(",")):
        if not (part.isascii() and part.isdigit() and len(part) < 10):
            raise typer.BadParameter(
                f"'{part[:20]}' is no resolution: write pixels (192, or 160,192,224) or {AUTO}."
            )
        if wrong := fault(Resolution, int(part)):
            raise typer.BadParameter(f"resolution {wrong}")
        if int(part) in found:
            raise typer.BadParameter(f"resolution {int(part)} stands twice: name each once.")
        found.append(int(part))
    return Resolutions(tuple(found))


def _parse(notation: Notation, text: str) -> Limit:
    try:
        return notation.parse(text)
    except PonasError as error:
        raise typer.BadParameter(str(error)) from error
