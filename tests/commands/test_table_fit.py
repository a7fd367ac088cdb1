"""`ponas table fit` and `ponas table predict` as other programs call them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from planted_networks import Plant, additive, write
from ponas_deploy.commands import app

Run = Callable[..., Result]
KEYS = {
    "kind", "networks", "cross_validated_tau", "mean_error", "identified", "additive", "drift", "warnings",
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    plant = Plant.of(6, 4, 0)
    drawn, others = plant.draw(200, 0.2), plant.draw(30)
    write(Path("latency.csv"), plant.networks(drawn, plant.noisy(additive(plant, drawn))))
    write(Path("others.csv"), plant.networks(others, None))
    write(Path("measured.csv"), plant.networks(others, additive(plant, others)))
    top1 = 80 - additive(plant, drawn) + 0.05 * plant.rng.standard_normal(200)
    write(Path("top1.csv"), plant.networks(drawn, top1, "accuracy"))
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_latency_table_is_fitted_and_predicts(run: Run) -> None:
    found = document(run("table", "fit", "latency.csv", "--out", "l.json", "--json"))
    assert set(found) >= KEYS
    assert (found["kind"], found["networks"], found["warnings"]) == ("latency", 200, [])
    assert (found["identified"], found["additive"], found["drift"]) == (True, True, False)
    assert found["cross_validated_tau"] > 0.8
    assert 0.5 < found["mean_error"] < 1.5
    predicted = document(run("table", "predict", "l.json", "others.csv", "--json"))
    measured = np.loadtxt("measured.csv", delimiter=",", skiprows=1, usecols=6)
    np.testing.assert_allclose(predicted["predictions"], measured, rtol=0.02)
    assert predicted["mean_error"] is None
    compared = document(run("table", "predict", "l.json", "measured.csv", "--json"))
    assert compared["mean_error"] < 1
    assert compared["tau"] > 0.9


def test_an_accuracy_table_is_fitted_and_predicts_percent(run: Run) -> None:
    found = document(run("table", "fit", "top1.csv", "--out", "a.json", "--json"))
    assert (found["kind"], found["identified"], found["additive"]) == ("accuracy", True, True)
    predicted = document(run("table", "predict", "a.json", "others.csv", "--json"))
    measured = 80 - np.loadtxt("measured.csv", delimiter=",", skiprows=1, usecols=6)
    np.testing.assert_allclose(predicted["predictions"], measured, atol=0.3)
    assert predicted["unit"] == "%"


def test_both_tables_go_into_the_search(run: Run) -> None:
    run("table", "fit", "latency.csv", "--out", "l.json")
    run("table", "fit", "top1.csv", "--out", "a.json")
    tables = ("--latency-table", "l.json", "--accuracy-table", "a.json")
    found = document(run("pareto", *tables, "--json"))
    assert len(found["points"]) >= 1
    assert run("table", "check", "l.json", "a.json").exit_code == 0
    assert run("table", "show", "l.json").exit_code == 0
    assert run("table", "show", "a.json").exit_code == 0


def test_the_reports_are_for_people(run: Run) -> None:
    report = run("table", "fit", "latency.csv", "--out", "l.json").stdout
    for words in (
        "Latency table from 200 rows of latency.csv",
        "rank correlation 0.",
        "repeats scatter by",
        "ok  identified  all candidates are told apart",
        "ok  additive    sums explain the rows",
        "ok  drift       no drift over the rows",
        "written to l.json",
    ):
        assert words in report
    predictions = run("table", "predict", "l.json", "measured.csv").stdout
    assert "30 networks by l.json" in predictions
    assert "and 10 more: --json holds them all" in predictions
    assert "mean error 0." in predictions


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("fit", "none.csv", "--out", "x.json"), 1, "there is no such file"),
        (("fit", "others.csv", "--out", "x.json"), 1, "line 1, column 6: the last column is 'layer5'"),
        (("fit", "measured.csv", "--out", "there.json"), 1, "exists already"),
        (("fit", "measured.csv", "--out", "x.csv"), 2, "a fitted table is JSON"),
        (("fit", "measured.csv"), 2, "--out"),
        (("predict", "none.json", "others.csv"), 1, "there is no such file"),
    ],
)
def test_errors_are_one_sentence(run: Run, arguments: tuple[str, ...], exit_code: int, words: str) -> None:
    Path("there.json").write_text("{}")
    result = run("table", *arguments, "--json")
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert words in result.stderr
    assert not Path("x.json").exists()


def test_a_row_with_an_unknown_label_is_named_and_the_others_are_predicted(run: Run) -> None:
    run("table", "fit", "latency.csv", "--out", "l.json")
    whole = document(run("table", "predict", "l.json", "measured.csv", "--json"))
    lines = Path("measured.csv").read_text().splitlines()
    lines[4] = "op0,op1,op9,op0,op0,op0,9.5"
    Path("measured.csv").write_text("\n".join(lines))
    result = run("table", "predict", "l.json", "measured.csv", "--json")
    found = document(result)
    (unknown,) = found["unknown"]
    assert (unknown["row"], unknown["where"]) == (3, "line 5, column 3")
    assert (unknown["layer"], unknown["candidate"]) == ("layer2", "op9")
    message = "line 5, column 3: unknown candidate of layer layer2 'op9': known are"
    assert "30 rows: 1 of them has a candidate that the table does not know" in result.stderr
    assert message in result.stderr
    assert found["predictions"][3] is None
    assert found["networks"] == 30
    rest = [value for row, value in enumerate(whole["predictions"]) if row != 3]
    assert [value for value in found["predictions"] if value is not None] == rest
    assert found["mean_error"] < 1
    assert "not known" in run("table", "predict", "l.json", "measured.csv").stdout
    Path("measured.csv").write_text("\n".join([lines[0], lines[4]]))
    refused = run("table", "predict", "l.json", "measured.csv", "--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "unknown candidate of layer layer2 'op9'" in refused.stderr
