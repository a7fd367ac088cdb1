"""TensorRT's engines by way of the commands, on the stand-in: progress of a build, times of layers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tensorrt_standin
from tensorrt_standin import Machine
from typer.testing import CliRunner, Result

from ponas_deploy.backends import get_backend
from ponas_deploy.commands import app, waiting
from ponas_deploy.engines import timing
from ponas_deploy.machines import gpu
from ponas_deploy.measuring.contention import CoreReading
from ponas_deploy.measuring.engine_process import Taken, Timed, single_runs
from ponas_deploy.measuring.place import HERE
from ponas_deploy.profiling.trial import trial
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from sample_tables import accuracy_table, latency_table
from searchspace import Space, build_space

SMALL = ("--resolution", "32", "--classes", "10")
BUILT = [f"Building: {done} of 2" for done in (0, 1, 2, 2)]


def ponas(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def build_lines(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("Building")]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """TensorRT and its GPU, in this process only: engines are timed here."""

    def timed_here(timed: Timed) -> tuple[Taken, None]:
        with get_backend(timed.backend).open(timed.engine, timed.settings) as session:
            return Taken(tuple(single_runs(session, 0.0)), CoreReading()), None

    monkeypatch.setattr(HERE, "take", timed_here)
    monkeypatch.setattr(timing, "PROCESSES", 1)
    monkeypatch.setattr(gpu, "this_gpu", lambda: "nvidia-stand-in")
    monkeypatch.setattr(waiting, "SECONDS_A_LINE", 0.0)
    return tensorrt_standin.install(monkeypatch)


@pytest.fixture
def engine(machine: Machine, tmp_path: Path) -> Path:
    folder = tmp_path / "engine"
    done = ponas("export", "PONAS-A", "--backend", "tensorrt", *SMALL, "--out", folder)
    assert done.exit_code == 0, done.stderr
    assert build_lines(done) == BUILT
    return folder


def test_verify_says_what_each_layer_takes(engine: Path) -> None:
    said = ponas("verify", engine, "--layers")
    assert said.exit_code == 0, said.stderr
    rows = [" ".join(line.split()) for line in said.stdout.splitlines()]
    assert "first 0.5000 ms 25.0 %" in rows
    found = json.loads(ponas("verify", engine, "--layers", "--json").stdout)
    assert found["layers"] == [{"name": "first", "ms": 0.5}, {"name": "second", "ms": 1.5}]


def test_where_layers_are_not_timed_that_is_said_beside_what_was_checked(
    machine: Machine, tmp_path: Path
) -> None:
    folder = tmp_path / "engine"
    done = ponas("export", "PONAS-A", "--backend", "onnxruntime", *SMALL, "--out", folder)
    assert (done.exit_code, build_lines(done)) == (0, [])
    said = ponas("verify", folder, "--layers", "--json")
    assert said.exit_code == 0
    assert "onnxruntime: does not time layers: tensorrt or tensorrt-rtx does." in said.stderr
    assert (json.loads(said.stdout)["passed"], json.loads(said.stdout)["layers"]) == (True, None)


def small_table() -> LatencyTable:
    key = SpaceKey.of(build_space("ponas", 32, 10))
    return replace(
        latency_table(), space=key, conditions=Conditions("nvidia-stand-in", "tensorrt", "fp32", 1, 1)
    )


def test_a_search_says_how_far_its_builds_are(machine: Machine, tmp_path: Path) -> None:
    write_latency_table(small_table(), tmp_path / "latency.json")
    write_accuracy_table(accuracy_table(), tmp_path / "accuracy.json")
    tables = ("--latency-table", tmp_path / "latency.json", "--accuracy-table", tmp_path / "accuracy.json")
    asked = ("--device", "gpu", "--latency", "6ms", "--tries", "1", "--out", tmp_path / "engine")
    done = ponas("specialize", *tables, *asked, *SMALL, "--json")
    assert done.exit_code == 0, done.stderr
    assert build_lines(done) == BUILT
    assert json.loads(done.stdout)["device"]["backend"] == "tensorrt"
    assert (tmp_path / "engine" / "engine.plan").exists()


def test_a_trial_says_how_far_its_builds_are(machine: Machine, tiny: Space) -> None:
    lines: list[str] = []
    conditions = Conditions("nvidia-stand-in", "tensorrt", "fp32", 1, 1)
    trial(conditions, tiny, on_build=lambda build: lines.append(build.text))
    assert lines == 2 * BUILT, (
        "a block and a network; the block's second session is of the engine that is kept"
    )
