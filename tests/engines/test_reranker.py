"""A shortlist against planted truth: networks whose worth is known, tables that are wrong about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from conftest import tiny_space
from planted_search import accuracy, device_ms, middle_ms, tables
from ponas_deploy.commands.reports.engine import deployment_report, manifest_report
from ponas_deploy.engines import timing
from ponas_deploy.engines.loop import (
    Attempt,
    Task,
    WeightsSource,
    emit_portable,
    engine_document,
    meet_budget,
    random_source,
)
from ponas_deploy.engines.manifest import MANIFEST
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.reranker import Reranker
from ponas_deploy.errors import PonasError
from ponas_deploy.files.documents import encoded
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.specialize import Specialization
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid
from rendered import shown
from searchspace import SPACES, Architecture, build_space
from searchspace.space import Space
from searchspace.weights import random_weights

Choices = tuple[str, ...]
EVERY = list(product(*tiny_space().labels))


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    monkeypatch.setattr(timing, "PROCESSES", 2)


class Truth:
    """What every network is truly worth: the table's word and a random share of its own."""

    def __init__(self, seed: int, loss: Grid, surprise_pp: float = 4.0) -> None:
        random = np.random.default_rng(seed)
        self.loss_pp = {choices: added(loss, choices) for choices in EVERY}
        self.top1_pct = {
            choices: 90 - loss_pp + surprise_pp * random.normal() for choices, loss_pp in self.loss_pp.items()
        }
        self.asked: list[Choices] = []

    def validate(self, networks: Sequence[Architecture]) -> list[float]:
        self.asked += [network.choices for network in networks]
        return [self.top1_pct[network.choices] for network in networks]

    def source(self) -> WeightsSource:
        return WeightsSource("planted", random_weights, validate=self.validate)


def added(grid: Grid, choices: Choices) -> float:
    places = zip(grid.indices(choices), grid.arrays(), strict=True)
    return grid.fixed + float(sum(values[place] for place, values in places))


def task(space: Space, folder: Path, optimism: float = 1.0) -> Task:
    stored = tables(space, folder, optimism)
    budget = Budget(latency_ms=1.05 * middle_ms(space))
    return Task((stored,), accuracy(space, folder), budget, space, random_source())


def listed(given: Task, truth: Truth, count: int) -> Task:
    return replace(given, weights=truth.source(), shortlist=count)


def test_it_is_the_best_of_the_k_best_and_never_worse_than_the_tables_own(
    tiny: Space, tmp_path: Path
) -> None:
    """Against all 64 networks, sorted by hand."""
    given = task(tiny, tmp_path)
    latency, loss = given.tables[0].table.grid, given.accuracy.table.loss
    fits = [choices for choices in EVERY if added(latency, choices) <= (given.budget.latency_ms or 0)]
    own = emit_portable(given, tmp_path / "own").choices
    gained = 0
    for seed in range(6):
        truth = Truth(seed, loss)
        by_table = sorted(fits, key=lambda c: (truth.loss_pp[c], added(latency, c)))
        assert truth.loss_pp[own] == pytest.approx(truth.loss_pp[by_table[0]])
        for count in (1, 3, 10):
            truth.asked.clear()
            found = emit_portable(listed(given, truth, count), tmp_path / f"{seed}-{count}")
            best = max(truth.top1_pct[choices] for choices in truth.asked)
            assert truth.top1_pct[found.choices] == best >= truth.top1_pct[own]
            losses = sorted(truth.loss_pp[choices] for choices in truth.asked)
            assert losses == pytest.approx([truth.loss_pp[choices] for choices in by_table[:count]])
            gained += best > truth.top1_pct[own]
    assert gained > 6


def test_what_was_evaluated_is_in_the_manifest_and_in_the_report(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path)
    truth = Truth(2, given.accuracy.table.loss)
    manifest = emit_portable(listed(given, truth, 5), tmp_path / "engine")
    assert read_manifest(tmp_path / "engine") == manifest
    assert [entry.choices for entry in manifest.shortlist if entry.chosen] == [manifest.choices]
    values = [entry.validation_top1_pct for entry in manifest.shortlist]
    assert values == sorted(values, reverse=True) == [truth.top1_pct[e.choices] for e in manifest.shortlist]
    printed = encoded(engine_document(manifest, tmp_path / "engine"))["shortlist"]
    assert printed[0]["chosen"] is True
    assert printed[0]["validation_top1_pct"] == max(values)
    best_by_table = min(entry.predicted_loss_pp for entry in manifest.shortlist)
    predicted = dict(manifest.predicted)
    assert predicted["gap_pp"] == pytest.approx(predicted["predicted_loss_pp"] - best_by_table)
    assert predicted["optimal"] == (predicted["gap_pp"] == 0)
    text = shown(manifest_report(manifest, tmp_path / "engine"))
    assert "Shortlist: evaluated on validation images" in text
    assert sum(line.rstrip().endswith("  chosen") for line in text.splitlines()) == 1


