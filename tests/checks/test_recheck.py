"""Measuring a part of a table again: what moved, what would be chosen, and what is reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from conftest import tiny_space
from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.backends.fake import FakeBackend, FakeDevice
from ponas_deploy.checks.latency_changes import Recheck, compare
from ponas_deploy.checks.latency_table import BUDGETS, NETWORKS, plan_recheck, recheck, recheck_document
from ponas_deploy.commands import app
from ponas_deploy.commands.reports.recheck import recheck_report
from ponas_deploy.errors import MeasurementError, TableMismatchError
from ponas_deploy.files.documents import encoded
from ponas_deploy.files.home import home
from ponas_deploy.files.lock import machine_to_oneself
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.profile import profile
from ponas_deploy.search.frontier import best_within
from ponas_deploy.search.pareto import front
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.store import StoredTable
from registered import use_factory
from rendered import shown
from searchspace import SPACES, Architecture
from searchspace.space import HEAD, STEM, Space

QUICK = Plan(max_rounds=10, pause_s=0.0, retakes=0, redone_pct=0)


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


@pytest.fixture
def made(tiny: Space) -> StoredTable:
    """This machine's table of the fake device, in the store."""
    table = profile(tiny, FakeBackend(FakeDevice(run_ns=0.0)), plan=QUICK)
    assert table.conditions is not None
    path = store.latency_path(table.conditions, SpaceKey.of(tiny))
    write_latency_table(table, path)
    return StoredTable(path, table)


def losses(space: Space) -> AccuracyTable:
    """The larger the block, the better; no two networks are equally good."""
    values = tuple(
        tuple(60.0 + 5 * place + layer / 10 for place in range(len(row.labels)))
        for layer, row in enumerate(space.layers)
    )
    grid = Grid(tuple(layer.name for layer in space.layers), space.labels, values)
    return AccuracyTable.from_top1(grid, space=SpaceKey.of(space), created="2026-01-01")


def again(table: LatencyTable, factors: Mapping[str, float], *networks: float, noise: float = 0.0) -> Recheck:
    """Compare made-up rounds: cells times their factor ("" for all), predictions times `networks` in turn."""
    space = tiny_space()
    plan = plan_recheck(table, losses(space))

    def rounds(ns: float) -> Measurement:
        return Measurement(1, tuple(ns * (1 + noise * (number % 2)) for number in range(12)))

    now = {}
    for key, measurement in table.measurements:
        now[key] = rounds(factors.get(key, factors.get("", 1.0)) * measurement.rounds_ns[0])
    for choices, factor in zip(plan.networks, cycle(networks or (1.0,)), strict=False):
        now[",".join(choices)] = rounds(1e6 * factor * table.predict_ms(choices))
    return compare("t", table, losses(space), plan, now)


def test_the_cells_of_the_front_are_selected_and_networks_spread_over_it(made: StoredTable) -> None:
    table, loss = made.table, losses(tiny_space())
    plan, found = plan_recheck(table, loss), front(made.table, losses(tiny_space()))
    assert {STEM, HEAD}.isdisjoint(plan.keys)
    on_front = {
        table.cell_keys[layer][index] for row in found.choices.tolist() for layer, index in enumerate(row)
    }
    assert set(plan.keys) == on_front
    assert len(plan.budgets_ms) == BUDGETS
    best = [table.grid.labels(found.choices[best_within(found, b) or 0].tolist()) for b in plan.budgets_ms]
    assert len(plan.networks) == len(set(plan.networks)) == min(NETWORKS, len(set(best)))
    assert set(plan.networks) <= set(best)


def test_a_table_of_the_same_machine_holds(made: StoredTable, tiny: Space) -> None:
    found = again(made.table, {})
    assert (found.verdict, found.moved, found.changed, found.reordered) == ("holds", (), 0, 0)
    assert found.error_pct == pytest.approx(0, abs=1e-6)
    assert found.text.startswith("t holds: networks of the front are predicted to 0.0 % on average")
    assert (found.finding.severity, found.finding.about) == ("ok", "t")


def test_a_machine_that_is_slower_as_a_whole_is_no_other_order(made: StoredTable) -> None:
    found = again(made.table, {"": 1.1}, 1.1)
    assert found.verdict == "shifted"
    assert found.common_pct == pytest.approx(10)
    assert len(found.moved) == len(found.cells)
    assert not any(cell.own for cell in found.cells)
    assert found.rest_pct == pytest.approx(0, abs=1e-6)
    assert found.changed > 0
    assert found.reordered == 0
    assert "is off by one factor" in found.text


def test_a_cell_that_moved_by_itself_is_named_and_changes_what_is_chosen(made: StoredTable) -> None:
    """The best block of layers 2 and 3 now takes three times as long."""
    table = made.table
    key = table.cell_keys[1][3]
    found = again(table, {key: 3.0}, 1.3)
    (cell,) = found.moved
    assert (cell.key, cell.layers, cell.candidate, cell.own) == (key, ("2", "3"), "k5e6se", True)
    assert cell.change_pct == pytest.approx(200)
    assert (found.common_pct, found.changed) == (pytest.approx(0), found.reordered)
    assert found.changed > 0
    for choice in found.choices:
        uses = sum(label == "k5e6se" for label in choice.before[1:])
        slower = table.predict_ms(choice.before) + 2 * uses * table.grid.values[1][3]
        assert choice.takes_ms == pytest.approx(slower)
        assert choice.changed == (slower > choice.budget_ms)
    report = shown(recheck_report(found))
    assert "otherwise than the rest" in report
    assert "another: this one is over" in report


