"""`--estimate`: marked in every output, never met, never mixed with what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ponas_deploy.boards.book import Board, Entry, add_board
from ponas_deploy.commands import app
from ponas_deploy.engines.task import RANDOM_WEIGHTS_GUESSED
from ponas_deploy.errors import PonasError
from ponas_deploy.files.home import home
from ponas_deploy.fitting.board_figures import board_figures
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.prior import Prior, with_stored
from ponas_deploy.profiling.serving_tables import serving
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.networks_csv import Networks, write_networks
from sample_tables import SPACE, latency_table
from stored_tables import stored

Run = Callable[..., Result]
WORST = board_figures().families["gpu"].worst_factor
MARK = f"estimated, not measured: +-{WORST:.3g} times"
NAME = "orin-nano/estimate-fp16-t1-b1-ponas-224px-1000c"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    # One line however long: a mark that is wrapped is still there.
    return lambda *arguments: CliRunner().invoke(app, list(arguments), env={"COLUMNS": "1000"})


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def words(result: Result) -> str:
    """What was printed, however it was wrapped."""
    return " ".join(result.stdout.split())


def document(result: Result) -> Any:
    return json.loads(done(result).stdout)


def estimated(run: Run, *options: str) -> Any:
    return document(run("profile", "--space", "ponas", "--estimate", "orin-nano", *options, "--json"))


def test_a_profile_by_estimate_is_in_the_store_under_the_name_of_the_device(run: Run) -> None:
    (made,) = estimated(run, "--device", "jetson", "--precision", "int8", "--batch", "4")["tables"]
    path = home() / "latency" / "jetson" / "estimate-int8-t1-b4-ponas-224px-1000c.json"
    assert (Path(made["path"]), made["mean_error_pct"]) == (path, None)
    assert made["estimate"]["worst_factor"] == WORST
    assert made["conditions"]["backend"] == "estimate"
    assert MARK in load_latency_table(path).estimated
    (unnamed,) = estimated(run)["tables"]
    assert unnamed["name"] == NAME
    assert MARK in done(run("profile", "--space", "ponas", "--estimate", "orin-nano")).stdout


@pytest.mark.parametrize(
    "command",
    [
        ("table", "show", NAME),
        ("table", "check", f"{{home}}/latency/{NAME}.json"),
        ("table", "diff", NAME, NAME),
        ("table", "diff", "measured.json", NAME),
        ("table", "predict", NAME, "networks.csv"),
        ("pareto", "--latency-table", NAME),
        ("pareto", "--latency-table", NAME, "--latency-table", "measured.json"),
        ("compare", "PONAS-A", "--latency-table", NAME),
        ("specialize", "--latency-table", NAME, "--latency", "3ms"),
        ("devices",),
    ],
    ids=" ".join,
)
def test_every_output_that_shows_the_table_says_that_it_is_estimated(
    run: Run, command: tuple[str, ...]
) -> None:
    estimated(run)
    write_latency_table(latency_table(), Path("measured.json"))
    grid = latency_table().grid
    choices = tuple(labels[0] for labels in grid.candidates)
    write_networks(Networks(Path("networks.csv"), grid.layers, (choices,), (), None, (2,)))
    command = tuple(word.format(home=home()) for word in command)
    for more in ((), ("--json",)):
        assert MARK in words(done(run(*command, *more)))


def test_an_estimate_never_counts_as_met(run: Run) -> None:
    out = ("--out", "engine")
    found = run(
        "specialize", "--estimate", "orin-nano", "--space", "ponas", "--latency", "2.5ms", *out, "--json"
    )
    engine = document(found)
    assert engine["predicted_ms"] < 2.5
    assert (engine["verdict"], engine["measured"], engine["files"]) == (None, None, ["model.onnx"])
    assert not any("the latency is real" in text for text in engine["warnings"])
    assert RANDOM_WEIGHTS_GUESSED in engine["warnings"]
    there = "(in its folder: `ponas measure model.onnx --device orin-nano`)"
    assert engine["status"] == f"estimated, not measured: build and measure it on orin-nano {there}"
    manifest = json.loads(Path("engine/manifest.json").read_text())
    assert manifest["status"] == engine["status"]
    assert manifest["verdict"] is None
    assert any(MARK in warning for warning in manifest["warnings"])
    assert any(MARK in table["made_on"] for table in manifest["tables"])
    verified = done(run("verify", "engine"))
    assert RANDOM_WEIGHTS_GUESSED in " ".join(verified.stdout.split())
    shown = done(
        run(
            "specialize", "--estimate", "orin-nano", "--space", "ponas", "--latency", "2.5ms", "--force", *out
        )
    )
    assert " ms, estimated, not measured" in shown.stdout
    assert MARK in words(shown)


def test_measured_tables_serve_and_that_is_said(run: Run) -> None:
    estimated(run)
    measured = stored(SPACE, "orin-nano")
    assert serving(Target("orin-nano"), SPACE) == (measured,)
    named = ("--latency-table", NAME, "--latency-table", measured.name, "--latency", "100ms")
    chosen = done(run("specialize", *named))
    assert f"{NAME} is estimated and left out: {measured.name} was measured" in chosen.stderr
    assert MARK not in chosen.output
    engine = run(
        "specialize", "--device", "orin-nano", *named, "--space", "ponas", "--out", "engine", "--json"
    )
    assert document(engine)["device"]["backend"] == "onnxruntime"
    assert "is estimated and left out" in engine.stderr
    plain = run(
        "specialize", "--device", "orin-nano", "--latency", "100ms", "--space", "ponas", "--out", "plain"
    )
    assert f"{NAME} is estimated and left out: {measured.name} was measured" in done(plain).stderr
    assert MARK not in plain.output
    again = run("profile", "--space", "ponas", "--estimate", "orin-nano", "--precision", "fp32", "--json")
    assert f"{measured.name} was measured in these conditions: it serves" in again.stderr


def test_pareto_shows_both_and_marks_one(run: Run) -> None:
    estimated(run)
    write_latency_table(replace(latency_table(), protocol=latency_table().protocol), Path("measured.json"))
    both = document(run("pareto", "--latency-table", NAME, "--latency-table", "measured.json", "--json"))
    names = [front["table"] for front in both["fronts"]]
    assert [("estimate" in name) for name in names] == [True, False]


def test_two_estimates_are_both_marked_by_name(run: Run) -> None:
    estimated(run)
    document(run("profile", "--space", "ponas", "--estimate", "nano", "--json"))
    other = NAME.replace("orin-nano", "nano")
    both = document(run("pareto", "--latency-table", NAME, "--latency-table", other, "--json"))
    assert [front["table"] for front in both["fronts"]] == ["orin-nano (estimate)", "nano (estimate)"]


def test_an_estimate_is_mixed_into_no_prior(run: Run) -> None:
    estimated(run)
    prior = Prior("one", "0" * 64, latency_table())
    conditions = replace(prior.table.conditions, device="lab")  # type: ignore[type-var]
    others = [name for name, _ in with_stored(prior, conditions, SPACE).others]
    assert others
    assert not [name for name in others if "estimate" in name]


def test_what_was_measured_of_the_device_scales_it(run: Run) -> None:
    (plain,) = estimated(run, "--precision", "fp32")["tables"]
    table = load_latency_table(Path(plain["path"]))
    grid = table.grid
    choices = tuple(tuple(labels[at] for labels in grid.candidates) for at in (0, 3, 7))
    values = tuple(2 * table.predict_ms(one) for one in choices)
    write_networks(Networks(Path("networks.csv"), grid.layers, choices, values, "latency", (2, 3, 4)))
    (scaled,) = estimated(run, "--precision", "fp32", "--scale-by", "networks.csv")["tables"]
    assert scaled["estimate"]["scale"] == pytest.approx(2.0, rel=1e-6)
    assert "networks.csv, 3 networks" in scaled["estimate"]["scaled_by"]
    stored(SPACE, "orin-nano", grid=grid.scaled(3.0))
    (by_stored,) = estimated(run)["tables"]
    assert by_stored["estimate"]["scale"] == pytest.approx(3.0, rel=1e-6)
    assert "onnxruntime-fp32" in by_stored["estimate"]["scaled_by"]


def test_a_budget_that_binds_nothing_is_said_of_any_table(run: Run) -> None:
    estimated(run)
    write_latency_table(latency_table(), Path("measured.json"))
    for name in (NAME, "measured.json"):
        slowest_ms = load_latency_table(
            home() / "latency" / f"{NAME}.json" if name == NAME else Path(name)
        ).grid.extremes[1]
        said = (
            f"every network meets 40 ms; the slowest takes {slowest_ms:.3g} ms: ask for less, or for a larger"
        )
        choose = ("specialize", "--latency-table", name, "--latency")
        assert said in done(run(*choose, "40ms")).stderr
        assert "every network meets" not in done(run(*choose, f"{0.9 * slowest_ms}ms")).stderr
    engine = run("specialize", "--estimate", "orin-nano", "--space", "ponas", "--latency", "40ms", "--json")
    assert "every network meets 40 ms" in done(engine).stderr


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (("profile", "--estimate", "orin-nona"), 1, "unknown board 'orin-nona': known are agx-orin, h100"),
        (("profile", "--estimate", "nano", "--precision", "int8"), 1, "known are fp16, fp32"),
        (("profile", "--estimate", "nano", "--device", "cpu"), 1, "'cpu' is this machine"),
        (("profile", "--estimate", "nano", "--device", this_machine().name), 1, "is this machine"),
        (("profile", "--estimate", "nano", "--backend", "onnxruntime"), 2, "--backend: not with"),
        (("profile", "--scale-by", "x.csv"), 2, "name a board with"),
        (("specialize", "--scale-by", "x.csv", "--latency", "3ms"), 2, "name a board with"),
        (
            ("specialize", "--estimate", "nano", "--backend", "openvino", "--latency", "3ms"),
            2,
            "of no runtime",
        ),
    ],
)
def test_what_cannot_be_estimated_is_said(run: Run, command: tuple[str, ...], code: int, words: str) -> None:
    result = run(*command)
    assert (result.exit_code, words in result.output) == (code, True), result.output


def test_an_estimate_is_of_none_of_the_runtimes_that_the_book_names(run: Run, board: Entry) -> None:
    add_board(board.name, Board(command=(), backends=("tensorrt",)), overwrite=True)
    (made,) = estimated(run, "--device", board.name)["tables"]
    (found,) = serving(Target(board.name), SPACE)
    assert str(found.path) == made["path"]
    with pytest.raises(PonasError, match="is of backend estimate, not tensorrt"):
        serving(Target(board.name, "tensorrt"), SPACE)


def test_a_device_of_an_estimate_alone_is_shown_with_its_tables(run: Run) -> None:
    estimated(run)
    shown = done(run("devices", "show", "orin-nano"))
    assert NAME in shown.stdout
    assert MARK in words(shown)
    assert "`ponas devices add orin-nano --host user@address` adds it" in shown.stdout
    found = document(run("devices", "show", "orin-nano", "--json"))
    assert (found["board"], found["latency_tables"]) == (None, [NAME])