def apart(one: Choices, other: Choices) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def test_near_relatives_do_not_fill_the_list(tmp_path: Path) -> None:
    """In a space of 19 layers, against a greedy choice by hand; and what is known already counts."""
    ponas, random = build_space("ponas", 32, 10), np.random.default_rng(4)
    best = tuple(labels[0] for labels in ponas.labels)
    networks = [best]
    while len(networks) < 200:
        changed = list(best)
        for layer in random.choice(19, size=random.integers(1, 4), replace=False):
            changed[layer] = str(random.choice(ponas.labels[layer][1:]))
        networks.append(tuple(changed))
    stored = tables(tiny_space(), tmp_path)
    attempts = [
        Attempt(
            1,
            stored,
            Specialization("exact", True, Budget(latency_ms=1.0), choices, 0.5, 0.01 * place, 0.0),
            0.5,
        )
        for place, choices in enumerate(dict.fromkeys(networks))
    ]
    expected = list[Choices]()
    for attempt in attempts:
        new = attempt.choice.choices
        if len(expected) < 6 and all(apart(new, old) >= 3 for old in expected):
            expected.append(new)
    assert len(expected) == 6
    asked = list[Choices]()

    def validate(networks: Sequence[Architecture]) -> list[float]:
        asked.extend(network.choices for network in networks)
        return [50.0] * len(networks)

    reranker = Reranker(6, ponas, validate)
    assert {a.choice.choices for a in reranker.rerank(attempts)} == set(expected) == set(asked)
    assert {a.choice.choices for a in reranker.rerank(attempts[1:])} >= set(expected[1:])
    assert len(asked) == 7, "one place was free, and one network took it"
    assert len(reranker.rerank(attempts[:3])) == 3, "relatives are better than nothing"


def test_of_candidates_that_lose_the_same_the_fastest_will_do(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path)
    stored = given.accuracy.table.top1
    assert stored is not None
    twins = replace(stored, values=tuple((row[0], row[0], row[2], row[2]) for row in stored.values))
    table = AccuracyTable.from_top1(twins, space=given.accuracy.table.space, created="2026-01-01")
    given = replace(given, accuracy=replace(given.accuracy, table=table))
    prices = given.tables[0].table.grid.values
    assert all(row[0] < row[1] < row[3] for row in prices)
    truth = Truth(5, table.loss)
    emit_portable(listed(given, truth, 8), tmp_path / "engine")
    faster = [
        (labels[0], labels[min((2, 3), key=row.__getitem__)])
        for labels, row in zip(tiny.labels, prices, strict=True)
    ]
    assert set(truth.asked) <= set(product(*faster))
    assert len(truth.asked) > 2


def test_an_older_manifest_has_no_shortlist(tiny: Space, tmp_path: Path) -> None:
    emit_portable(task(tiny, tmp_path), tmp_path / "engine")
    path = tmp_path / "engine" / MANIFEST
    assert '"shortlist": []' in path.read_text()
    path.write_text(path.read_text().replace('"shortlist": [],\n', ""))
    assert '"shortlist"' not in path.read_text()
    assert read_manifest(tmp_path / "engine").shortlist == ()


def test_the_best_that_is_measured_to_meet_the_budget_is_kept(tiny: Space, tmp_path: Path) -> None:
    """The table is 10 % too fast, so that the clock refuses some of what it lists."""
    given = task(tiny, tmp_path, optimism=1.1)
    limit = given.budget.latency_ms or 0.0
    truth = Truth(1, given.accuracy.table.loss)
    done = meet_budget(listed(given, truth, 6), tmp_path / "engine", timeout_s=1e3, tries=30)
    assert done.chosen.measured_ms <= limit
    meeting = [choices for choices in truth.asked if device_ms(tiny, choices) <= 0.99 * limit]
    assert truth.top1_pct[done.manifest.choices] >= max(truth.top1_pct[choices] for choices in meeting)
    assert len(set(truth.asked)) == len(truth.asked), "a network was evaluated twice"
    assert {entry.choices for entry in done.manifest.shortlist} == set(truth.asked)
    assert done.chosen.validation_top1_pct == truth.top1_pct[done.manifest.choices]
    assert "Shortlist: evaluated on validation images" in shown(deployment_report(done))


def test_of_two_tables_each_network_is_evaluated_once(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path)
    roomy = Budget(latency_ms=2 * (given.budget.latency_ms or 0.0))  # for every network in either precision
    both = replace(given, budget=roomy, tables=(tables(tiny, tmp_path, precision="bf16"), *given.tables))
    truth = Truth(3, given.accuracy.table.loss)
    manifest = emit_portable(listed(both, truth, 8), tmp_path / "engine")
    assert len(set(truth.asked)) == len(truth.asked) == 8
    assert manifest.conditions.precision == "bf16"  # the faster one of the two


def test_what_cannot_be_listed_is_refused_before_anything_is_built(tiny: Space, tmp_path: Path) -> None:
    given = replace(task(tiny, tmp_path), shortlist=3)
    for act in (meet_budget, emit_portable):
        with pytest.raises(PonasError, match=r"these are random \(seed 0\), not trained: name a supernet's"):
            act(given, tmp_path / "engine")
        with pytest.raises(PonasError, match="'ga' finds one network: leave out --method ga"):
            act(replace(given, method="ga"), tmp_path / "engine")
    assert not (tmp_path / "engine").exists()
