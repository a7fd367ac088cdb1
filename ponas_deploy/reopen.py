"""From a table back to the journal it came from, so that it can be measured further.

A table keeps every round of everything that was timed. Of the weather it keeps what a protocol says: medians,
and how many rounds were wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ponas_deploy.errors import TableMismatchError
from ponas_deploy.journal import difference
from ponas_deploy.measure import Plan
from ponas_deploy.tables import Conditions, LatencyTable, SpaceKey
from ponas_deploy.weather import rounds_of

Texts = tuple[tuple[str, str], ...]


def header(
    space: SpaceKey, conditions: Conditions, environment: Texts, plan: Plan, seed: int
) -> dict[str, Any]:
    """What a journal must have been written for to be continued."""
    return {
        "space": space.document(),
        "conditions": conditions.document(),
        "environment": dict(environment),
        "protocol": {**dict(plan.document()), "seed": str(seed)},
    }


def entries_of(table: LatencyTable, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The entries of the journal of a table, which must have been measured as `wanted` says.

    TableMismatchError names the first difference.
    """
    correction, proof = table.correction, table.certificate
    if correction is None or proof is None or table.space is None or table.conditions is None:
        raise TableMismatchError("the table does not hold how it was measured: measure it anew with --force.")
    said = dict(table.protocol)
    was = {
        "space": table.space.document(),
        "conditions": table.conditions.document(),
        "environment": dict(table.environment),
        "protocol": {name: said.get(name) for name in wanted["protocol"]},
    }
    if was != wanted:
        raise TableMismatchError(
            f"nothing can be added to the table, which is of another measurement ({difference(was, wanted)}):"
            " measure it anew with --force."
        )
    fit, check = (
        [(",".join(net.choices), net.measurement) for net in some.networks] for some in (correction, proof)
    )
    yield {"fit": [text for text, _ in fit], "check": [text for text, _ in check]}
    for key, measurement in (*table.measurements, *fit, *check):
        for number, run_ns in enumerate(measurement.rounds_ns):
            yield {"key": key, "round": number, "runs": measurement.runs, "ns": run_ns}
    for one in rounds_of(said):
        yield {"weather": one.document()}
