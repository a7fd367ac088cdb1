"""Networks side by side, each with its measured latency and its top-1: who is on the front, and what pays.

Pure: values in, values out. A latency is measured, a top-1 is published for weights of a stock network, given
for a model of one's own, or predicted for a network of a space. Two latencies that differ by less than the
noise are not resolved: neither is called the faster one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ponas_deploy.engines.interleaved import Interleaved
from ponas_deploy.tables.latency import Conditions

Kind = Literal["stock", "own", "space"]
"""A stock network, a model of one's own, or a network of a search space."""
Place = Literal["on", "not resolved", "off", "unknown"]
"""Of the front: beaten by none; only by such that are not resolved from it; beaten; without a top-1."""


@dataclass(frozen=True, slots=True)
class Top1:
    """A top-1 in percent and how it is known; `of` names weights and recipe, or the table that predicts it.

    `beyond` says where a prediction lies outside of what was measured for the table, else empty.
    """

    pct: float
    known: Literal["published", "given", "predicted"]
    of: str
    distilled: bool = False
    beyond: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A network that is compared. `budgets_ms` are those that it was chosen for, `choices` its labels.

    Both are empty for what is not of a space. `predicted_ms` is by the latency table, None without one.
    `top1` is None where nobody knows it, `resolution_px` where it takes no square images. Parameters and MACs
    are counted from its ONNX graph, for one image; None where that cannot be.
    """

    key: str
    name: str
    kind: Kind
    resolution_px: int | None
    top1: Top1 | None
    params: int | None = None
    macs: int | None = None
    choices: tuple[str, ...] = ()
    budgets_ms: tuple[float, ...] = ()
    predicted_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """An entry as it was measured: ms, and how far its processes lie apart in percent."""

    entry: Entry
    measured_ms: float
    noise_pct: float
    front: Place


@dataclass(frozen=True, slots=True)
class Verdict:
    """What specialising gains at a budget: a specialised network against the best other one as fast.

    `other` is the one of greatest top-1 among stock networks and models of one's own that take no longer, or
    no longer by more than the noise; None where all of them take longer. `gain_points` are percentage points
    of top-1, `text` a sentence.
    """

    budget_ms: float
    specialised: Measured
    other: Measured | None
    gain_points: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Networks that were timed in the same rounds under the same conditions, the fastest one first."""

    conditions: Conditions
    networks: tuple[Measured, ...]
    verdicts: tuple[Verdict, ...]
    summary: str
    floor_pct: float
    rounds: int
    shared_pct: float
    disturbed: str = ""
    warnings: tuple[str, ...] = ()


def compared(
    entries: Sequence[Entry], timing: Interleaved, conditions: Conditions, warnings: Iterable[str] = ()
) -> Comparison:
    """Put measured networks beside each other."""
    networks = tuple(
        sorted(
            (
                Measured(
                    one, timing.measured_ms(one.key), timing.noise_pct(one.key), _place(one, entries, timing)
                )
                for one in entries
            ),
            key=lambda one: one.measured_ms,
        )
    )
    verdicts = tuple(_verdicts(networks, timing))
    return Comparison(
        conditions,
        networks,
        verdicts,
        _summary(verdicts),
        timing.floor_pct,
        timing.rounds,
        timing.shared_pct,
        timing.disturbed,
        tuple(warnings),
    )


def _place(entry: Entry, entries: Sequence[Entry], timing: Interleaved) -> Place:
    if entry.top1 is None:
        return "unknown"
    own_ms, own_pct = timing.measured_ms(entry.key), entry.top1.pct
    better = [
        one
        for one in entries
        if one.top1 is not None
        and (taken_ms := timing.measured_ms(one.key)) <= own_ms
        and one.top1.pct >= own_pct
        and (taken_ms < own_ms or one.top1.pct > own_pct)
    ]
    if not better:
        return "on"
    return "off" if any(timing.is_resolved(entry.key, one.key) for one in better) else "not resolved"


def _verdicts(networks: Sequence[Measured], timing: Interleaved) -> Iterable[Verdict]:
    chosen = [(budget, one) for one in networks for budget in one.entry.budgets_ms]
    for budget_ms, one in sorted(chosen, key=lambda pair: pair[0]):
        if one.entry.top1 is None:
            continue
        others = [
            (other.entry.top1.pct, other)
            for other in networks
            if other.entry.kind != "space" and other.entry.top1 is not None and _as_fast(other, one, timing)
        ]
        _, other = max(others, key=lambda pair: pair[0], default=(0.0, None))
        gain = one.entry.top1.pct - other.entry.top1.pct if other and other.entry.top1 else None
        yield Verdict(budget_ms, one, other, gain, _text(budget_ms, one, other, gain, timing))


def _as_fast(other: Measured, one: Measured, timing: Interleaved) -> bool:
    faster = other.measured_ms <= one.measured_ms
    return faster or not timing.is_resolved(other.entry.key, one.entry.key)


def _text(
    budget_ms: float, one: Measured, other: Measured | None, gain: float | None, timing: Interleaved
) -> str:
    start = f"at {budget_ms:g} ms: specialised {_top1(one)} in {one.measured_ms:.2f} ms"
    if other is None or gain is None:
        return f"{start}; everything else takes longer"
    end = f"against {other.entry.name} {_top1(other)} in {other.measured_ms:.2f} ms: {gain:+.2f} points"
    slower = other.measured_ms > one.measured_ms
    return f"{start} {end}{' (the latencies differ by less than the noise)' if slower else ''}"


def _top1(one: Measured) -> str:
    top1 = one.entry.top1
    if top1 is None:
        return "of unknown top-1"
    return f"{top1.pct:.2f} % {'distilled, ' if top1.distilled else ''}{top1.known}"


def _summary(verdicts: Sequence[Verdict]) -> str:
    """One sentence on all budgets; empty without any."""
    gains = [one.gain_points for one in verdicts if one.gain_points is not None]
    alone = len(verdicts) - len(gains)
    if not verdicts:
        return ""
    paying = sum(gain > 0 for gain in gains) + alone
    if not paying:
        return (
            "Specialising does not pay here: at every budget another network as fast has at least the"
            f" predicted top-1 ({min(gains):+.2f} to {max(gains):+.2f} points)."
        )
    range_text = f" ({min(gains):+.2f} to {max(gains):+.2f} points)" if gains else ""
    faster = f", at {alone} of them because nothing else is as fast" if alone else ""
    return (
        f"Specialising pays at {paying} of {len(verdicts)} budgets{range_text}{faster}, by predicted top-1."
    )
