"""Cost columns: those there are, and that a further one takes one row and nothing else."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from planted_search import tables, task
from ponas_deploy.commands.app import app as ponas_app
from ponas_deploy.commands.limits import with_limits
from ponas_deploy.commands.reports.compare import compare_report
from ponas_deploy.commands.reports.engine import manifest_report
from ponas_deploy.commands.specialize import specialize as specialize_command
from ponas_deploy.engines.loop import emit_portable, engine_document
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.errors import BudgetError, PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.files.documents import encoded
from ponas_deploy.search import costs
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import COSTS, LATENCY, CostColumn, ReportRow, limits_of, network_costs
from ponas_deploy.search.notation import Limit, Notation
from ponas_deploy.search.predictions import predict_networks, predictions_document
from ponas_deploy.search.sides import budget_from
from ponas_deploy.search.specialize import most_useful, specialize
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable
from rendered import shown
from searchspace import SPACES, Architecture, build_space, parse_architecture
from searchspace.space import Space


@dataclass(frozen=True)
class Traffic:
    """Traffic from a table of its own."""

    table: Grid

    def cells(self, latency: LatencyTable, space: Space | None) -> Grid | None:
        return self.table.aligned_to(latency.grid, "the traffic table", "the latency table")

    def network(self, architecture: Architecture) -> float | None:
        return self.table.total(architecture.choices)


@pytest.fixture
def traffic(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> CostColumn:
    """One more row: candidates take 1, 2, ... MB, all networks 0.5 MB besides."""
    cells = [[place + 1.0 for place in range(len(labels))] for labels in tiny.labels]
    column = CostColumn(
        "traffic_mb",
        "MB",
        Traffic(Grid.over(tiny, cells, 0.5)),
        "--traffic",
        "SIZE",
        Notation(
            "a traffic such as 5MB or 60%",
            "MB, GB or %",
            (("MB", 1.0), ("GB", 1e3)),
            "MB",
            percent=True,
            cased=True,
        ),
        "At most so much traffic an inference: 5MB.",
        superlative="lightest",
        on_device=True,
        row=ReportRow("traffic", "MB"),
    )
    monkeypatch.setattr(costs, "COSTS", (*COSTS, column))
    monkeypatch.setitem(SPACES, "tiny", lambda *shape: tiny)
    return column


def traffic_mb(tiny: Space, choices: tuple[str, ...]) -> float:
    return 0.5 + sum(labels.index(label) + 1 for labels, label in zip(tiny.labels, choices, strict=True))


@pytest.mark.usefixtures("traffic")
def test_a_fifth_cost_is_limited_exactly_and_by_the_genetic_algorithm(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1e9)
    latency, accuracy = given.tables[0].table, given.accuracy.table
    for wanted in (Budget(traffic_mb=7.5), Budget(latency_ms=1e9, params=1e9, traffic_mb=7.5)):
        found = specialize(latency, accuracy, wanted, space=tiny)
        best = min(
            accuracy.loss_pp(choices)
            for choices in itertools.product(*tiny.labels)
            if traffic_mb(tiny, choices) <= 7.5
        )
        assert found.predicted_loss_pp == pytest.approx(best)
        assert traffic_mb(tiny, found.choices) <= 7.5
        genetic = specialize(latency, accuracy, wanted, space=tiny, method="ga")
        assert traffic_mb(tiny, genetic.choices) <= 7.5
        assert genetic.gap_pp is not None
    wanted = r"no architecture meets 2 MB on .*: the lightest one takes 3\.5 MB"
    with pytest.raises(BudgetError, match=wanted):
        specialize(latency, accuracy, Budget(traffic_mb=2.0), space=tiny)


@pytest.mark.usefixtures("traffic")
def test_a_fifth_cost_is_in_the_manifest_the_report_and_the_json(tiny: Space, tmp_path: Path) -> None:
    given = replace(task(tiny, tmp_path, 1.0), budget=Budget(traffic_mb=7.5))
    emit_portable(given, tmp_path / "engine")
    manifest = read_manifest(tmp_path / "engine")
    assert dict(manifest.budget) == {"traffic_mb": 7.5}
    document = encoded(engine_document(manifest, tmp_path / "engine"))
    assert document["budget"] == {"traffic_mb": 7.5}
    assert document["traffic_mb"] == traffic_mb(tiny, manifest.choices)
    report = shown(manifest_report(manifest, tmp_path / "engine"))
    assert "at most 7.5 MB" in report
    assert f"traffic {document['traffic_mb']:.1f} MB" in " ".join(report.split())


@pytest.mark.usefixtures("traffic")
def test_a_fifth_cost_has_its_option(tiny: Space, tmp_path: Path) -> None:
    path = tables(tiny, tmp_path).path
    given = task(tiny, tmp_path, 1.0)
    app = typer.Typer()
    app.command()(with_limits(specialize_command.__wrapped__))  # type: ignore[attr-defined]
    common = [
        "--latency-table",
        str(path),
        "--accuracy-table",
        str(given.accuracy.path),
        "--json",
        "--traffic",
    ]
    done = CliRunner().invoke(app, [*common, "7.5MB"])
    found = json.loads(done.stdout)
    assert found["budget"] == {"traffic_mb": 7.5}
    assert traffic_mb(tiny, tuple(found["choices"])) <= 7.5
    share = json.loads(CliRunner().invoke(app, [*common, "60%"]).stdout)
    assert share["budget"] == {"traffic_mb": 0.6 * 12.5}
    refused = CliRunner().invoke(app, [*common, "7"])
    assert refused.exit_code == 2


@pytest.mark.usefixtures("traffic")
def test_a_fifth_cost_is_compared(tiny: Space, tmp_path: Path) -> None:
    stored = tables(tiny, tmp_path)
    choices = tuple(labels[0] for labels in tiny.labels)
    networks = predict_networks([("first", choices)], [stored.table])
    (row,) = encoded(predictions_document(networks, ["table"]))["networks"]
    assert (row["traffic_mb"], row["params"] > 0) == (3.5, True)
    report = shown(compare_report(networks, ["table"]))
    assert "traffic" in report
    assert "3.5 MB" in report


def test_limits_are_numbers_or_texts_by_column_or_option() -> None:
    read = limits_of({"params": 5e6, "latency": "850us", "bytes": Limit(9)}, {"flops": "330M"}, None)
    expected = {
        "params": Limit(5e6),
        "latency_ms": Limit(0.85, "ms"),
        "bytes": Limit(9),
        "macs": Limit(330_000_000),
    }
    assert read == expected
    with pytest.raises(UnknownNameError, match="unknown cost 'watts'"):
        limits_of({"watts": 3.0})
    with pytest.raises(PonasError, match="has no unit"):
        limits_of({"latency_ms": "20"})
    with pytest.raises(PonasError, match="macs is limited twice"):
        limits_of({"macs": 3e6}, {"flops": "5M"})


def test_frames_per_second_are_a_latency_at_the_batch_of_the_tables(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1.0)
    table, accuracy = given.tables[0].table, given.accuracy.table
    assert table.conditions is not None
    assert budget_from(limits_of({"fps": 50}), [table], accuracy) == Budget(latency_ms=20.0)
    eight = replace(table, conditions=replace(table.conditions, batch=8))
    assert budget_from(limits_of({"fps": "400"}), [eight], accuracy) == Budget(latency_ms=20.0)
    assert (
        budget_from(limits_of({"fps": "50 fps"}), [replace(table, conditions=None)], accuracy)["latency_ms"]
        == 20
    )
    overlapping = replace(table, conditions=replace(table.conditions, streams=2))
    with pytest.raises(TableMismatchError, match="runs that overlap on 2 streams, of which no frames"):
        budget_from(limits_of({"fps": 50}), [overlapping], accuracy)
    assert budget_from(limits_of({"latency_ms": 20}), [overlapping], accuracy) == Budget(latency_ms=20.0)
    assert Limit(50, "fps").text == "50 fps"
    with pytest.raises(PonasError, match="latency_ms is limited twice"):
        limits_of({"fps": 50, "latency": "20ms"})
    with pytest.raises(PonasError, match="unknown unit '%'"):
        limits_of({"fps": "60%"})
    for wrong in (0, -5.0, float("nan")):
        with pytest.raises(PonasError, match="above zero"):
            limits_of({"fps": wrong})


def test_frames_per_second_have_their_option(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1.0)
    common = ["specialize", "--latency-table", str(tables(tiny, tmp_path).path), "--accuracy-table"]
    done = CliRunner().invoke(ponas_app, [*common, str(given.accuracy.path), "--json", "--fps", "50"])
    assert json.loads(done.stdout)["budget"] == {"latency_ms": 20.0}
    both = CliRunner().invoke(ponas_app, [*common, "x", "--fps", "50", "--latency", "20ms"])
    assert (both.exit_code, "limited twice" in both.output) == (2, True)


def test_a_percentage_is_of_what_the_best_network_costs(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1.0)
    latency, accuracy = given.tables[0].table, given.accuracy.table
    most_ms = most_useful(LATENCY, latency, accuracy)
    share = budget_from(limits_of({"latency_ms": "75%", "params": 5}), [latency], accuracy)
    assert share == Budget(latency_ms=0.75 * most_ms, params=5)
    with pytest.raises(BudgetError, match="no architecture meets 50 % of the most that helps"):
        budget_from(limits_of({"latency_ms": "50%"}), [latency], accuracy)


def test_a_budget_is_a_mapping_in_the_order_of_the_columns() -> None:
    budget = Budget(params=5e6, latency_ms=3.0, macs=None)
    assert dict(budget) == {"latency_ms": 3.0, "params": 5e6}
    assert (list(budget), len(budget), budget["params"], budget.latency_ms) == (
        ["latency_ms", "params"],
        2,
        5e6,
        3.0,
    )
    assert budget == Budget(latency_ms=3.0, params=5e6)
    assert hash(budget) == hash(Budget(latency_ms=3.0, params=5e6))
    assert budget.with_limits(latency_ms=4.0) == Budget(latency_ms=4.0, params=5e6)
    assert budget.with_limits(latency_ms=None) == Budget(params=5e6)
    assert budget.texts == ("3 ms", "5 M parameters")
    assert Budget().latency_ms is None
    with pytest.raises(UnknownNameError, match="unknown cost 'watts'"):
        Budget(watts=3.0)
    with pytest.raises(PonasError, match="latency_ms is nan"):
        Budget(latency_ms=float("nan"))


def test_the_counted_costs_of_a_network() -> None:
    found = network_costs(parse_architecture("PONAS-A", build_space("ponas")))
    assert found == {"macs": 328_907_360, "params": 5_104_022, "bytes": found["bytes"]}
    assert 4 * 5_000_000 < found["bytes"] < 4 * 5_104_022


def test_the_options_of_the_command_line_load_nothing_heavy() -> None:
    """The rows are read when the commands are named, so that `ponas --help` must not wait for NumPy."""
    heavy = "[name for name in ('numpy', 'ponas_deploy.tables') if name in sys.modules]"
    code = f"import sys, ponas_deploy.commands; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
