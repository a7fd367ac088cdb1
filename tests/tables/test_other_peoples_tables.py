"""Tables of other people through the commands: labels, files, units and constants."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ponas_deploy.commands import app
from ponas_deploy.engines.deployment import deploy
from ponas_deploy.engines.task import random_source
from ponas_deploy.errors import BudgetError, FileFormatError, UnknownNameError
from ponas_deploy.profiling.serving_tables import serving
from ponas_deploy.profiling.target import Target, profile_there
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.specialize import specialize
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.architectures import read_choices
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.store import find_table
from ponas_deploy.tables.units import budget_doubt, table_doubt
from sample_tables import SPACE, accuracy_table, latency_table, write_csv
from searchspace import Architecture, build_space
from searchspace.architecture import text_form
from searchspace.cost import network_cost
from searchspace.ops import count_params


def table(*labels: str, layers: int = 3, step: float = 1.0) -> LatencyTable:
    values = tuple(step * (1 + index) for index in range(len(labels)))
    names = tuple(map(str, range(layers)))
    return LatencyTable(Grid(names, (labels,) * layers, (values,) * layers))


def test_a_network_of_an_unknown_space_is_read_from_files(tmp_path: Path) -> None:
    mine, chosen = table("k3e3", "k5e3"), ("k3e3", "k5e3", "k3e3")
    contents = {
        "commas.txt": "k3e3,k5e3,k3e3\n",
        "lines.txt": "k3e3\nk5e3\nk3e3\n",
        "blanks.txt": "k3e3 k5e3 k3e3",
        "chosen.json": json.dumps({"method": "exact", "choices": chosen}),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        assert read_choices(str(tmp_path / name), mine) == chosen


@pytest.mark.parametrize("odd", ["k3,e3", 'say "k3"', "a|b", "k3 e3", "k3"])
def test_any_label_of_a_text_form_is_read_back(odd: str) -> None:
    mine = table(odd, "plain")
    for chosen in ((odd, "plain", odd), ("plain", odd, "plain"), (odd,) * 3):
        assert read_choices(text_form(chosen), mine) == chosen


def test_a_budget_far_outside_a_table_names_the_unit() -> None:
    seconds = table("a", "b", layers=2, step=0.001).grid
    assert budget_doubt(seconds, 3.0) == (
        "the budget of 3 ms is 750 times what the slowest network takes (0.004 ms): is the table in seconds?"
    )
    assert "is the table in seconds?" in table_doubt(seconds)
    assert budget_doubt(seconds, 0.01) == ""
    usual = table("a", "b").grid
    assert (budget_doubt(usual, 5.0), budget_doubt(usual, 0.5), table_doubt(usual)) == ("", "", "")
    assert "is the table in microseconds?" in budget_doubt(usual.scaled(1000), 3.0)
    assert "is the table in nanoseconds?" in budget_doubt(usual.scaled(1e6), 3.0)


def test_an_impossible_budget_far_below_a_table_names_the_unit_too() -> None:
    mine = table("a", "b", step=1000.0)
    with pytest.raises(Exception, match=r"Ask for 3000 ms or more\. But .* is the table in microseconds\?"):
        specialize(mine, AccuracyTable(mine.grid), Budget(latency_ms=3.0))
    ours = replace(mine, measurements=(("cell", Measurement(1, (1e9,))),))
    with pytest.raises(Exception, match=r"Ask for 3000 ms or more\.$"):
        specialize(ours, AccuracyTable(mine.grid), Budget(latency_ms=3.0))


def test_an_unknown_device_is_told_what_to_run_there() -> None:
    target = Target("jetson")
    with pytest.raises(UnknownNameError, match="unknown device 'jetson': known are") as unknown:
        serving(target, SPACE)
    assert str(unknown.value).endswith(profile_there(target))


def test_what_is_there_and_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="it is a folder, expected a regular file: name a file in it"):
        find_table(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="it is a pipe, expected a regular file: save what comes"):
        find_table(str(tmp_path / "pipe"))


def params_of(run: Result) -> int:
    """The parameters, for 10 classes, of the network that a run of `specialize --json` chose."""
    network = Architecture(build_space("ponas", 224, 10), tuple(json.loads(run.stdout)["choices"]))
    return network_cost(count_params, network)


def test_what_a_csv_is_counted_at_can_be_said(tmp_path: Path) -> None:
    latency = write_csv(tmp_path / "latency.csv", latency_table().grid, "latency_ms")
    loss = write_csv(tmp_path / "loss.csv", accuracy_table().loss, "loss_pp")
    wanted = ("specialize", "--latency-table", str(latency), "--accuracy-table", str(loss), "--json")
    run = CliRunner().invoke(app, [*wanted, "--params", "5M"])
    assert "params are counted at 224 px and 1000 classes: --resolution and --classes change" in run.stderr
    assert params_of(run) < 4e6
    run = CliRunner().invoke(app, [*wanted, "--params", "5M", "--classes", "10", "--resolution", "96"])
    assert 4.5e6 < params_of(run) <= 5e6
    assert "counted at" not in run.stderr
    known = tmp_path / "known.json"
    write_latency_table(latency_table(), known)
    run = CliRunner().invoke(app, [*wanted[:2], str(known), *wanted[3:], "--params", "5M", "--classes", "10"])
    assert "--classes 10 was asked for, but the table is for 1000." in run.stderr
    unknown = write_csv(tmp_path / "unknown.csv", table("a", "b").grid, "latency_ms")
    run = CliRunner().invoke(app, [*wanted[:2], str(unknown), "--latency", "9ms", "--resolution", "96"])
    assert "the table's labels belong to none: name one with --space" in " ".join(run.stderr.split())


def test_a_table_beside_the_weights_is_named(tmp_path: Path) -> None:
    said: list[str] = []
    asked = {"out": tmp_path / "engine", "budget": {"params": 1.0}, "on_note": said.append}
    space, run = build_space("ponas", 32, 10), tmp_path / "run"
    run.mkdir()
    weights = replace(random_source(0), file=str(run / "weights.safetensors"))
    with pytest.raises(BudgetError):
        deploy(space, Target("cpu"), weights=weights, **asked)
    assert said == []
    write_accuracy_table(accuracy_table(), run / "accuracy.json")
    with pytest.raises(BudgetError):
        deploy(space, Target("cpu"), weights=weights, **asked)
    assert said == [
        f"{run / 'accuracy.json'} was made with these weights and is not used: name it with --accuracy-table."
    ]
    with pytest.raises(BudgetError):
        deploy(space, Target("cpu"), accuracy_table(), weights=weights, **asked)
    assert len(said) == 1
