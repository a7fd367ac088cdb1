"""`--resolution` with several values: what commands choose, say and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ponas_deploy.commands import app
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from sample_tables import latency_table, write_csv
from searchspace import build_space
from searchspace.cost import cost_table, count_macs

Run = Callable[..., Result]
ONLY = "it was measured at 224 px only"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for px in (128, 160, 224):
        space = build_space("ofa-mbv3", px)
        fixed, macs = cost_table(count_macs, space)
        grid = Grid.over(space, ([count / 1e7 for count in row] for row in macs), fixed / 1e7)
        write_latency_table(LatencyTable(grid, SpaceKey.of(space)), Path(f"{px}.json"))
    write_latency_table(latency_table(), Path("ponas.json"))
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def tables(*px: int) -> tuple[str, ...]:
    return tuple(word for one in px for word in ("--latency-table", f"{one}.json"))


def test_the_better_resolution_is_chosen_and_said(run: Run) -> None:
    small = document(run("specialize", *tables(160, 224), "--latency", "11ms", "--json"))
    assert (small["resolution"], small["latency_table"]) == (160, "160")
    assert small["predicted_top1_of"].startswith("ImageNet at 160 px (by 224 px, less 3.1 points (+-0.2))")
    assert sum(ONLY in warning for warning in small["warnings"]) == 1
    large = document(run("specialize", *tables(160, 224), "--latency", "28ms", "--json"))
    assert (large["resolution"], large["latency_table"]) == (224, "224")
    assert any(ONLY in warning for warning in large["warnings"]), "the other resolution was compared by it"
    alone = document(run("specialize", *tables(160), "--latency", "11ms", "--json"))
    assert alone["predicted_top1_pct"] == small["predicted_top1_pct"]
    assert "latency_table" not in alone
    report = " ".join(run("specialize", *tables(160, 224), "--latency", "11ms").stdout.split())
    assert "resolution 160 px" in report
    assert "Latency table: 160, of 2." in report


def test_what_is_said_of_a_network_that_was_not_chosen_is_not_said_of_the_other(run: Run) -> None:
    beyond = "beyond the best of the 1,200 measured networks"
    small = document(run("specialize", *tables(160), "--latency", "22ms", "--json"))
    assert any(beyond in warning for warning in small["warnings"])
    both = run("specialize", *tables(160, 224), "--latency", "22ms", "--json")
    assert document(both)["resolution"] == 224
    assert not any(beyond in warning for warning in document(both)["warnings"])
    assert beyond not in both.output


def test_a_csv_is_at_the_resolution_that_is_said(run: Run) -> None:
    grid = load_latency_table(Path("160.json")).grid
    write_csv(Path("mine.csv"), grid, "latency_ms")
    asked = (
        "specialize",
        "--latency-table",
        "mine.csv",
        "--space",
        "ofa-mbv3",
        "--latency",
        "11ms",
        "--json",
    )
    small = document(run(*asked, "--resolution", "160"))
    assert small["predicted_top1_pct"] == pytest.approx(document(run(*asked))["predicted_top1_pct"] - 3.1)
    assert any(ONLY in warning for warning in small["warnings"])


def test_fronts_are_merged_with_the_resolution_of_each_network(run: Run) -> None:
    found = document(run("pareto", *tables(160, 224), "--json"))
    points = found["points"]
    assert {point["resolution"] for point in points} == {160, 224}
    percent = [point["predicted_top1_pct"] for point in points]
    assert percent == sorted(percent)
    assert points[-1]["resolution"] == 224
    assert [front["points"][-1]["loss_pp"] for front in found["fronts"]] == pytest.approx([3.1, 0.0])
    assert sum(ONLY in warning for warning in found["warnings"]) == 1
    assert "best top-1 %" in run("pareto", *tables(160, 224)).stdout


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (("--resolution", "160,,224"), "'' is no resolution: write pixels", 2),
        (("--resolution", "160,160"), "resolution 160 stands twice", 2),
        (("--resolution", "few"), "'few' is no resolution", 2),
        (("--resolution", "9" * 5000), "9' is no resolution", 2),
        (("--resolution", "0,160"), "resolution is 0, expected 1 or more", 2),
        (("--resolution", "160,192"), "no latency table is of 192 px", 1),
        (("--resolution", "192"), "--resolution 192 was asked for, but the table is for", 1),
        (tables(128), "at 128 px beyond 160 to 224 px", 1),
    ],
)
def test_what_cannot_be_searched_is_a_sentence(
    run: Run, options: tuple[str, ...], words: str, code: int
) -> None:
    done = run("specialize", *tables(160, 224), *options, "--latency", "20ms")
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.replace("│", " ").split())


def test_a_table_that_only_knows_its_own_resolution_is_refused(run: Run) -> None:
    space = build_space("ponas", 160)
    rows = [[1.0] * len(labels) for labels in space.labels]
    write_latency_table(LatencyTable(Grid.over(space, rows), SpaceKey.of(space)), Path("small.json"))
    for command in (("specialize", "--latency", "20ms"), ("pareto",)):
        done = run(*command, "--latency-table", "ponas.json", "--latency-table", "small.json")
        assert done.exit_code == 1
        assert "nothing says what networks lose at" in done.output


@pytest.mark.parametrize(
    ("resolution", "words"),
    [
        ("auto", "auto is for a search"),
        ("100,224", "not at 100 px"),
        ("130,224", "multiples of 4"),
    ],
)
def test_a_profile_of_resolutions_that_cannot_be(run: Run, resolution: str, words: str) -> None:
    done = run("profile", "--space", "ofa-mbv3", "--resolution", resolution)
    assert done.exit_code in (1, 2)
    assert words in " ".join(done.output.replace("│", " ").split())
