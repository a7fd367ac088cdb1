"""Predicted top-1 in reports and JSON, by the ImageNet table; nothing of it where a table only ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from conftest import tiny_space
from planted_networks import Plant, additive, write
from planted_search import middle_ms, task
from ponas_deploy.commands import app
from ponas_deploy.commands.reports.engine import manifest_report
from ponas_deploy.engines.loop import emit_portable, engine_document
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.files.documents import encoded
from ponas_deploy.tables.accuracy import AccuracyOrigin
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.top1 import MeasuredTop1, Top1Scale
from rendered import shown
from sample_tables import latency_table
from searchspace import SPACES, build_space
from searchspace.cost import cost_table, count_macs

Run = Callable[..., Result]
OF = "ImageNet at 224 px, weights inherited without fine-tuning"
BEYOND = (
    "beyond the best of the 1,200 measured networks, 77.47 %: sums of best cells tend to promise too much"
)
LARGEST = ",".join(["k7e6"] * 20)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    for px in (224, 160):
        space = build_space("ofa-mbv3", px)
        _, macs = cost_table(count_macs, space)
        grid = Grid.over(space, ([count / 1e7 for count in row] for row in macs))
        write_latency_table(LatencyTable(grid, SpaceKey.of(space)), Path(f"{px}.json"))
    write_latency_table(latency_table(), Path("ponas.json"))
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def words(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def test_a_choice_has_its_top1_by_the_table_of_its_space(run: Run) -> None:
    choose = ("specialize", "--latency-table", "224.json", "--latency")
    found = document(run(*choose, "28ms", "--json"))
    assert 75 < found["predicted_top1_pct"] < 77.47
    assert found["predicted_top1_of"] == OF
    assert not any("measured networks" in warning for warning in found["warnings"])
    assert f"predicted top-1 {found['predicted_top1_pct']:.2f} %, {OF} gap" in words(run(*choose, "28ms"))


def test_a_choice_beyond_the_measured_networks_has_their_range_beside_it(run: Run) -> None:
    choose = ("specialize", "--latency-table", "224.json", "--latency", "100%")
    found = document(run(*choose, "--json"))
    assert found["predicted_top1_pct"] > 77.466
    assert any(BEYOND in warning for warning in found["warnings"])
    assert f"{OF}; {BEYOND}" in words(run(*choose))


def test_another_resolution_than_that_of_the_table_is_said(run: Run) -> None:
    choose = ("specialize", "--latency-table", "160.json", "--latency", "20ms")
    said = document(run(*choose, "--json"))["warnings"][-1]
    assert said.startswith("the accuracy table: it was measured at 224 px only;")
    compared = run("compare", LARGEST, "--latency-table", "160.json", "--accuracy-table", "ofa-mbv3")
    assert "top-1 is predicted at 224 px; of networks at 160 px it is another." in words(compared)


def test_a_front_has_top1_at_every_point(run: Run) -> None:
    found = document(run("pareto", "--latency-table", "224.json", "--json"))
    percent = [point["predicted_top1_pct"] for point in found["points"]]
    assert percent == sorted(percent)
    assert found["predicted_top1_of"] == OF
    assert any(BEYOND in warning for warning in found["warnings"])
    report = words(run("pareto", "--latency-table", "224.json"))
    assert "budget ms loss pp top-1 % predicted ms" in report
    assert f"Predicted top-1: {OF}." in report


def test_compared_networks_have_top1(run: Run) -> None:
    given = ("compare", LARGEST, "--latency-table", "224.json", "--accuracy-table", "ofa-mbv3")
    found = document(run(*given, "--json"))
    (network,) = found["networks"]
    assert 77 < network["predicted_top1_pct"] < 77.6
    assert network["predicted_top1_of"] == OF
    assert f"top-1: {OF}" in words(run(*given))


def test_rows_of_a_file_have_top1(run: Run) -> None:
    layers = ",".join(f"L{layer}" for layer in range(20))
    best = ",".join(
        cells["candidate"] for cells in _best_cells(document(run("table", "show", "ofa-mbv3", "--json")))
    )
    Path("networks.csv").write_text(f"{layers}\n{LARGEST}\n{best}\n")
    given = ("table", "predict", "ofa-mbv3", "networks.csv")
    found = document(run(*given, "--json"))
    assert found["predicted_top1_of"] == OF
    assert found["predictions"][0] < found["predictions"][1] == pytest.approx(77.59, abs=0.01)
    (warning,) = found["warnings"]
    assert BEYOND in warning
    assert f"top-1: {OF}" in words(run(*given))


def _best_cells(table: Any) -> list[Any]:
    return [min(layer["cells"], key=lambda cell: cell["loss_pp"]) for layer in table["layers"]]


def test_a_table_says_what_it_predicts(run: Run) -> None:
    report = words(run("table", "show", "ofa-mbv3"))
    assert (
        f"predicts top-1, at no loss 77.59 %, {OF}; {BEYOND} fitted to 1,200 networks of 71.00 to 77.47 %"
        in report
    )
    assert "top-1 is predicted to 0.079 pp (root mean square)" in report


def test_nothing_is_said_of_top1_where_a_table_only_ranks(run: Run) -> None:
    table = ("--latency-table", "ponas.json")
    for given in (
        ("specialize", *table, "--latency", "90%"),
        ("pareto", *table),
        ("compare", "PONAS-A", *table, "--accuracy-table", "ponas"),
    ):
        assert "predicted_top1" not in run(*given, "--json").stdout
        assert "top-1" not in words(run(*given))


def test_a_fit_says_what_its_networks_were_evaluated_on(run: Run) -> None:
    plant = Plant.of(6, 4, 0)
    drawn = plant.draw(60)
    write(Path("top1.csv"), plant.networks(drawn, 80 - additive(plant, drawn), "accuracy"))
    write(Path("latency.csv"), plant.networks(drawn, additive(plant, drawn)))
    said = ("--data", "photos", "--images", "500", "--weights", "trained alone", "--detail", "source=a=b")
    document(run("table", "fit", "top1.csv", "--out", "a.json", *said, "--json"))
    table = json.loads(Path("a.json").read_text())
    origin = table["origin"]
    assert (origin["data"], origin["images"], origin["weights"]) == ("photos", 500, "trained alone")
    assert origin["details"]["source"] == "a=b"
    assert table["certificate"]["made_on"] == "top1.csv: photos at 224 px, trained alone"
    nameless = run("table", "fit", "top1.csv", "--out", "b.json", "--detail", "nameless")
    assert nameless.exit_code == 2
    assert "write NAME=TEXT" in nameless.output
    of_latency = run("table", "fit", "latency.csv", "--out", "b.json", *said)
    assert of_latency.exit_code == 2
    assert "latencies" in of_latency.output


def test_an_engine_keeps_the_predicted_top1_in_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    space = tiny_space()
    given = task(space, tmp_path, middle_ms(space))
    table = replace(
        given.accuracy.table,
        origin=AccuracyOrigin("photos", "ridge", space.resolution, 10, 0, (), 0),
        top1_scale=Top1Scale("points", 70.0, measured=MeasuredTop1(9, 10.0, 20.0)),
    )
    emit_portable(replace(given, accuracy=replace(given.accuracy, table=table)), tmp_path / "engine")
    manifest = read_manifest(tmp_path / "engine")
    found = encoded(engine_document(manifest, tmp_path / "engine"))
    of = f"photos at {space.resolution} px"
    assert found["predicted_top1_pct"] == pytest.approx(70 - found["predicted_loss_pp"])
    assert found["predicted_top1_of"] == of
    assert any("beyond the best of the 9 measured networks" in warning for warning in found["warnings"])
    assert f"{found['predicted_top1_pct']:.2f} %, {of}" in shown(manifest_report(manifest, tmp_path))