def test_networks_that_disagree_with_each_other_end_a_table(made: StoredTable) -> None:
    """Cells are what they were, and networks are not: every second one takes half as long again."""
    found = again(made.table, {}, 1.0, 1.5)
    assert (found.verdict, found.moved) == ("moved", ())
    assert found.text.startswith("t no longer holds")
    assert found.text.endswith("Profile again.")
    assert (found.finding.severity, found.finding.advice) == ("error", "Profile again.")


def test_a_machine_too_noisy_to_say_is_said_so(made: StoredTable) -> None:
    found = again(made.table, {}, noise=0.2)
    assert found.noise_pct > 5
    assert found.verdict == "unknown"
    assert "cannot be checked now: measuring the same networks twice differs by" in found.text


def test_budgets_that_nothing_meets_any_more_are_said_so(made: StoredTable) -> None:
    found = again(made.table, {"": 3.0}, 3.0)
    assert [choice.after for choice in found.choices] == [()] * BUDGETS
    assert all(choice.loss_after_pp is None for choice in found.choices)
    assert "nothing fits" in shown(recheck_report(found))
    assert json.loads(json.dumps(encoded(recheck_document(found))))["changed_choices"] == BUDGETS


def test_the_real_protocol_on_an_unchanged_device_and_on_a_slower_one(
    made: StoredTable, tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = FakeDevice(run_ns=0.0)
    use_factory(monkeypatch, "fake", f"{__name__}:_device")
    monkeypatch.setattr("test_recheck._device", lambda: FakeBackend(device), raising=False)
    write_accuracy_table(losses(tiny), home() / "accuracy" / "tiny.json")
    found = recheck(made, seconds=3.0)
    assert (found.verdict, found.moved, found.changed) == ("holds", (), 0)
    for network in found.networks:
        with get_backend("fake").load(
            network_bytes(Architecture(tiny, network.choices), 1), RunSettings()
        ) as s:
            assert network.measured_ms == pytest.approx(s.time_ns(1000) / 1e9, rel=1e-3)
    assert found.interference is not None
    assert found.interference.kept_rounds > 0
    device = FakeDevice(run_ns=0.0, node_ns=2_600.0, mac_ns=0.026)
    slower = recheck(made, losses(tiny), seconds=3.0)
    assert slower.verdict == "shifted"
    assert slower.common_pct == pytest.approx(30, abs=0.1)


def test_what_cannot_be_rechecked_is_refused(made: StoredTable, tiny: Space) -> None:
    bare = replace(made.table, measurements=())
    with pytest.raises(TableMismatchError, match="holds no raw rounds of cells"):
        recheck(replace(made, table=bare), losses(tiny))
    nowhere = replace(made.table, space=SpaceKey("tiny", "0" * 16, 32, 10))
    with pytest.raises(TableMismatchError, match="is of no space that is known here"):
        recheck(replace(made, table=nowhere), losses(tiny))
    with (
        machine_to_oneself(store.lock_path(), "a test"),
        pytest.raises(MeasurementError, match="is being measured already"),
    ):
        recheck(made, losses(tiny))


# The command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["table", "recheck", *arguments])


def test_the_command_rechecks_a_table_on_a_real_runtime(tiny: Space, tmp_path: Path) -> None:
    """Whether it holds is the machine's matter; that it is measured, compared and reported is tested."""
    table = profile(tiny, "onnxruntime", plan=QUICK, time_budget_s=5.0)
    assert table.conditions is not None
    path = store.latency_path(table.conditions, SpaceKey.of(tiny))
    write_latency_table(table, path)
    write_accuracy_table(losses(tiny), home() / "accuracy" / "tiny.json")
    given = ("--space", "tiny", "--resolution", "32", "--classes", "10", "--time", "3")
    done = run(*given, "--json")
    document = json.loads(done.stdout)
    (one,) = document["tables"]
    assert one["table"] == StoredTable(path, table).name
    assert document["holds"] == one["holds"] == (done.exit_code == 0)
    assert one["verdict"] in ("holds", "shifted", "moved", "unknown")
    assert (len(one["choices"]), one["differences"]) == (BUDGETS, [])
    assert {"error_pct", "noise_pct", "common_pct", "moved", "changed_choices"} <= one.keys()
    assert "measuring a part of" in done.stderr
    report = run(str(path), "--time", "3s").stdout
    assert "Networks of the front" in report
    assert "Choices:" in report


def test_the_command_says_what_it_cannot_do(made: StoredTable, tiny: Space) -> None:
    write_accuracy_table(losses(tiny), home() / "accuracy" / "tiny.json")
    for arguments, words in (
        (
            ("--device", "jetson"),
            "`ponas devices add jetson --host user@address` adds it",
        ),
        (("--batch", "3"), f"no table of yours is of this machine ({this_machine().name}) and space"),
        (("nothing",), "unknown table 'nothing'"),
    ):
        refused = run(*arguments)
        assert refused.exit_code == 1
        assert words in refused.stderr
        assert refused.stdout == ""
