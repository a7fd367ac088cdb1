"""What was measured before: out of a journal, and from a table back to the journal it came from.

A table keeps every round of everything that was timed, and the interference in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ponas_deploy.errors import TableMismatchError
from ponas_deploy.files.journal import difference
from ponas_deploy.measuring.interference import Round
from ponas_deploy.measuring.protocol import Plan, Samples
from ponas_deploy.profiling.assemble import NetworkSplit, Texts
from ponas_deploy.profiling.models import WEIGHTS
from ponas_deploy.tables import Conditions, LatencyTable, SpaceKey

_PRIOR = ("prior", "prior_sha256", "prior_networks")


@dataclass(frozen=True, slots=True)
class Previous:
    """What was measured and chosen before; no networks where none were chosen yet."""

    samples: Samples
    networks: NetworkSplit | None
    rounds: tuple[Round, ...]


def previous_of(entries: Iterable[Mapping[str, Any]]) -> Previous:
    """What a journal holds; where networks were chosen more than once the last choice counts."""
    samples, networks, rounds = Samples(), None, list[Round]()
    for entry in entries:
        if "fit" in entry:
            networks = NetworkSplit(tuple(entry["fit"]), tuple(entry["check"]))
        elif "weather" in entry:
            rounds.append(Round.from_document(entry["weather"]))
        else:
            samples.add(entry["key"], entry["round"], entry["runs"], entry["ns"])
    return Previous(samples, networks, tuple(rounds))


def header(
    space: SpaceKey,
    conditions: Conditions,
    environment: Texts,
    plan: Plan,
    seed: int,
    prior: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a journal must have been written for to be continued."""
    return {
        **({"prior": dict(prior)} if prior else {}),
        "space": space.document(),
        "conditions": conditions.document(),
        "environment": dict(environment),
        "protocol": {**dict(plan.document()), "seed": str(seed), "weights": WEIGHTS},
    }


def entries_of(table: LatencyTable, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The entries of the journal of a table, which must have been measured as `wanted` says.

    TableMismatchError names the first difference.
    """
    correction, certificate = table.correction, table.certificate
    if correction is None or certificate is None or table.space is None or table.conditions is None:
        raise TableMismatchError(
            "the table does not hold how it was measured: measure it again with --force."
        )
    recorded = dict(table.protocol)
    prior = {name: value for name, value in recorded.items() if name in _PRIOR}
    was = {
        **({"prior": prior} if prior else {}),
        "space": table.space.document(),
        "conditions": table.conditions.document(),
        "environment": dict(table.environment),
        "protocol": {name: recorded.get(name) for name in wanted["protocol"]},
    }
    if was != wanted:
        raise TableMismatchError(
            f"nothing can be added to the table, which is of another measurement ({difference(was, wanted)}):"
            " measure it again with --force."
        )
    fit, check = (
        [(",".join(net.choices), net.measurement) for net in some.networks]
        for some in (correction, certificate)
    )
    yield {"fit": [text for text, _ in fit], "check": [text for text, _ in check]}
    # Round by round, as they were taken: the level of the machine is found in what was taken side by side.
    rounds = [
        (number, {"key": key, "round": number, "runs": measurement.runs, "ns": run_ns})
        for key, measurement in (*table.measurements, *fit, *check)
        for number, run_ns in enumerate(measurement.rounds_ns)
    ]
    yield from (entry for _, entry in sorted(rounds, key=lambda one: one[0]))
    for document in table.rounds:
        yield {"weather": _readable(document)}


def _readable(document: dict[str, Any]) -> dict[str, Any]:
    try:
        return Round.from_document(document).document()
    except (TypeError, ValueError) as error:
        raise TableMismatchError(
            f"the conditions of a round of the table cannot be read ({error}): measure it again with --force."
        ) from error
