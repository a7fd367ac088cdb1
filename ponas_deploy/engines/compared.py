"""Networks side by side, each with its measured latency and its top-1: who is on the front, and what pays.

Pure: values in, values out. A latency is measured, a top-1 is published for weights of a network, given
for a model of one's own, or predicted for a network of a space, all of them of weights in full precision.
Two latencies that differ by less than the noise are not resolved: neither is called the faster one. Two top-1
that differ by less than the error of those that are predicted do not say which network is better either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import hypot
from typing import Literal

from ponas_deploy.backends import QUANTISED
from ponas_deploy.engines.interleaved import Interleaved
from ponas_deploy.tables.latency import Conditions

Kind = Literal["stock", "own", "space"]
"""A stock or published network, a model of one's own, or a network of a search space."""
Place = Literal["on", "not resolved", "off", "unknown"]
"""Of the front: beaten by none; perhaps beaten, which the noise or the error of predicted top-1 leaves open;
beaten; without a top-1."""


@dataclass(frozen=True, slots=True)
class Top1:
    """A top-1 in percent and how it is known; `of` names weights and recipe, or the table that predicts it.

    `error_points` is how far a prediction is off, in points, None where nobody knows. `beyond` says where one
    lies outside of what was measured for the table, else empty.
    """

    pct: float
    known: Literal["published", "given", "predicted"]
    of: str
    distilled: bool = False
    beyond: str = ""
    error_points: float | None = None


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

    `other` is the one of greatest top-1 among stock networks and models of one's own that are faster by more
    than the noise, None where none is; `near` a still better one from which the noise does not tell it, None
    where there is none. Gains are percentage points of top-1, `text` a sentence.
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
        """Whether specialising gains; None where the noise, or the error of its top-1, does not tell."""
        error_points = _error_points(self.specialised)
        gains = [gain for gain in (self.gain_points, self.near_gain_points) if gain is not None]
        found = {None if abs(gain) < error_points else gain > 0 for gain in gains} or {True}
        return found.pop() if len(found) == 1 else None

    @property
    def over_budget(self) -> bool:
        """Whether the specialised network takes longer than the budget."""
        return self.specialised.measured_ms > self.budget_ms


