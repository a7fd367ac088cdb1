"""`ponas profile`: time in words, from a prior, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ponas_deploy.commands import app
from ponas_deploy.commands.quantities import parse_duration
from ponas_deploy.errors import UnknownNameError
from ponas_deploy.profiling.tables import accuracy_of, to_go_on
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measured_how import PriorSummary
from ponas_deploy.tables.store import SHIPPED
from searchspace import Space, build_space

PRIOR = "amd-epyc-2c/openvino-bf16-t1-b1-ponas-224px-1000c"


def test_a_prior_gives_a_certified_table_in_seconds() -> None:
    pytest.importorskip("onnxruntime")
    options = ["--backend", "onnxruntime", "--resolution", "32", "--time", "5s", "--measurements", "10"]
    done = CliRunner().invoke(app, ["profile", *options, "--prior", PRIOR, "--json"])
    assert done.exit_code == 0, done.output
    (made,) = json.loads(done.stdout)["tables"]
    assert made["prior"]["prior"] == PRIOR
    assert made["prior"]["prior_conditions"] == "amd-epyc-2c, openvino bf16, 1 thread, batch 1"
    assert made["reached"]["cells"] == 0
    assert made["reached"]["networks_pct"] > 0
    assert 0 < made["mean_error_pct"] < made["error_bound_pct"]
    assert "whole networks ±" in done.stderr
    table = load_latency_table(Path(made["path"]))
    assert table.correction is not None
    assert table.certificate is not None
    assert (len(table.correction.networks), len(table.certificate.networks) >= 12) == (10, True)
    again = CliRunner().invoke(app, ["profile", "--space", "ponas", *options[:-2], "--json"])
    assert again.exit_code == 0
    assert json.loads(again.stdout)["tables"] == [made], "a full profile replaces it only with --force"
    checked = CliRunner().invoke(app, ["table", "check", made["path"], "--json"])
    (file,) = json.loads(checked.stdout)["files"]
    errors = {one["about"] for one in file["findings"] if one["severity"] == "error"}
    assert errors <= {"certificate"}, "a busy machine makes a bad one"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--time", "3"), "'3' is too short for a certified table: ask for 5s or more"),
        (("--time", "20parsecs"), "unknown unit 'parsecs'"),
        (("--time", "soon"), "not a time such as 20s, 2min"),
        (("--measurements", "12"), "name one with --prior"),
    ],
)
def test_what_cannot_be_is_a_usage_error_in_words(options: tuple[str, ...], words: str) -> None:
    done = CliRunner().invoke(app, ["profile", *options])
    assert done.exit_code == 2
    assert words in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize("command", [("specialize", "--device", "cpu"), ("table", "recheck")])
def test_other_times_of_measuring_are_read_in_the_same_way(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*command, "--time", "2500ms"])
    assert done.exit_code == 2
    assert "'2500ms' is too short for" in " ".join(done.output.replace("│", " ").split())


def test_a_prior_of_another_space_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("layer,candidate,latency_ms\n1,a,0.5\n1,b,0.7\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["profile", "--backend", "onnxruntime", "--prior", str(other)])
    assert done.exit_code == 1
    assert "20 in space 'ofa-mbv3'" in done.stderr
    few = CliRunner().invoke(app, ["profile", "--prior", PRIOR, "--measurements", "5"])
    assert few.exit_code == 1
    assert "5 measurements beside a prior: ask for 10 to 50" in few.stderr
    unknown = CliRunner().invoke(app, ["profile", "--prior", "nowhere/table"])
    assert unknown.exit_code == 1
    assert "nowhere/table" in unknown.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("20s", 20), ("20", 20), ("2min", 120), ("1.5h", 5400), (75.0, 75)]
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5", "0", "5 parsecs", "nan"])
def test_no_durations(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_duration(text)


def test_what_is_kept_and_what_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    assert to_go_on(path, from_prior=False) == (None, False)
    table = load_latency_table(SHIPPED / "latency" / f"{PRIOR}.json")

    def kept(stopped_by: str, prior: PriorSummary | None = None, *, from_prior: bool) -> str:
        protocol = replace(table.protocol, stopped_by=stopped_by, prior=prior)
        write_latency_table(replace(table, protocol=protocol), path, overwrite=True)
        notes = list[str]()
        found, further = to_go_on(path, from_prior=from_prior, on_note=notes.append)
        assert (found is None) == further
        return "".join(notes)

    assert kept("time", from_prior=False) == ""
    assert "has all its rounds and is kept (--force" in kept("rounds", from_prior=False)
    assert "which no prior betters" in kept("time", from_prior=True)
    made = PriorSummary("there/table", "ab" * 32, 24)
    assert kept("time", made, from_prior=True) == ""
    assert "was made from the prior there/table" in kept("time", made, from_prior=False)


def test_the_accuracy_table_is_the_one_named_or_the_spaces_own(tiny: Space) -> None:
    assert accuracy_of(build_space("ponas")) == SHIPPED / "accuracy" / "ponas.json"
    assert accuracy_of(build_space("ponas"), "ponas-digits") == SHIPPED / "accuracy" / "ponas-digits.json"
    assert accuracy_of(tiny) is None
    with pytest.raises(UnknownNameError):
        accuracy_of(tiny, "nobody")
