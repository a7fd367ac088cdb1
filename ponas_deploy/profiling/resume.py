"""What was measured before: out of a journal, and from a table back to the journal it came from.

A table keeps every round of everything that was timed, and the interference in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ponas_deploy.errors import TableMismatchError
from ponas_deploy.files.bounds import AboveZero, Count, Positive
from ponas_deploy.files.documents import compact
from ponas_deploy.files.journal import Line, difference
from ponas_deploy.machines.conditions import clock_settings
from ponas_deploy.measuring.interference import superseded
from ponas_deploy.measuring.protocol import Plan, Samples
from ponas_deploy.profiling.assemble import NetworkSplit, Texts
from ponas_deploy.profiling.models import WEIGHTS
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_upgrade import renamed
from ponas_deploy.tables.rounds import Round

CLOCKS = "clocks"
WHERE_SAID = (CLOCKS,)
"""Objects of a header of which that is compared which both headers say: older journals lack them, and so do
machines that do not tell."""


@dataclass(frozen=True, slots=True)
class Previous:
    """What was measured and chosen before; no networks where none were chosen yet."""

    samples: Samples
    networks: NetworkSplit | None
    rounds: tuple[Round, ...]


@dataclass(frozen=True, slots=True)
class SampleEntry:
    """A journal's line: the sample of one key in one round, `runs` of `ns` nanoseconds."""

    key: str
    round: Count
    runs: Positive
    ns: AboveZero


@dataclass(frozen=True, slots=True)
class NetworksEntry:
    """A journal's line: the whole networks that were chosen, by their text form."""

    fit: tuple[str, ...]
    check: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundEntry:
    """A journal's line: the interference in a round."""

    interference: Round


def previous_of(lines: Iterable[Line]) -> Previous:
    """What a journal holds; where networks were chosen more than once the last choice counts.

    FileFormatError names the line, and the key that is missing or of another type.
    """
    samples, networks, rounds = Samples(), None, list[Round]()
    for line in lines:
        if "fit" in line.data:
            chosen = line.read(NetworksEntry)
            networks = NetworkSplit(chosen.fit, chosen.check)
        elif "weather" in line.data or "interference" in line.data:
            rounds.append(replace(line, data=_of_today(line.data)).read(RoundEntry).interference)
        else:
            one = line.read(SampleEntry)
            samples.add(one.key, one.round, one.runs, one.ns)
    return Previous(samples, networks, tuple(superseded(rounds)))


def _of_today(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a round, which was called its weather before."""
    return {"interference": renamed(entry.get("interference", entry.get("weather")))}


def header(
    space: SpaceKey,
    conditions: Conditions,
    environment: Texts,
    plan: Plan,
    seed: int,
    prior: Mapping[str, str] | None = None,
    *,
    at_start: Mapping[str, str],
) -> dict[str, Any]:
    """What a journal must have been written for to be continued.

    `at_start` are the conditions of the machine as a table records them, of which only how its clocks are set
    stays as it is. The power mode is in `environment`.
    """
    return {
        **({"prior": dict(prior)} if prior else {}),
        "space": space.document(),
        "conditions": conditions.document(),
        "environment": dict(environment),
        "protocol": expected_protocol(plan, seed),
        CLOCKS: clock_settings(at_start),
    }


def expected_protocol(plan: Plan, seed: int) -> dict[str, str | None]:
    """What the header of a journal says of how everything is measured."""
    return _protocol(plan.numbers(), seed, WEIGHTS)


def entries_of(table: LatencyTable, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The entries of the journal of a table, which must have been measured as `wanted` says.

    TableMismatchError names the first difference.
    """
    correction, certificate = table.correction, table.certificate
    if correction is None or certificate is None or table.space is None or table.conditions is None:
        raise TableMismatchError(
            "the table does not hold how it was measured: measure it again with --force."
        )
    recorded, prior = table.protocol, table.protocol.prior
    was = {
        **({"prior": prior_header(prior.name, prior.sha256, prior.networks)} if prior else {}),
        "space": table.space.document(),
        "conditions": table.conditions.document(),
        "environment": dict(table.environment),
        "protocol": _protocol(
            {name: recorded.plan.get(name) for name in wanted["protocol"] if name not in ("seed", "weights")},
            recorded.seed,
            recorded.weights,
        ),
        CLOCKS: clock_settings(recorded.at_start),
    }
    if differs := difference(was, wanted, WHERE_SAID):
        raise TableMismatchError(
            f"nothing can be added to the table, which is of another measurement ({differs}):"
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
    yield from ({"interference": compact(one)} for one in table.rounds)


def prior_header(name: str, sha256: str, networks: int) -> dict[str, str]:
    """What a journal says of a prior."""
    return {"prior": name, "prior_sha256": sha256, "prior_networks": str(networks)}


def _protocol(plan: Mapping[str, float | None], seed: int | None, weights: str) -> dict[str, str | None]:
    """What a journal says of the plan: text, as journals always had it."""
    numbers = {name: None if value is None else f"{value:g}" for name, value in plan.items()}
    return {**numbers, "seed": str(seed), "weights": weights}
