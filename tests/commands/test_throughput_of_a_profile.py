"""From `ponas profile --streams` to an engine that keeps a throughput, through the real runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ponas_deploy import specialize
from ponas_deploy.commands import app
from ponas_deploy.engines import timing
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from spread_space import know, spread_space

Run = Callable[..., Result]
STREAMS = min(2, this_machine().cores)
COMMON = ("--space", "spread", "--resolution", "48", "--classes", "10", "--backend", "onnxruntime")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Commands in a folder with an accuracy table by which slower candidates are better ones."""
    pytest.importorskip("onnxruntime")
    know(monkeypatch)
    monkeypatch.setattr(timing, "PROCESSES", 1)
    monkeypatch.chdir(tmp_path)
    space = spread_space()
    grid = Grid.over(space, ([75.0, 80.0, 85.0, 90.0] for _ in space.layers))
    write_accuracy_table(AccuracyTable.from_top1(grid, space=SpaceKey.of(space)), tmp_path / "accuracy.json")
    given = ("--streams", STREAMS, "--json")
    return lambda command, *options: CliRunner().invoke(
        app, [command, *COMMON, *(str(one) for one in (*options, *given))]
    )


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


def test_a_throughput_that_binds_is_kept_by_another_network_than_the_best(run: Run, tmp_path: Path) -> None:
    (made,) = document(run("profile", "--time", 5))["tables"]
    table = load_latency_table(Path(made["path"]))
    latencies = [table.predict_ms(choices) for choices in product(*table.grid.candidates)]
    slowest, fastest = (1e3 * STREAMS / extreme for extreme in (max(latencies), min(latencies)))
    rate = (slowest * fastest) ** 0.5
    asked = ("specialize", "--device", "cpu", "--accuracy-table", "accuracy.json", "--tries", 4)
    free = specialize(table, load_accuracy_table(tmp_path / "accuracy.json"), throughput=slowest / 10)
    assert free.choices == ("e64",) * 3
    bound = document(run(*asked, "--throughput", rate, "--out", "bound"))
    assert bound["choices"] != list(free.choices)
    assert bound["throughput"] == rate
    assert bound["measured"]["images_per_s"] >= rate
    manifest = read_manifest(tmp_path / "bound")
    assert (manifest.throughput, manifest.conditions.streams) == (rate, STREAMS)
    assert manifest.measured
    assert manifest.measured.back_to_back
    assert manifest.measured.images_per_s(1, STREAMS) == bound["measured"]["images_per_s"]
    refused = run(*asked, "--throughput", 1e3 * fastest, "--out", "refused")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "the fastest one takes" in refused.stderr
