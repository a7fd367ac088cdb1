"""Tables that do not deserve trust, wherever they are used: what their certificate or fit said is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from planted_networks import Plant, additive, write
from ponas_deploy.commands import app

Run = Callable[..., Result]
TABLES = ("--latency-table", "l.json", "--accuracy-table", "a.json")
WORTHLESS = "it may be zero, so a choice by this table may be no better than chance"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A sound latency table, fitted without repeats, and losses that were fitted to numbers from a hat."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    plant = Plant.of(8, 4, 0)
    drawn = plant.draw(200)
    write(Path("latency.csv"), plant.networks(drawn, plant.noisy(additive(plant, drawn))))
    write(Path("top1.csv"), plant.networks(drawn, plant.rng.uniform(60, 70, 200), "accuracy"))
    write(Path("noise.csv"), plant.networks(drawn, plant.rng.uniform(5, 10, 200)))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    for file, out in (("latency.csv", "l.json"), ("top1.csv", "a.json"), ("noise.csv", "noise.json")):
        assert invoke("table", "fit", file, "--out", out).exit_code == 0
    return invoke


def words(result: Result) -> str:
    """What a command printed, whatever the width of its lines."""
    return " ".join(result.stdout.split())


def test_losses_that_rank_nothing_are_said_to_be_so_wherever_they_are_used(run: Run) -> None:
    checked = run("table", "check", "a.json")
    assert checked.exit_code == 1
    assert "rank correlation" in words(checked)
    assert "it may be zero" in words(checked)
    assert "it may be zero" in words(run("table", "show", "a.json"))
    assert json.loads(run("table", "show", "a.json", "--json").stdout)["findings"][0]["severity"] == "error"
    for command in (("pareto",), ("compare", ",".join(["op0"] * 8))):
        report = run(*command, *TABLES)
        assert report.exit_code == 0, report.output
        assert WORTHLESS in " ".join(report.stdout.split("\n\n")[0].split())
        warning = json.loads(run(*command, *TABLES, "--json").stdout)["warnings"][0]
        assert WORTHLESS in warning


def test_a_gap_of_zero_does_not_stand_alone(run: Run) -> None:
    report = run("specialize", *TABLES, "--latency", "14ms")
    assert report.exit_code == 0, report.output
    lines = report.stdout.splitlines()
    assert lines[0].startswith("Not to be relied on: the accuracy table: rank correlation")
    (gap,) = [line for line in lines if "gap to the optimum" in line]
    assert "0 pp (exact), by tables that are warned of above" in gap
    found = json.loads(run("specialize", *TABLES, "--latency", "14ms", "--json").stdout)
    assert any(WORTHLESS in warning for warning in found["warnings"])


def test_a_fitted_latency_table_leaves_a_margin(run: Run) -> None:
    found = json.loads(
        run("specialize", *TABLES, "--latency", "14ms", "--confidence", "0.95", "--json").stdout
    )
    assert 1.01 < found["margin"] < 1.05
    assert not any("no margin can be taken" in warning for warning in found["warnings"])


def test_latencies_from_a_hat_are_refused_for_a_promise(run: Run) -> None:
    tables = ("--latency-table", "noise.json", "--accuracy-table", "a.json")
    refused = run("specialize", *tables, "--latency", "14ms", "--confidence", "0.95")
    assert refused.exit_code == 1
    assert "No engine is promised by such a table" in " ".join(refused.output.split())
    assert run("table", "check", "noise.json").exit_code == 1


def test_a_choice_beyond_the_rows_of_a_fit_is_warned_of(run: Run) -> None:
    within = json.loads(run("specialize", *TABLES, "--latency", "14ms", "--json").stdout)
    assert not any("than all networks that it was fitted to" in warning for warning in within["warnings"])
    fastest = run("specialize", *TABLES, "--latency", "1us").output
    least_ms = fastest.split("Ask for ")[1].split(" ms")[0]
    found = json.loads(run("specialize", *TABLES, "--latency", f"{least_ms}ms", "--json").stdout)
    assert any("is faster than all networks that it was fitted to" in text for text in found["warnings"])
