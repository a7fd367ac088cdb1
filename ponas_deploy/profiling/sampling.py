"""Which whole networks are built: as many as the time allows, some to fit on and others to check with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ponas_deploy.errors import MeasurementError
from ponas_deploy.fitting.correction import LEAST_CHECK, LEAST_FIT
from ponas_deploy.profiling.assemble import NetworkSplit
from ponas_deploy.profiling.optimal_design import most_informative
from ponas_deploy.profiling.spread import Floats, evenly, total, varied_networks
from ponas_deploy.tables.grid import Grid
from searchspace.architecture import Architecture, only_network
from searchspace.space import Space

MOST_FIT, MOST_CHECK = 32, 40
_WORTH_ADDING = 8
_CHECKED = 0.56
"""The share of the networks that certify, where there are enough of both."""
_OF_A_KIND = 60
"""So many networks of each kind are there to choose from."""

Costs = Sequence[Floats]


def choose(
    space: Space,
    costs: Costs,
    losses: Costs,
    count: int,
    seed: int,
    *,
    least_fit: int = LEAST_FIT,
    least_check: int = LEAST_CHECK,
) -> NetworkSplit:
    """About `count` networks, those to fit on the most informative ones; the only one where there is but one.

    Otherwise never fewer than a certificate needs.
    """
    if only := only_network(space):
        return NetworkSplit((only.text,), ())
    pool, least = _pool(space, costs, losses, seed), least_fit + least_check
    if len(pool) < least:
        raise MeasurementError(
            f"space '{space.name}' has too few networks to certify a table: {len(pool)} were found,"
            f" {least} are needed."
        )
    count = min(max(count, least), len(pool))
    check = min(count - least_fit, MOST_CHECK, max(least_check, round(_CHECKED * count)))
    return _added(NetworkSplit((), ()), space, costs, pool, count - check, check)


def grown(
    networks: NetworkSplit, space: Space, costs: Costs, losses: Costs, count: int, seed: int
) -> NetworkSplit:
    """The same networks in the same roles and new ones, about `count` in all.

    As they are where hardly any would be new.
    """
    known = {*networks.fit, *networks.check}
    pool = {text: cost for text, cost in _pool(space, costs, losses, seed).items() if text not in known}
    wanted = min(count - len(known), MOST_FIT + MOST_CHECK - len(known), len(pool))
    if wanted < _WORTH_ADDING:
        return networks
    check = min(MOST_CHECK - len(networks.check), round(_CHECKED * wanted))
    return _added(networks, space, costs, pool, wanted - check, check)


def _pool(space: Space, costs: Costs, losses: Costs, seed: int) -> dict[str, float]:
    """Networks of all kinds by their text form, kind by kind, with their costs."""
    groups = space.groups
    found = varied_networks(groups.joined(costs), groups.joined(losses), _OF_A_KIND, seed)
    networks = [tuple(row) for row in groups.choices(np.array(found, dtype=np.intp)).tolist()]
    return {Architecture.from_indices(space, one).text: total(costs, one) for one in networks}


def _added(
    networks: NetworkSplit, space: Space, costs: Costs, pool: Mapping[str, float], fit: int, check: int
) -> NetworkSplit:
    """With more of the pool: to check with evenly of each kind, of the others to fit on the most
    informative."""
    checks = evenly(list(pool), check)
    others = [text for text in pool if text not in checks]
    choices, known = ([tuple(text.split(",")) for text in texts] for texts in (others, networks.fit))
    places = most_informative(
        Grid.over(space, (row.tolist() for row in costs)), space.cells(), choices, fit, known
    )
    fits = sorted((others[place] for place in places), key=pool.__getitem__)
    return NetworkSplit((*networks.fit, *fits), (*networks.check, *sorted(checks, key=pool.__getitem__)))
