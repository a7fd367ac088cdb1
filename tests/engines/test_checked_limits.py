"""Limits on size and memory: predicted for the search, measured on engines, corrected until they are kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from conftest import tiny_space
from planted_clocks import spread
from planted_search import task
from ponas_deploy.checks.engine import verify
from ponas_deploy.checks.engine_document import verification_document
from ponas_deploy.commands.reports.engine import verification_report
from ponas_deploy.engines.checked import CheckedCost, corrected, predicted_limit
from ponas_deploy.engines.loop import Task, engine_document, meet_budget
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import BudgetError, MeasurementError
from ponas_deploy.files.documents import encoded
from ponas_deploy.machines.process_memory import MemoryTaken
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import BYTES, COSTS, MEMORY, costs_document, network_costs
from ponas_deploy.search.specialize import cells_of, specialize
from rendered import shown
from searchspace import SPACES, Architecture, build_space
from searchspace.activations import most_activations, most_of_space
from searchspace.blocks import mbconv
from searchspace.space import Space

RUNTIME = 30_000_000


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


def test_activations_of_a_block_are_those_of_its_widest_operation() -> None:
    ops = mbconv(16, 24, 2, 3, 6, False)
    expanded, after_stride = 96 * 8 * 8, 96 * 4 * 4
    assert most_activations(ops, (16, 8, 8)) == max(16 * 64 + expanded, expanded + after_stride)
    residual = mbconv(16, 16, 1, 3, 6, False)
    assert most_activations(residual, (16, 8, 8)) == 16 * 64 + 2 * expanded, "its input is held beside"
    assert most_activations((), (3, 8, 8)) == 3 * 64


@pytest.mark.parametrize("name", ["ofa-mbv3", "ponas", "spos-shufflenet"])
def test_the_bound_of_a_space_is_over_what_every_part_holds(name: str) -> None:
    space = build_space(name, 96, 10)
    shapes = space.layer_shapes()
    parts = [
        most_activations(candidate.ops, shape)
        for layer, shape in zip(space.layers, shapes, strict=False)
        for candidate in layer.candidates
    ]
    assert most_of_space(space) >= max(parts) > 0


def test_predicted_memory_is_weights_and_a_bound_of_activations(tiny: Space, tmp_path: Path) -> None:
    table = task(tiny, tmp_path, 1.0).tables[0].table
    cells = cells_of(MEMORY, table, tiny)
    for choices in product(*tiny.labels):
        weights = network_costs(Architecture(tiny, choices))[BYTES.name]
        assert cells.total(choices) == pytest.approx(weights + 4 * most_of_space(tiny))
    assert table.conditions is not None
    half = replace(table, conditions=replace(table.conditions, precision="fp16", batch=8))
    first = tuple(labels[0] for labels in tiny.labels)
    weights = network_costs(Architecture(tiny, first))[BYTES.name]
    assert cells_of(MEMORY, half, tiny).total(first) == pytest.approx(weights / 2 + 32 * most_of_space(tiny))


def test_a_network_alone_has_no_memory_in_its_json(tiny: Space) -> None:
    assert MEMORY in COSTS
    assert "memory_bytes" not in network_costs(Architecture(tiny, tuple(row[0] for row in tiny.labels)))
    assert "memory_bytes" not in costs_document({})


@pytest.mark.parametrize(
    ("seen", "asked"),
    [
        ([], 100.0),
        ([(50.0, 100.0)], 50.0),  # just at the limit
        ([(100.0, 200.0)], 50.0),
        ([(100.0, 25.0)], 400.0),  # an engine of a quarter of the bytes
        ([(100.0, 200.0), (50.0, 120.0)], 37.5),  # 40 + 1.6 times as much
        ([(100.0, 200.0), (50.0, 250.0)], 20.0),  # no line that makes sense
        ([(50.0, 104.0), (50.1, 80.0)], 50.0 / 1.04),
    ],
)
def test_what_is_asked_of_the_search_follows_from_engines(
    seen: list[tuple[float, float]], asked: float
) -> None:
    assert predicted_limit(100.0, seen) == pytest.approx(asked)


def test_only_checked_limits_are_corrected() -> None:
    budget = Budget(latency_ms=3.0, params=5e6, bytes=100.0)
    seen = [(CheckedCost("bytes", 100.0, 200.0, 100.0),)]
    assert corrected(budget, seen) == Budget(latency_ms=3.0, params=5e6, bytes=50.0)
    assert corrected(Budget(latency_ms=3.0), seen) == Budget(latency_ms=3.0)


def clock(offset: float, factor: float) -> object:
    """A clock on which an engine takes so much memory: an offset and a factor of its model's file."""

    def timed(engine: Path, *given: object, **more: object) -> EngineTiming:
        weights = engine.with_name("model.onnx").stat().st_size
        taken = round(offset + factor * weights)
        return replace(spread([1.0])(engine, *given), memory=(MemoryTaken(RUNTIME + taken, RUNTIME),) * 2)

    return timed


