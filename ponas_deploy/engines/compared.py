"""Networks side by side, each with its measured latency and its top-1: who is on the front, and what pays.

Pure: values in, values out. A latency is measured, a top-1 is published for weights of a stock network, given
for a model of one's own, or predicted for a network of a space. Two latencies that differ by less than the
noise are not resolved: neither is called the faster one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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

    `other` is the one of greatest top-1 among stock networks and models of one's own that take no longer,
    None where all of them take longer; `near` a still better one that takes longer by less than the noise,
    None where there is none. Gains are percentage points of top-1, `text` a sentence.
    """

    budget_ms: float
    specialised: Measured
    other: Measured | None
    gain_points: float | None
    near: Measured | None
    near_gain_points: float | None
    text: str

    @property
    def pays(self) -> bool | None:
        """Whether specialising gains; None where the noise keeps anybody from telling."""
        gains = self.gain_points is None or self.gain_points > 0
        if self.near_gain_points is None or (self.near_gain_points > 0) is gains:
            return gains
        return None


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


def _verdicts(networks: Sequence[Measured], timing: Interleaved) -> Iterator[Verdict]:
    chosen = [(budget, one) for one in networks for budget in one.entry.budgets_ms if one.entry.top1]
    others = [one for one in networks if one.entry.kind != "space" and one.entry.top1]
    for budget_ms, one in sorted(chosen, key=lambda pair: pair[0]):
        faster = [other for other in others if other.measured_ms <= one.measured_ms]
        nearly = [other for other in others if not timing.is_resolved(other.entry.key, one.entry.key)]
        other = max(faster, key=_pct, default=None)
        near = max(
            (rival for rival in nearly if other is None or _pct(rival) > _pct(other)), key=_pct, default=None
        )
        gain = None if other is None else _pct(one) - _pct(other)
        near_gain = None if near is None else _pct(one) - _pct(near)
        text = f"at {budget_ms:.4g} ms: specialised {_in_words(one)}{_against(other, gain, near, near_gain)}"
        yield Verdict(budget_ms, one, other, gain, near, near_gain, text)


def _pct(one: Measured) -> float:
    """The top-1 in percent; -1 without one."""
    return one.entry.top1.pct if one.entry.top1 else -1.0


def _against(
    other: Measured | None, gain: float | None, near: Measured | None, near_gain: float | None
) -> str:
    """The end of the sentence on a budget."""
    text = "; everything else takes longer"
    if other is not None:
        text = f" against {other.entry.name} {_in_words(other)}: {gain:+.2f} points"
    if near is not None:
        slower = f"{near.entry.name} {_in_words(near)} takes longer by less than the noise"
        text += f"; {slower}: {near_gain:+.2f} points"
    return text


def _in_words(one: Measured) -> str:
    return f"{_top1(one)} in {one.measured_ms:.2f} ms"


def _top1(one: Measured) -> str:
    top1 = one.entry.top1
    if top1 is None:
        return "of unknown top-1"
    return f"{top1.pct:.2f} % {'distilled, ' if top1.distilled else ''}{top1.known}"


def _summary(verdicts: Sequence[Verdict]) -> str:
    """One sentence on all budgets; empty without any."""
    if not verdicts:
        return ""
    gains = [gain for one in verdicts for gain in (one.gain_points, one.near_gain_points) if gain is not None]
    points = f" ({min(gains):+.2f} to {max(gains):+.2f} points of top-1)" if gains else ""
    pays = [one.pays for one in verdicts]
    of = f"{len(pays)} budget{'s' if len(pays) > 1 else ''}"
    if not any(one is not False for one in pays):
        return f"Specialising does not pay here, at none of {of}{points}: other networks as fast are as good."
    untold = f"; at {pays.count(None)} the noise does not tell" if None in pays else ""
    return f"Specialising pays at {pays.count(True)} of {of}{points}, by predicted top-1{untold}."
