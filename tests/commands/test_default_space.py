"""Which search space a command works in without --space, and what is said of random weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ponas_deploy.checks.engine import verify
from ponas_deploy.commands.app import app
from ponas_deploy.engines import published_weights
from ponas_deploy.engines.loaded import load_engine
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.task import RANDOM_WEIGHTS
from ponas_deploy.errors import PonasError
from ponas_deploy.files.records import sha256
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling import tables_for
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables.architectures import named_by
from ponas_deploy.tables.chosen_space import chosen_space
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.named import accuracy_table
from ponas_deploy.tables.store import StoredTable
from searchspace import SPACES, SUMMARIES, build_space
from stored_tables import stored

OFA, PONAS = ",".join(["k3e4"] * 20), ",".join(["k3e6"] * 19)
SMALL = ("--resolution", "32", "--classes", "10")


def table_of(space: str, device: str = "jetson") -> StoredTable:
    """A stored latency table; a layer that is absent takes nothing."""
    built = build_space(space, 32, 10)
    values = [[float(bool(one.ops)) for one in layer.candidates] for layer in built.layers]
    return stored(built, device, grid=Grid.over(built, values))


def specialize(out: Path, *arguments: str) -> Result:
    given = ("specialize", "--device", "jetson", "--latency", "100%", "--out", str(out), *arguments)
    return CliRunner().invoke(app, given)


def said(result: Result) -> str:
    return " ".join(result.output.split())


def test_without_a_word_it_is_the_space_with_an_imagenet_table_and_the_output_says_why(
    tmp_path: Path,
) -> None:
    for space in ("ponas", "ofa-mbv3"):
        table_of(space)
    done = specialize(tmp_path / "engine", *SMALL)
    assert done.exit_code == 0, done.output
    why = f"ofa-mbv3: {SUMMARIES['ofa-mbv3']} (default; --space ponas for {SUMMARIES['ponas']})"
    assert f"search space {why}" in said(done)
    assert why in " ".join(done.stdout.split()), "in the report too"
    reported = " ".join(done.stdout.split())
    assert "trained weights: `ponas weights --space ofa-mbv3 --download`, then --weights FILE" in reported
    assert RANDOM_WEIGHTS in reported
    assert read_manifest(tmp_path / "engine").space.name == "ofa-mbv3"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--space", "ponas", *SMALL),
        ("--accuracy-table", "ponas-digits", *SMALL),
        ("--latency-table", "jetson/onnxruntime-fp32-t1-b1-ponas-32px-10c"),
    ],
)
def test_another_space_by_its_name_or_by_a_table_of_it(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    for space in ("ponas", "ofa-mbv3"):
        table_of(space)
    done = specialize(tmp_path / "engine", *arguments)
    assert done.exit_code == 0, done.output
    assert (read_manifest(tmp_path / "engine").space.name, "(default" in done.output) == ("ponas", False)


def test_weights_come_before_tables_and_must_be_for_the_space_that_is_asked_for() -> None:
    losses = accuracy_table("ofa-mbv3")
    assert chosen_space(None, "ponas", [None, losses]).name == "ponas"
    assert chosen_space("ofa-mbv3-w1.2", None, [losses]).name == "ofa-mbv3-w1.2"
    assert chosen_space(None, None, [None, replace(losses, space=None)]).name == "ofa-mbv3"
    with pytest.raises(PonasError, match="--space ofa-mbv3 was asked for, but the weights are for ponas"):
        chosen_space("ofa-mbv3", "ponas")
    assert SUMMARIES.keys() == SPACES.keys()


@pytest.mark.parametrize(
    ("labels", "space"),
    [
        (OFA, "ofa-mbv3"),
        (PONAS, "ponas"),
        ("ponas-a", "ponas"),
        (PONAS.replace("k3e6", "k9e6", 1), "ponas"),
        ("k3e4,k3e3se", "ofa-mbv3"),
        ("k3e6se," * 18, "ponas"),
        ("nothing", "ofa-mbv3"),
    ],
)
def test_an_architecture_says_its_space(tmp_path: Path, labels: str, space: str) -> None:
    assert named_by(labels).space == space
    if labels != "ponas-a":
        (tmp_path / "labels.json").write_text(json.dumps({"choices": labels.split(",")}))
        assert named_by(str(tmp_path / "labels.json")).space == space
    assert named_by(labels, "ofa-mbv3-w1.2").space == "ofa-mbv3-w1.2"


def test_tables_of_another_space_are_named_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table_of("ponas")
    refused = specialize(tmp_path / "engine", *SMALL)
    assert refused.exit_code == 1
    assert "is of space ponas, not ofa-mbv3" in said(refused)
    assert "and --space ponas takes those of that space" in said(refused)

    table_of("ponas", this_machine().name)
    notes = list[str]()
    monkeypatch.setattr(tables_for, "_worth_profiling", lambda *_: ())
    space, target = build_space("ofa-mbv3", 32, 10), Target("cpu", "onnxruntime")
    assert tables_for.tables_for(target, space, 5, on_note=notes.append) == ()
    assert "your tables of this machine are of another space: --space ponas takes them" in notes
    recheck = CliRunner().invoke(app, ["table", "recheck", *SMALL])
    assert recheck.exit_code == 1
    assert "and --space ponas takes those" in said(recheck)


def test_a_space_without_an_accuracy_table_says_what_can_be_done(tmp_path: Path) -> None:
    table = table_of("ofa-mbv3-w1.2").name
    for arguments in (
        ("specialize", "--device", "cpu", "--latency", "3ms", "--space", "ofa-mbv3-w1.2"),
        ("specialize", "--latency-table", table, "--latency", "3ms"),
        ("pareto", "--latency-table", table),
    ):
        refused = CliRunner().invoke(app, [*arguments])
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "space 'ofa-mbv3-w1.2' has no accuracy table of its own: name one with --acc" in said(refused)
        assert "`ponas table fit` makes one" in said(refused)


def test_downloaded_weights_are_offered_with_their_path() -> None:
    folder = published_weights.folder()
    folder.mkdir(parents=True)
    file = folder / published_weights.PUBLISHED["ofa-mbv3"].name
    file.write_bytes(b"weights")
    file.with_name(f"{file.name}.sha256").write_text(sha256(file))
    text = published_weights.trained_weights("ofa-mbv3")
    assert text.startswith(f"trained weights are downloaded already: --weights {file}")
    assert "`ponas train --space ponas` makes some" in published_weights.trained_weights("ponas")
    assert "`ponas train specialized FBNet-A` makes some" in published_weights.trained_weights("FBNet-A")


@pytest.mark.usefixtures("planted_clock")
def test_random_weights_are_said_wherever_the_engine_is_used(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "engine"
    asked = ("export", "k3e3,k3e3,k3e3", "--space", "tiny", *SMALL, "--backend", "onnxruntime")
    done = CliRunner().invoke(app, [*asked, "--out", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["trained"], document["warnings"][0]) == (False, RANDOM_WEIGHTS)
    assert json.loads((folder / "manifest.json").read_text())["trained"] is False
    assert verify(folder).warnings[0] == RANDOM_WEIGHTS
    with pytest.warns(UserWarning, match="the answers to images mean nothing"), load_engine(folder):
        pass