def searched(given: Task, folder: Path, monkeypatch: pytest.MonkeyPatch, **budget: float) -> Path:
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", clock(100_000, 3.0))
    monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", clock(100_000, 3.0))
    meet_budget(replace(given, budget=Budget(**budget)), folder)
    return folder


def largest_and_least(tiny: Space) -> tuple[float, float]:
    found = [network_costs(Architecture(tiny, choices))["bytes"] for choices in product(*tiny.labels)]
    return max(found), min(found)


def test_a_search_keeps_a_limit_on_memory_that_its_prediction_does_not(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, least = largest_and_least(tiny)
    limit = round(100_000 + 3 * (most + least) / 2)
    given = task(tiny, tmp_path, 1e9)
    plain = specialize(given.tables[0].table, given.accuracy.table, Budget(memory_bytes=limit), space=tiny)
    assert network_costs(Architecture(tiny, plain.choices))["bytes"] == most, "by the prediction all fit"
    folder = searched(given, tmp_path / "engine", monkeypatch, latency_ms=1e9, memory_bytes=limit)
    found = verify(folder)
    assert found.passed
    (checked,) = found.checked
    assert (checked.name, checked.limit) == ("memory_bytes", limit)
    assert checked.measured <= limit
    manifest = found.manifest
    assert manifest.tries > 1, "the first one was over it"
    assert manifest.checked == ("memory_bytes",)
    better = [
        choices
        for choices in product(*tiny.labels)
        if given.accuracy.table.loss_pp(choices) < given.accuracy.table.loss_pp(manifest.choices) - 1
        and 3 * network_costs(Architecture(tiny, choices))["bytes"] + 100_000 < 0.9 * limit
    ]
    assert not better, "what is emitted makes use of the limit"
    document = encoded(engine_document(manifest, folder))
    assert document["budget"]["memory_bytes"] == limit
    assert document["predicted_memory_bytes"] < document["measured"]["memory"]["engine_bytes"]
    (row,) = encoded(verification_document(found))["checked"]
    assert (row["name"], row["limit"]) == ("memory_bytes", limit)
    assert "memory" in shown(verification_report(found))


def test_an_engine_that_takes_more_memory_now_fails(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = round(100_000 + 3 * largest_and_least(tiny)[0] * 1.1)
    folder = searched(task(tiny, tmp_path, 1e9), tmp_path / "engine", monkeypatch, memory_bytes=limit)
    assert verify(folder).passed
    monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", clock(3 * limit, 3.0))
    found = verify(folder)
    assert not found.passed
    assert not found.cannot_be_told
    assert "FAILED" in shown(verification_report(found))


def test_memory_that_no_engine_keeps_is_refused_with_the_least(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = task(tiny, tmp_path, 1e9)
    least = cells_of(MEMORY, given.tables[0].table, tiny).extremes[0]
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", clock(1e9, 3.0))
    with pytest.raises(
        BudgetError, match=r"no engine met .* MB of memory in \d tr.*: the smallest one"
    ) as error:
        meet_budget(replace(given, budget=Budget(memory_bytes=2 * least)), tmp_path / "engine")
    assert error.value.constraint == "memory_bytes"
    assert error.value.least is not None
    assert error.value.least > 1e9
    with pytest.raises(BudgetError, match=r"no architecture meets .* MB on .*: the smallest one takes"):
        meet_budget(replace(given, budget=Budget(memory_bytes=least / 2)), tmp_path / "engine")


def test_memory_that_cannot_be_measured_cannot_be_limited(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", spread([1.0]))
    given = replace(task(tiny, tmp_path, 1e9), budget=Budget(memory_bytes=1e9))
    with pytest.raises(MeasurementError, match=r"the memory of an engine of fake on .* cannot be measured"):
        meet_budget(given, tmp_path / "engine")


def test_the_limit_on_size_is_on_the_files_of_the_engine(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine of the fake device is its ONNX model, which takes more than its weights."""
    most, least = largest_and_least(tiny)
    limit = round((most + least) / 2)
    folder = searched(task(tiny, tmp_path, 1e9), tmp_path / "engine", monkeypatch, bytes=limit)
    found = verify(folder)
    assert found.passed
    files = sum(path.stat().st_size for path in folder.glob("engine.*"))
    assert found.manifest.engine_bytes == files <= limit
    assert [(one.name, one.measured) for one in found.checked] == [("bytes", files)]
    assert encoded(engine_document(found.manifest, folder))["engine_bytes"] == files
