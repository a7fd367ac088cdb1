"""INT8 from `ponas profile` to `specialize`, `verify` and `evaluate`, through the real runtimes."""
# ruff: noqa: E402

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import SETTINGS, known, one_thread

from ponas_deploy.commands import app
from ponas_deploy.engines import timing
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.tables.files import load_latency_table
from spread_space import know
from train.runs import TrainResult, train_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    with pytest.MonkeyPatch.context() as patch, one_thread():
        known(patch)
        know(patch)
        return train_run(replace(SETTINGS, space="spread"), tmp_path_factory.mktemp("run"))


@pytest.fixture(autouse=True)
def _steady(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    know(monkeypatch)
    monkeypatch.setattr(timing, "PROCESSES", 1)
    monkeypatch.chdir(tmp_path)
    with one_thread():
        yield


def document(*arguments: object, exit_codes: tuple[int, ...] = (0,)) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code in exit_codes, done.output + repr(done.exception)
    return json.loads(done.stdout)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_profile_in_int8_leads_to_an_engine_in_int8(
    runtime: str, trained: TrainResult, tmp_path: Path
) -> None:
    pytest.importorskip(runtime)
    on = ("--backend", runtime, "--precision", "int8", "--space", "spread")
    (made,) = document("profile", *on, "--resolution", 16, "--classes", 3, "--time", 5)["tables"]
    assert made["conditions"]["precision"] == "int8"
    table = dict(load_latency_table(Path(made["path"])).environment)
    assert "random" in table["int8_scales"]

    weights = ("--weights", trained.weights)
    # A budget that noise cannot break: what is asked for here is that each step does its work.
    found = document("specialize", "--device", "cpu", *on, *weights, "--latency", "1s", "--out", "engine")
    assert found["device"]["precision"] == "int8"
    assert found["measured"]["p50_ms"] <= 1000
    environment = dict(read_manifest(tmp_path / "engine").environment)
    assert environment["int8_form"] == table["int8_form"]
    assert " of 70 images" in environment["int8_scales"], "the training images of the weights"

    checked = document("verify", "engine")
    assert (checked["passed"], checked["changed_files"]) == (True, [])
    (tmp_path / "choice.json").write_text(json.dumps(found), encoding="utf-8")
    # Of 24 images INT8 may answer two otherwise on another processor, which is exit code 1.
    asked = ("evaluate", "choice.json", *weights, "--engine", "engine")
    answers = document(*asked, exit_codes=(0, 1))
    assert answers["choices"] == found["choices"]
    assert answers["engine"]["images"] == 24
    assert answers["engine"]["top1_pct"] == pytest.approx(found["top1_pct"])
    assert answers["top1_pct"] == pytest.approx(found["top1_fp32_pct"])
