"""The replay of recorded noise: its decisions hold together, and its rows say what they are said to."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict, replace
from math import log
from statistics import median, stdev

import pytest

from benchmarks import decisions
from benchmarks.decisions import Decision, Replay, true_table
from ponas_deploy.engines import search as searching
from ponas_deploy.search.pareto import front
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.store import StoredAccuracy, StoredTable

TABLE = "amd-epyc-2c/onnxruntime-fp32-t1-b1-ponas-224px-1000c"
"""One of the shipped tables."""


@pytest.fixture(scope="module")
def accuracy() -> StoredAccuracy:
    path = decisions.PROFILES / "accuracy" / "ponas.json"
    return StoredAccuracy(path, load_accuracy_table(path))


@pytest.fixture(scope="module")
def stored() -> StoredTable:
    return decisions._stored(TABLE)


def replayed(noise: str, stored: StoredTable, number: int) -> Replay:
    """The machine of a decision's number, as `_decision` draws it."""
    draw, trace = random.Random(f"0 {number}"), decisions._trace(noise, stored.table)
    truth = true_table(stored.table, draw)
    return Replay(trace, truth, draw.uniform(0, trace.timings[-1].end_s))


@pytest.mark.parametrize("noise", ["calm", "shared"])
def test_a_decision_is_of_a_network_that_was_timed(
    noise: str, stored: StoredTable, accuracy: StoredAccuracy
) -> None:
    replay = replayed(noise, stored, 0)
    truth, begin_s = replay.truth, replay.now_s
    ends = front(stored.table, accuracy.table).cost
    budget_ms = (float(ends[0]) + float(ends[-1])) / 2
    table = decisions.with_truth(stored.table, truth)
    found = decisions.decision(replace(stored, table=table), accuracy, budget_ms, replay)
    assert not found.none
    assert found.seconds == replay.now_s - begin_s
    assert found.tries <= found.timings == replay.timings
    built = set(replay.networks.values())
    assert len(built) <= found.tries
    losses = {choices: loss_of(accuracy.table, choices) for choices in built}
    (chosen,) = (one for one in built if losses[one] == pytest.approx(found.loss_pp))
    assert found.used == pytest.approx(truth.predict_ms(chosen) / budget_ms)
    best = front(truth, accuracy.table)
    within = best.loss[best.cost <= budget_ms]
    assert found.regret_pp == pytest.approx(max(0.0, found.loss_pp - float(within.min())), abs=1e-9)
    later = [level * truth.predict_ms(chosen) > budget_ms for level in replay.later_levels()]
    assert found.later_over == pytest.approx(sum(later) / len(later))
    assert found.missed == (sum(later) > len(later) / 2)


def loss_of(accuracy: AccuracyTable, choices: tuple[str, ...]) -> float:
    rows = zip(accuracy.loss.candidates, accuracy.loss.values, choices, strict=True)
    return sum(values[labels.index(choice)] for labels, values, choice in rows)


def test_the_truth_scatters_as_the_certificate_says(stored: StoredTable) -> None:
    assert stored.table.certificate
    networks = stored.table.certificate.networks
    said = stdev(log(one.measured_ms / one.predicted_ms) for one in networks)
    truth = true_table(stored.table, random.Random(3))
    true = stdev(
        log(truth.predict_ms(one.choices) / stored.table.predict_ms(one.choices)) for one in networks
    )
    assert true == pytest.approx(said, rel=0.1)
    assert truth != true_table(stored.table, random.Random(4))


@pytest.mark.parametrize(("noise", "pct"), [("wander 15 %", 15), ("regimes 40 %", 40)])
def test_scaled_noise_is_as_far_apart_as_its_name(stored: StoredTable, noise: str, pct: float) -> None:
    levels = decisions._trace(noise, stored.table).levels
    draw = random.Random(0)
    pairs = [abs(log(draw.choice(levels) / draw.choice(levels))) for _ in range(4000)]
    assert median(levels) == pytest.approx(1.0)
    assert stdev(map(log, levels)) * 1.96 * 2**0.5 == pytest.approx(pct / 100, rel=0.01)
    assert sum(one < 2 * pct / 100 for one in pairs) > 0.95 * len(pairs)


def test_a_row_is_of_medians_and_shares() -> None:
    rows = [
        Decision(1.0, False, 2, 3, 20.0, 5.0, 0.25, 0.9, False, 0.0),
        Decision(1.0, False, 4, 5, 40.0, 6.0, 0.75, 1.2, True, 1.0),
        Decision(1.0, False, 6, 9, 90.0, 6.0, 0.5, 0.8, True, 0.2),
        Decision(1.0, True, 8, 8),
    ]
    assert decisions.summary(rows).split() == [
        *("1", "0.50", "0.75", "2", "of", "3", "40", "%", "90.0", "%", "4", "5", "40")
    ]
    assert decisions.summary(rows[3:]).split() == ["1"]


def test_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = searching.build
    asked = ["decisions.py", "--noise", "shared", "--budgets", "2", "--tables", TABLE]
    monkeypatch.setattr(sys, "argv", asked)
    decisions.main()
    title, header, row, document = capsys.readouterr().out.splitlines()
    assert title.startswith("2 budgets each; traces of ")
    assert header.split()[0] == "noise"
    found = [Decision(**one) for one in json.loads(document)["after"]["shared"]]
    assert row.split() == ["shared", "after", *decisions.summary(found).split()]
    assert found[0].budget_ms < found[1].budget_ms
    assert [asdict(one) for one in found] == json.loads(document)["after"]["shared"]
    assert searching.build is real, "the real search is put back"
