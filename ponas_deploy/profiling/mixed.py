"""Mixed precision as it is asked for: the precision of a target, and the space whose candidates have one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ponas_deploy.backends import MIXED
from ponas_deploy.errors import PonasError
from ponas_deploy.profiling.target import Target
from searchspace.mixed import is_mixed, mixed, plain_name
from searchspace.space import Space


def with_precisions(space: Space, target: Target) -> tuple[Space, Target]:
    """The space and the target of mixed precision, where one of them is; both as they are where none is.

    PonasError for another precision beside it: a mixed space has fp32 and int8 in it.
    """
    asked, of_mixed = set(target.precisions), is_mixed(space.name)
    if MIXED not in asked and not of_mixed:
        return space, target
    if others := sorted(asked - {MIXED}):
        raise PonasError(
            f"mixed precision has fp32 and int8 in each layer, and {', '.join(others)} is asked for too: name"
            f" --precision mixed alone, or that with --space {plain_name(space.name)}."
        )
    return mixed(space), replace(target, precisions=(MIXED,))


def all_with_precisions(
    spaces: Iterable[Space], targets: Iterable[Target]
) -> tuple[list[Space], list[Target]]:
    """The same of several, each space with each target; PonasError where targets differ in it."""
    wanted, there = list(spaces), list(targets)
    ways = {MIXED in one.precisions for one in there}
    if len(ways) > 1:
        raise PonasError("mixed precision is another search space: name it for all devices, or for none.")
    first = there[0]
    found = [with_precisions(space, first)[0] for space in wanted]
    return found, [with_precisions(wanted[0], target)[1] for target in there]
