"""Which whole networks are built: as many as the time allows, some to fit on and others to check with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.assemble import Networks
from ponas_deploy.bench import Trial
from ponas_deploy.calibrate import LEAST_CHECK, LEAST_FIT
from ponas_deploy.errors import MeasurementError
from ponas_deploy.measure import Plan
from ponas_deploy.spread import divide, spread_networks
from searchspace.architecture import Architecture
from searchspace.space import Space

MOST_FIT, MOST_CHECK = 32, 40
_WANTED_ROUNDS = 16
_VISIT_RUNS = 2.2
"""A visit of a session in a round: the sample, the runs before it that are discarded, and retakes."""
_WORTH_ADDING = 8

Costs = Sequence[NDArray[np.float64]]


def round_s(rough_ns: Iterable[float], plan: Plan, visit_s: float = 0.0) -> float:
    """Seconds that a round over sessions of these run times takes, no visit less than `visit_s`."""
    return sum(max(visit_s, 2 * max(plan.sample_ns, 2 * took_ns) / 1e9) for took_ns in rough_ns)


def affordable(left_s: float, blocks_s: float, trial: Trial) -> int:
    """How many networks can be built and measured in `left_s`, among blocks of `blocks_s` a round."""
    each_s = trial.build_s + _WANTED_ROUNDS * max(trial.visit_s, _VISIT_RUNS * trial.run_s)
    return int(max(0.0, left_s - _WANTED_ROUNDS * blocks_s) / each_s)


def choose(
    space: Space,
    costs: Costs,
    count: int,
    seed: int,
    *,
    least_fit: int = LEAST_FIT,
    least_check: int = LEAST_CHECK,
) -> Networks:
    """About `count` networks spread over the range of `costs`; never fewer than a certificate needs."""
    least = least_fit + least_check
    texts = _spread(space, costs, max(count, least), seed)
    if len(texts) < least:
        raise MeasurementError(
            f"space '{space.name}' has too few networks to certify a table: {len(texts)} were found,"
            f" {least} are needed."
        )
    return _divided(texts, divide(len(texts), least_fit, least_check, MOST_CHECK))


def grown(networks: Networks, space: Space, costs: Costs, count: int, seed: int) -> Networks:
    """The same networks in the same roles and new ones, about `count` in all.

    As they are where hardly any would be new.
    """
    known = {*networks.fit, *networks.check}
    wanted = min(count, MOST_FIT + MOST_CHECK) - len(known)
    fresh = [text for text in _spread(space, costs, max(count, 1), seed) if text not in known]
    if min(wanted, len(fresh)) < _WORTH_ADDING:
        return networks
    places = np.linspace(0, len(fresh) - 1, min(wanted, len(fresh))).round().astype(int)
    texts = [fresh[place] for place in places]
    more = _divided(texts, divide(len(texts), 0, 0, MOST_CHECK - len(networks.check)))
    return Networks((*networks.fit, *more.fit), (*networks.check, *more.check))


def _spread(space: Space, costs: Costs, count: int, seed: int) -> list[str]:
    found = spread_networks(costs, count, seed)
    return [Architecture.from_indices(space, indices).text for indices in found]


def _divided(texts: Sequence[str], checks: Sequence[bool]) -> Networks:
    fit, check = (
        tuple(text for text, is_check in zip(texts, checks, strict=True) if is_check == wanted)
        for wanted in (False, True)
    )
    return Networks(fit, check)
