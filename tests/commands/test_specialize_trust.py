"""What `ponas specialize` says of margins and findings, on files, in its document and on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ponas_deploy.backends import get_backend
from ponas_deploy.boards.book import Board, Entry, add_board
from ponas_deploy.commands import app
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.search.specialize import slowest_useful_ms
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.latency import Certificate, Conditions, LatencyTable, NetworkLatency
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measurement import Measurement
from sample_tables import SPACE, accuracy_table, latency_table, write_csv

Run = Callable[..., Result]


def certified(factor: float, **figures: float) -> LatencyTable:
    """Every one of 40 check networks measured `factor` times its prediction."""
    rounds = Measurement(3, (2e6 * factor, 2e6 * factor))
    networks = (NetworkLatency(SPACE.labels[0], 2.0, 2.0, 2.0 * factor, rounds),) * 40
    good = {"mean_error_pct": 1.0, "worst_error_pct": 2.0, "kendall_tau": 0.99, "noise_floor_pct": 0.0}
    certificate = Certificate(
        isolated_mean_error_pct=9.0, noise_tau=0.99, networks=networks, **{**good, **figures}
    )
    return replace(latency_table(), certificate=certificate)


BUDGET_MS = 0.7 * slowest_useful_ms(latency_table(), accuracy_table())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    write_latency_table(certified(1.05), Path("good.json"))
    write_latency_table(certified(1.05, kendall_tau=0.3), Path("bad.json"))
    write_accuracy_table(accuracy_table(), Path("accuracy.json"))
    write_csv(Path("latency.csv"), latency_table().grid, "latency_ms")

    def choose(table: str, *arguments: str) -> Result:
        given = ("--latency-table", table, "--accuracy-table", "accuracy.json")
        return CliRunner().invoke(app, ["specialize", *given, "--latency", f"{BUDGET_MS}ms", *arguments])

    return choose


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_whole_budget_is_used_unless_a_confidence_is_asked_for(run: Run) -> None:
    plain, csv = document(run("good.json", "--json")), document(run("latency.csv", "--json"))
    assert plain["choices"] == csv["choices"]
    assert (plain["margin"], plain["confidence"], plain["warnings"]) == (None, None, [])
    assert plain["predicted_ms"] <= BUDGET_MS < 1.01 * plain["predicted_ms"]
    careful = document(run("good.json", "--json", "--confidence", "0.9"))
    assert (careful["margin"], careful["confidence"]) == (pytest.approx(1.05), 0.9)
    assert 1.05 * careful["predicted_ms"] <= BUDGET_MS < 1.06 * careful["predicted_ms"]
    assert careful["budget"] == plain["budget"] == {"latency_ms": pytest.approx(BUDGET_MS)}
    assert careful["predicted_loss_pp"] > plain["predicted_loss_pp"]
    report = run("good.json", "--confidence", "0.9").stdout
    assert "+5.0 % for 90 % of networks, from 40 check networks" in report


def test_a_table_without_a_certificate_is_used_whole_and_said_so(run: Run) -> None:
    result = run("latency.csv", "--json", "--confidence", "0.9")
    found = document(result)
    assert (found["margin"], found["choices"]) == (None, document(run("latency.csv", "--json"))["choices"])
    assert found["warnings"] == [
        "latency.csv: certificate: is absent: nobody checked how well these sums predict a whole network."
        " `ponas profile` makes a table with one.",
        "latency.csv: no check networks, so no margin can be taken: chosen with the whole budget.",
    ]
    assert all(warning in result.stderr for warning in found["warnings"])


def test_a_hopeless_table_is_refused_where_its_prediction_is_the_promise(run: Run) -> None:
    result = run("bad.json", "--json")
    (warning,) = document(result)["warnings"]
    assert warning.startswith("bad.json: certificate: rank correlation 0.30")
    assert warning in result.stderr
    refused = run("bad.json", "--json", "--confidence", "0.9")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "No engine is promised by such a table" in refused.stderr


def test_a_table_of_this_machine_as_it_was_is_refused_where_it_would_promise(run: Run) -> None:
    conditions = Conditions(this_machine().name, "onnxruntime", "fp32", 1, 1)
    runtime = dict(get_backend("onnxruntime").environment())["runtime"]
    here = {**dict(this_machine().environment()), "runtime": runtime}
    for name, made in (("now", here), ("then", {**here, "runtime": "onnxruntime 0.1"})):
        table = replace(certified(1.05), conditions=conditions, environment=tuple(made.items()))
        write_latency_table(table, Path(f"{name}.json"))
    assert run("now.json", "--confidence", "0.9").exit_code == 0
    assert run("then.json").exit_code == 0, "nothing is promised"
    refused = run("then.json", "--json", "--confidence", "0.9")
    assert (refused.exit_code, refused.stdout) == (1, "")
    words = f"was made with onnxruntime 0.1, here is {runtime}. No engine is promised by such a table"
    assert words in " ".join(refused.stderr.split())


def test_a_table_of_a_board_as_it_was_is_refused_where_it_would_promise(run: Run, board: Entry) -> None:
    runtime = dict(get_backend("onnxruntime").environment())["runtime"]
    here = {**dict(this_machine().environment()), "runtime": runtime}
    for name, made in (("now", here), ("then", {**here, "runtime": "onnxruntime 0.1"})):
        conditions = Conditions(board.name, "onnxruntime", "fp32", 1, 1)
        table = replace(certified(1.05), conditions=conditions, environment=tuple(made.items()))
        write_latency_table(table, Path(f"{name}.json"))
    assert document(run("now.json", "--json", "--confidence", "0.9"))["warnings"] == []
    assert "connecting" not in run("then.json").stderr, "nothing is promised"
    refused = run("then.json", "--json", "--confidence", "0.9")
    assert (refused.exit_code, refused.stdout) == (1, "")
    words = f"was made with onnxruntime 0.1, here is {runtime}. No engine is promised by such a table"
    assert words in " ".join(refused.stderr.split())
    add_board(board.name, Board(command=("false",), python=sys.executable), overwrite=True)
    (warning,) = document(run("then.json", "--json", "--confidence", "0.9"))["warnings"]
    assert warning.startswith(f"{board.name}: ")
    assert warning.endswith("It was not checked whether /then still holds for the board as it is now.")


def test_a_budget_that_only_the_margin_refuses_says_so(run: Run) -> None:
    fastest = latency_table().grid.fixed + sum(map(min, latency_table().grid.values))
    given = ("--latency", f"{1.02 * fastest}ms")
    assert document(run("good.json", "--json", *given))["predicted_ms"] <= 1.02 * fastest
    refused = run("good.json", "--confidence", "0.9", *given)
    assert refused.exit_code == 1
    assert "the fastest one takes" in refused.stderr
    assert "That is with a margin of +5.0 % for 90 % of networks" in refused.stderr


def test_what_makes_no_sense_is_wrong_usage(run: Run) -> None:
    for arguments, words in (
        (("--percentile", "99"), "--percentile: only with --device, where an engine is emitted"),
        (("--percentile", "60"), "60 is not one of 50, 90, 95, 99"),
        (("--confidence", "1.5"), "'--confidence'"),
    ):
        refused = run("good.json", *arguments)
        assert refused.exit_code == 2
        assert words in " ".join(refused.stderr.replace("│", " ").split())


def test_show_and_check_name_the_same_findings(run: Run) -> None:
    run("good.json", "--json")
    shown = CliRunner().invoke(app, ["table", "show", "bad.json", "--json"])
    (said,) = document(shown)["findings"]
    assert said["severity"] == "error"
    checked = CliRunner().invoke(app, ["table", "check", "bad.json", "--json"])
    assert checked.exit_code == 1
    (finding,) = json.loads(checked.stdout)["files"][0]["findings"]
    assert finding == said
    text = " ".join(CliRunner().invoke(app, ["table", "show", "bad.json"]).stdout.split())
    assert f"error certificate {said['message'].split(' (')[0]}" in text
    good = CliRunner().invoke(app, ["table", "show", "good.json", "--json"])
    assert document(good)["findings"] == []
