"""The main job through the command line, on the real runtimes: profile, specialize, verify, export, compare.

At 32 pixels, with a short profile: what is checked is that every step does its work and says the truth,
not how well this machine can be predicted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from searchspace import build_space
from searchspace.cost import cost_table, count_macs

ROOT = Path(__file__).resolve().parent.parent


class Desk:
    """A folder with a store of its own, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PONAS_HOME": str(self.home), "NO_COLOR": "1", "COLUMNS": "120"}
        command = [sys.executable, str(ROOT / "cli.py"), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, expect: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", expect=expect).stdout)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk on which this machine was profiled with ONNX Runtime, and an accuracy table lies."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    space = build_space("ponas", 32, 10)
    _, macs = cost_table(count_macs, space)
    top1 = tuple(tuple(95 - 5 / np.log2(value) for value in row) for row in macs)
    table = AccuracyTable.from_top1(
        Grid(tuple(layer.name for layer in space.layers), space.labels, top1), space=SpaceKey.of(space)
    )
    write_accuracy_table(table, desk.folder / "accuracy.json")
    small = ("--space", "ponas", "--resolution", "32", "--classes", "10")
    made = desk.json("profile", "--backend", "onnxruntime", *small, "--time", "8")
    (document,) = made["tables"]
    assert Path(document["path"]).is_file()
    return desk


SPECIALIZE = ("specialize", "--device", "cpu", "--resolution", "32", "--classes", "10", "--accuracy-table")


def test_specialize_emits_an_engine_that_meets_the_budget(desk: Desk) -> None:
    out = desk.folder / "engine"
    # A budget that noise cannot break: how tightly one is met is the benchmarks' matter, not a test's.
    given = (*SPECIALIZE, "accuracy.json", "--backend", "onnxruntime", "--latency", "1s", "--out", str(out))
    found = desk.json(*given)
    assert found["measured"]["p50_ms"] <= found["budget"]["latency_ms"]
    assert found["measured"]["p50_ms"] <= found["measured"]["p95_ms"]
    assert len(found["choices"]) == 19
    assert (found["method"], found["gap_pp"]) == ("exact", 0.0)
    assert found["weights"].startswith("random")
    assert found["engine"] == str(out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["format"] == "ponas.engine/2"
    assert manifest["choices"] == found["choices"]
    assert {table["kind"] for table in manifest["tables"]} == {"latency", "accuracy"}
    assert (out / "model.onnx").is_file()
    assert (out / "engine.optimized.onnx").is_file()
    again = desk.run(*given, expect=1)
    assert "--force" in again.stderr
    checked = desk.json("verify", str(out))
    assert checked["changed_files"] == []
    assert checked["difference"] <= checked["tolerance"]
    (out / "model.onnx").write_bytes(b"broken")
    broken = desk.run("verify", str(out), expect=1)
    assert "model.onnx" in broken.stdout


def test_the_report_names_everything_that_was_asked_and_measured(desk: Desk) -> None:
    given = (*SPECIALIZE, "accuracy.json", "--backend", "onnxruntime", "--latency", "1s", "--out", "second")
    report = desk.run(*given).stdout
    for words in (
        "asked",
        "predicted latency",
        "measured latency",
        "p50",
        "noise floor",
        "not trained",
        "gap",
    ):
        assert words in report


def test_an_impossible_budget_is_answered_at_once(desk: Desk) -> None:
    given = (*SPECIALIZE, "accuracy.json", "--backend", "onnxruntime", "--latency", "1us")
    refused = desk.run(*given, expect=1)
    assert "the fastest one takes" in refused.stderr
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr


def test_a_device_of_elsewhere_gets_the_portable_network(desk: Desk) -> None:
    own = next((desk.home / "latency").glob("*/*.json"))
    text = own.read_text().replace(json.dumps(own.parent.name), '"jetson"')
    foreign = desk.home / "latency" / "jetson" / own.name
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text(text)
    given = [*SPECIALIZE, "accuracy.json", "--latency", "1s", "--out", "for-jetson"]
    given[2] = "jetson"
    found = desk.json(*given)
    assert found["measured"] is None
    there = "build and measure it on jetson (in its folder: `ponas measure model.onnx --device jetson`)"
    assert found["status"] == f"not built: {there}"
    assert [path.name for path in sorted((desk.folder / "for-jetson").iterdir())] == [
        "manifest.json",
        "model.onnx",
    ]
    shown = desk.run(*given, "--force").stdout
    assert "not built: build and measure it on jetson" in shown


@pytest.mark.parametrize(
    ("backend", "file"), [("onnxruntime", "engine.optimized.onnx"), ("openvino", "engine.xml")]
)
def test_export_builds_and_measures_a_given_network(desk: Desk, backend: str, file: str) -> None:
    out = f"{backend}-a"
    found = desk.json("export", "PONAS-A", "--backend", backend, "--resolution", "32", "--out", out)
    assert found["measured"]["p50_ms"] > 0
    assert file in found["files"]
    checked = desk.json("verify", out)
    assert checked["passed"]


def test_the_devices_are_listed(desk: Desk) -> None:
    listed = desk.json("devices")
    here = listed["this_machine"]
    assert "fp32" in here["runtimes"]["openvino"]["precisions"]
    assert here["name"] in listed["devices"]
    assert here["name"] in desk.run("devices").stdout


def test_what_does_not_exist_is_answered_with_what_does(desk: Desk) -> None:
    for arguments, words in (
        (("specialize", "--device", "toaster", "--latency", "3ms"), "unknown device 'toaster': known are"),
        (("profile", "--backend", "tvm"), "unknown backend 'tvm': known are benchmark_app, "),
        (("profile", "--precision", "int3"), "int3"),
        (("profile", "--space", "moon"), "unknown space 'moon': known are FBNet-A"),
        (("export", "PONAS-Z"), "PONAS-A, PONAS-B, PONAS-C"),
        (("export", "PONAS-A", "--backend", "openvino", "--precision", "int3"), "known are"),
        (("export", "PONAS-A", "--backend", "benchmark_app"), "benchmark_app: times models for"),
        (("verify", "nowhere"), "there is no such file: name a folder that `ponas specialize` or"),
        (("profile", "--device", "jetson"), "is not this machine"),
    ):
        refused = desk.run(*arguments, expect=1)
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr
    for arguments in (("specialize", "--latency", "3"), ("specialize",), ("profile", "--threads", "0")):
        assert "Usage" in desk.run(*arguments, expect=2).stderr