@dataclass(frozen=True, slots=True)
class Comparison:
    """Networks that were timed in the same rounds under the same conditions, the fastest one first.

    `left_out` says in sentences what was asked for and is not here: stock networks that could not be built or
    were refused, and other conditions that failed as a whole.
    """

    conditions: Conditions
    networks: tuple[Measured, ...]
    verdicts: tuple[Verdict, ...]
    summary: str
    floor_pct: float
    rounds: int
    shared_pct: float
    disturbed: str = ""
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def compared(
    entries: Sequence[Entry],
    timing: Interleaved,
    conditions: Conditions,
    warnings: Iterable[str] = (),
    left_out: Iterable[str] = (),
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
    untold = _untold(entries, conditions.precision)
    verdicts = () if untold else tuple(_verdicts(networks, timing))
    return Comparison(
        conditions,
        networks,
        verdicts,
        untold or _summary(verdicts),
        timing.floor_pct,
        timing.rounds,
        timing.shared_pct,
        timing.disturbed,
        tuple(warnings),
        tuple(left_out),
    )


def in_ms(*budgets_ms: float) -> str:
    """Budgets in words: `3, 4.5 ms`."""
    return f"{', '.join(f'{one:.4g}' for one in budgets_ms)} ms"


def _place(entry: Entry, entries: Sequence[Entry], timing: Interleaved) -> Place:
    if entry.top1 is None:
        return "unknown"
    own_ms, doubtful = timing.measured_ms(entry.key), False
    for one in entries:
        if one.top1 is None or one.key == entry.key:
            continue
        error_points = hypot(_error_of(entry.top1), _error_of(one.top1))
        gain_points = one.top1.pct - entry.top1.pct
        resolved = timing.is_resolved(entry.key, one.key)
        if resolved and timing.measured_ms(one.key) > own_ms:
            continue
        if resolved and gain_points >= error_points:
            return "off"
        doubtful = doubtful or gain_points > -error_points
    return "not resolved" if doubtful else "on"


def _untold(entries: Sequence[Entry], precision: str) -> str:
    """Why there is no verdict on networks that were chosen for budgets; empty where there is one."""
    chosen = [one for one in entries if one.budgets_ms]
    reason = ""
    if chosen and precision in QUANTISED:
        reason = (
            "every top-1 is of weights in full precision, and nobody knows what each network loses in"
            f" {precision}"
        )
    elif chosen and not any(one.top1 for one in chosen):
        reason = (
            "the ImageNet top-1 of the space's networks is not known, for its accuracy table is of other"
            " images, classes or resolutions, or predicts no top-1"
        )
    elif chosen and not any(map(_is_rival, entries)):
        reason = "there is no other network of known top-1"
    return f"No verdict on specialising: {reason}." if reason else ""


def _is_rival(entry: Entry) -> bool:
    """Whether specialised networks are held against it: any of known top-1 that is of no space."""
    return entry.kind != "space" and entry.top1 is not None


def _verdicts(networks: Sequence[Measured], timing: Interleaved) -> Iterator[Verdict]:
    chosen = [(budget, one) for one in networks for budget in one.entry.budgets_ms if one.entry.top1]
    rivals = [one for one in networks if _is_rival(one.entry)]
    for budget_ms, one in sorted(chosen, key=lambda pair: pair[0]):
        resolved = {rival.entry.key: timing.is_resolved(rival.entry.key, one.entry.key) for rival in rivals}
        faster = [
            rival for rival in rivals if resolved[rival.entry.key] and rival.measured_ms < one.measured_ms
        ]
        other = max(faster, key=_pct, default=None)
        nearly = [rival for rival in rivals if not resolved[rival.entry.key]]
        near = max(
            (rival for rival in nearly if other is None or _pct(rival) > _pct(other)), key=_pct, default=None
        )
        gain = None if other is None else _pct(one) - _pct(other)
        near_gain = None if near is None else _pct(one) - _pct(near)
        verdict = Verdict(budget_ms, one, other, gain, near, near_gain, "")
        yield replace(verdict, text=_sentence(verdict))


def _pct(one: Measured) -> float:
    """The top-1 in percent; -1 without one."""
    return one.entry.top1.pct if one.entry.top1 else -1.0


def _error_points(one: Measured) -> float:
    """How far its top-1 is off as far as anybody knows, in points."""
    return _error_of(one.entry.top1) if one.entry.top1 else 0.0


def _error_of(top1: Top1) -> float:
    return top1.error_points or 0.0


def _sentence(verdict: Verdict) -> str:
    """The verdict on a budget in words."""
    one, other, near = verdict.specialised, verdict.other, verdict.near
    text = f"at {in_ms(verdict.budget_ms)}: specialised {_in_words(one)}"
    if verdict.over_budget:
        text += f", over the budget by {100 * (one.measured_ms / verdict.budget_ms - 1):.2g} %,"
    if other is not None:
        text += f" against {other.entry.name} {_in_words(other)}: {verdict.gain_points:+.2f} points"
    elif near is None:
        text = f"{text.rstrip(',')}; everything else of known top-1 takes longer"
    if near is not None:
        as_fast = f"{near.entry.name} {_in_words(near)} is as fast within the noise"
        text = f"{text.rstrip(',')}; {as_fast}: {verdict.near_gain_points:+.2f} points"
    return text if verdict.pays is not None else f"{text}; it cannot be told"


def _in_words(one: Measured) -> str:
    return f"{_top1(one)} in {one.measured_ms:.2f} ms"


def _top1(one: Measured) -> str:
    top1 = one.entry.top1
    if top1 is None:
        return "of unknown top-1"
    error = "" if top1.error_points is None else f"+-{top1.error_points:.2f}"
    doubts = ", ".join(filter(None, (error, "beyond what was measured" * bool(top1.beyond))))
    said = f" ({doubts})" if doubts else ""
    return f"{top1.pct:.2f} % {'distilled, ' if top1.distilled else ''}{top1.known}{said}"


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
    untold = f"; at {pays.count(None)} it cannot be told" if None in pays else ""
    return f"Specialising pays at {pays.count(True)} of {of}{points}, by predicted top-1{untold}."
