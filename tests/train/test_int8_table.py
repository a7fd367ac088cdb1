"""`ponas table int8` on a real run, and the search that takes its table."""
# ruff: noqa: E402

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from typer.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
pytest.importorskip("onnxruntime")
from tiny_training import META, SETTINGS, known, one_thread, space

from ponas_deploy.commands import app
from ponas_deploy.engines.losses import stored_losses
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from searchspace.mixed import is_int8, mixed, plain_label
from train.runs import train_run


@cache
def _trained() -> Path:
    folder = Path(mkdtemp()) / "run"
    train_run(replace(SETTINGS, meta=replace(META, epochs=20)), folder)
    return folder


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with one_thread():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(_trained(), tmp_path / "run"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_table_lies_beside_the_weights_and_mixed_precision_is_searched_by_it(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    asked = ("table", "int8", "--weights", weights, "--accuracy-table", folder / "accuracy.json")
    told = run(*asked, "--networks", 6, "--json")
    assert told.exit_code == 0, told.output + repr(told.exception)
    document = json.loads(told.stdout)
    path = folder / "accuracy-mixed.json"
    assert document["table"] == str(path)
    assert [one["layer"] for one in document["layers"]] == ["1", "2", "3"]
    assert document["networks"] == 6
    whole = mixed(space())
    table = load_accuracy_table(path)
    assert table.space == SpaceKey.of(whole)
    plain = load_accuracy_table(folder / "accuracy.json")
    of_blocks = [label for label in table.loss.candidates[0] if not is_int8(label)]
    assert of_blocks == list(plain.loss.candidates[0])
    assert stored_losses(whole, None, str(weights))[0].path == path
    again = run(*asked)
    assert (again.exit_code, "exists already" in again.output) == (1, True)

    grid = Grid.over(whole, ([0.5 if is_int8(one) else 1.0 for one in row] for row in whole.labels), 0.2)
    conditions = Conditions("board", "onnxruntime", "mixed", 1, 1)
    write_latency_table(LatencyTable(grid, SpaceKey.of(whole), conditions), folder / "latency.json")
    tables = ("--latency-table", folder / "latency.json", "--accuracy-table", path)
    chosen = run("specialize", *tables, "--latency", "2.3ms", "--json")
    assert chosen.exit_code == 0, chosen.output + repr(chosen.exception)
    found = json.loads(chosen.stdout)
    assert found["precisions"].count("int8") >= 2
    assert [one["precision"] for one in found["by_precision"]] == ["fp32", "int8", "mixed"]
    assert found["by_precision"][0]["choices"] is None
    assert found["by_precision"][2]["choices"] == found["choices"]
    (folder / "choice.json").write_text(chosen.stdout)
    out = folder / "engine"
    given = ("--weights", weights, "--backend", "onnxruntime", "--out", out, "--json")
    exported = run("export", folder / "choice.json", *given)
    assert exported.exit_code == 0, exported.output + repr(exported.exception)
    engine = json.loads(exported.stdout)
    assert (engine["precisions"], engine["device"]["precision"]) == (found["precisions"], "mixed")
    assert engine["top1_pct"] is not None
    assert engine["top1_fp32_pct"] is not None
    same = run("evaluate", folder / "choice.json", "--weights", weights, "--engine", out, "--json")
    assert same.exit_code in (0, 1), same.output + repr(same.exception)
    evaluated = json.loads(same.stdout)
    assert evaluated["choices"] == [plain_label(label) for label in found["choices"]]
    assert evaluated["engine"]["top1_pct"] == pytest.approx(engine["top1_pct"])
    wrong = run("export", folder / "choice.json", *given, "--precision", "fp32", "--force")
    assert (wrong.exit_code, "layers in int8 are named in ARCH" in wrong.output) == (2, True)
    report = run("specialize", *tables, "--latency", "2.3ms").stdout
    assert f"int8 in {found['precisions'].count('int8')} of 3 layers" in " ".join(report.split())
    assert "fp32 alone has no network within it" in " ".join(report.split())


def test_the_report_says_what_each_layer_loses_and_how_far_sums_are_off(folder: Path) -> None:
    told = run("table", "int8", "--weights", folder / "weights.safetensors", "--networks", 5,
               "--out", folder / "other.json")  # fmt: skip
    assert told.exit_code == 0, told.output + repr(told.exception)
    text = " ".join(told.stdout.split())
    assert "Lost in int8, one layer at a time" in text
    assert "5 random networks of both precisions lose" in text
    assert f"{folder / 'accuracy.json'}, which was made with these weights" in told.stderr.replace("\n", "")
    assert f"written to {folder / 'other.json'}" in text.replace("\n", "")
