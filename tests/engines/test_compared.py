"""Networks side by side: the front of all, what the noise does not resolve, and what specialising gains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ponas_deploy.commands.reports.comparison import measured_comparison_report
from ponas_deploy.engines.compared import Comparison, Entry, Kind, Top1, compared
from ponas_deploy.engines.comparison_document import comparisons_document
from ponas_deploy.engines.interleaved import Interleaved
from ponas_deploy.tables.latency import Conditions
from rendered import shown

CONDITIONS = Conditions("board", "onnxruntime", "fp32", 1, 1)


def entry(key: str, kind: Kind, pct: float | None, *budgets_ms: float) -> Entry:
    known = "predicted" if kind == "space" else "published"
    top1 = None if pct is None else Top1(pct, known, "timm lamb, a file")  # type: ignore[arg-type]
    return Entry(key, key, kind, 224, top1, 2_000_000, 57_000_000, budgets_ms=budgets_ms)


def timing(**ms: float) -> Interleaved:
    """Three processes; in the second everything takes half as long again, every other engine 1 % more."""
    found = {}
    for place, (key, value) in enumerate(ms.items()):
        found[key] = (value, 1.5 * value * 1.01 ** (place % 2), value)
    return Interleaved(found, 90, 0.0, "")


def comparison(*entries: Entry, **ms: float) -> Comparison:
    return compared(entries, timing(**ms), CONDITIONS)


def test_what_slows_all_alike_is_no_noise() -> None:
    found = timing(a=1.0, b=2.0, c=3.0)
    assert found.noise_pct("a") == pytest.approx(0.0)
    assert found.noise_pct("b") == pytest.approx(1.0)
    assert found.measured_ms("c") == pytest.approx(3.0)
    assert found.is_resolved("a", "b")
    assert not timing(a=1.0, b=1.005, c=3.0).is_resolved("a", "b")


def test_the_front_is_of_all() -> None:
    entries = (
        entry("small", "stock", 67.0),
        entry("slow", "stock", 66.0),
        entry("nearly", "stock", 66.9),
        entry("own", "own", None),
        entry("mine", "space", 75.0),
    )
    found = comparison(*entries, small=2.0, slow=4.0, own=1.0, nearly=2.005, mine=5.0)
    assert {one.entry.key: one.front for one in found.networks} == {
        "own": "unknown",
        "small": "on",
        "nearly": "not resolved",
        "slow": "off",
        "mine": "on",
    }
    assert [one.entry.key for one in found.networks] == ["own", "small", "nearly", "slow", "mine"]


@pytest.mark.parametrize(
    ("other_pct", "other_points", "other_ms", "front"),
    [
        (75.3, None, 2.0, "off"),  # better by more than the error, and faster
        (75.2, None, 2.0, "not resolved"),  # perhaps the worse one
        (74.8, None, 2.0, "not resolved"),  # perhaps the better one
        (74.7, None, 2.0, "on"),
        (75.3, 0.25, 2.0, "not resolved"),  # two errors are greater than one
        (75.4, 0.25, 2.0, "off"),
        (74.8, None, 4.002, "not resolved"),  # perhaps faster, perhaps better
        (74.7, None, 4.002, "on"),
        (75.3, None, 9.0, "on"),  # better, and slower for certain
    ],
)
def test_the_front_knows_the_error_of_predicted_top1(
    other_pct: float, other_points: float | None, other_ms: float, front: str
) -> None:
    top1 = Top1(75.0, "predicted", "a table", error_points=0.25)
    one = replace(entry("one", "space", 75.0), top1=top1)
    other = replace(top1, pct=other_pct, error_points=other_points)
    entries = (one, replace(entry("other", "space", other_pct), top1=other), entry("far", "own", 10.0))
    found = comparison(*entries, one=4.0, other=other_ms, far=20.0)
    assert {each.entry.key: each.front for each in found.networks}["one"] == front


def test_what_was_left_out_is_in_the_report_and_the_document() -> None:
    entries = (entry("fast", "stock", 74.0), entry("slow", "stock", 76.0))
    found = compared(entries, timing(fast=1.0, slow=2.0), CONDITIONS, left_out=["Third is left out: no."])
    assert "Third is left out: no." in shown(measured_comparison_report(found))
    (document,) = comparisons_document([found]).comparisons
    assert document.left_out == ("Third is left out: no.",)


def test_a_verdict_is_against_the_best_that_is_as_fast() -> None:
    entries = (
        entry("fast", "stock", 74.0),
        entry("best", "stock", 76.3),
        entry("slower", "stock", 79.0),
        entry("four", "space", 75.0, 4.0),
        entry("five", "space", 76.8, 5.0),
    )
    found = comparison(*entries, fast=3.0, best=5.02, slower=7.0, four=4.0, five=5.0)
    four, five = found.verdicts
    assert four.other is not None
    assert (four.other.entry.key, four.near) == ("fast", None)
    assert four.gain_points == pytest.approx(1.0)
    assert five.other is not None
    assert five.near is not None
    assert (five.other.entry.key, five.near.entry.key) == ("fast", "best")
    assert five.text == (
        "at 5 ms: specialised 76.80 % predicted in 5.00 ms against fast 74.00 % published in 3.00 ms: +2.80"
        " points; best 76.30 % published in 5.02 ms is as fast within the noise: +0.50 points"
    )
    assert found.summary.startswith("Specialising pays at 2 of 2 budgets (+0.50 to +2.80 points of top-1)")


def test_what_the_noise_leaves_open_is_not_decided() -> None:
    entries = (entry("fast", "stock", 74.0), entry("best", "stock", 77.0), entry("five", "space", 76.8, 5.0))
    found = comparison(*entries, fast=3.0, best=5.02, five=5.0)
    assert found.verdicts[0].pays is None
    assert found.summary.startswith("Specialising pays at 0 of 1 budget")
    assert found.summary.endswith("at 1 it cannot be told.")


def test_where_it_does_not_pay_it_is_said() -> None:
    entries = (entry("dense", "stock", 80.0), entry("four", "space", 75.0, 4.0, 5.0))
    found = comparison(*entries, dense=2.0, four=4.0)
    assert len(found.verdicts) == 2
    assert found.summary.startswith("Specialising does not pay here")
    text = " ".join(shown(measured_comparison_report(found)).split())
    assert "-5.00 points" in text
    assert "Specialising does not pay here" in text


def test_nothing_else_may_be_as_fast() -> None:
    entries = (entry("dense", "stock", 80.0), entry("four", "space", 75.0, 4.0))
    found = comparison(*entries, dense=9.0, four=4.0)
    assert found.verdicts[0].text.endswith("everything else of known top-1 takes longer")
    assert found.summary == "Specialising pays at 1 of 1 budget, by predicted top-1."
    (document,) = comparisons_document([found]).comparisons
    assert (document.budgets[0].specialised, document.budgets[0].other) == ("four", None)


def test_a_network_that_is_unresolvedly_faster_is_as_one_that_is_unresolvedly_slower() -> None:
    for best_ms in (4.98, 5.02):
        entries = (entry("best", "stock", 77.0), entry("five", "space", 76.8, 5.0), entry("far", "own", 60.0))
        found = comparison(*entries, best=best_ms, five=5.0, far=9.0)
        (verdict,) = found.verdicts
        assert (verdict.other, verdict.pays) == (None, False)
        assert verdict.near is not None
        assert verdict.near.entry.key == "best"
        fronts = {one.entry.key: one.front for one in found.networks}
        assert fronts == {"best": "on", "five": "not resolved", "far": "off"}


def test_without_a_rival_there_is_no_verdict_and_it_is_said_why() -> None:
    chosen = entry("four", "space", 75.0, 4.0)
    found = comparison(chosen, entry("mine", "own", None), four=4.0, mine=2.0)
    assert found.verdicts == ()
    assert found.summary == "No verdict on specialising: there is no other network of known top-1."
    unknown = comparison(entry("four", "space", None, 4.0), entry("fast", "stock", 70.0), four=4.0, fast=2.0)
    assert "its accuracy table is of other images" in unknown.summary
    rivals = (chosen, entry("fast", "stock", 70.0))
    int8 = compared(rivals, timing(four=4.0, fast=2.0), replace(CONDITIONS, precision="int8"))
    assert int8.verdicts == ()
    assert "every top-1 is of weights in full precision" in int8.summary


def test_a_gain_within_the_error_of_a_prediction_is_not_told() -> None:
    chosen = entry("four", "space", 75.0, 3.9)
    assert chosen.top1 is not None
    chosen = replace(chosen, top1=replace(chosen.top1, error_points=0.25, beyond="beyond the best"))
    for pct, pays in ((74.8, None), (74.7, True), (75.3, False)):
        found = comparison(chosen, entry("fast", "stock", pct), four=4.0, fast=2.0)
        assert found.verdicts[0].pays is pays
    found = comparison(chosen, entry("fast", "stock", 74.8), four=4.0, fast=2.0)
    assert found.verdicts[0].text == (
        "at 3.9 ms: specialised 75.00 % predicted (+-0.25, beyond what was measured) in 4.00 ms, over the"
        " budget by 2.6 %, against fast 74.80 % published in 2.00 ms: +0.20 points; it cannot be told"
    )
    (document,) = comparisons_document([found]).comparisons
    assert (document.budgets[0].over_budget, document.budgets[0].pays) == (True, None)


def test_the_report_says_how_a_top1_is_known() -> None:
    distilled = Entry("d", "Dense", "stock", 224, Top1(80.0, "published", "timm x, file", True))
    beyond = Entry("b", "Beyond", "space", 224, Top1(78.0, "predicted", "table", beyond="beyond the best"))
    own = Entry("o", "mine.onnx", "own", None, None)
    found = comparison(distilled, beyond, own, d=2.0, b=1.0, o=3.0)
    text = " ".join(shown(measured_comparison_report(found)).split())
    assert "published (timm x), distilled" in text
    assert "predicted, beyond what was measured" in text
    assert "not known" in text
