"""`ponas train --space`: any space by its name, in everything that a run leaves behind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import known, one_thread, space
from typer.testing import CliRunner

import searchspace.spaces.registry
from ponas_deploy.commands import app
from ponas_deploy.files.weights import read_header
from ponas_deploy.tables.files import load_accuracy_table
from searchspace.space import Space
from train.files import read_status

BRIEF = ("meta.epochs=1", "meta.batch=16", "fine_tune.epochs=1", "fine_tune.batch=16", "workers=1")
SETS = [part for pair in BRIEF for part in ("--set", pair)]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    known(monkeypatch)
    monkeypatch.chdir(tmp_path)
    with one_thread():
        yield


def test_a_run_in_another_space_says_so_everywhere(tmp_path: Path) -> None:
    given = ["train", "--data", "blobs", "--space", "tiny", "--preset", "quick", "--device", "cpu", *SETS]
    done = CliRunner().invoke(app, given, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    folder = tmp_path / "runs" / "blobs-tiny-quick"
    assert json.loads((folder / "run.json").read_text())["settings"]["space"] == "tiny"
    assert read_header(folder / "weights.safetensors")["space"] == "tiny"
    table = load_accuracy_table(folder / "accuracy.json")
    assert table.space is not None
    assert (table.space.name, table.space.fingerprint) == ("tiny", space().fingerprint)
    shown = CliRunner().invoke(app, ["train", "status", str(folder), "--json"], catch_exceptions=False)
    assert "--space tiny" in json.loads(shown.stdout)["command"]


def test_a_run_that_names_no_space_is_one_of_ponas(tmp_path: Path) -> None:
    settings = {"data": "digits", "seed": 0, "meta.epochs": 2}
    document = {"format": "ponas.training-run/1", "settings": settings}
    (tmp_path / "run.json").write_text(json.dumps(document))
    found = read_status(tmp_path)
    assert found.settings == ("meta.epochs=2",)


def test_an_unknown_space_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["train", "--data", "blobs", "--space", "huge", "--device", "cpu"])
    assert done.exit_code == 1
    assert re.search(r"unknown space 'huge': known are .*ponas, .*tiny", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_space_of_another_name_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(resolution: int = 16, classes: int = 3) -> Space:
        tiny = space(resolution, classes)
        return Space("other", tiny.stem, tiny.layers, tiny.head, resolution, classes)

    monkeypatch.setitem(searchspace.spaces.registry.SPACES, "other", other)
    given = ["train", "--data", "blobs", "--out", "run", "--device", "cpu", *SETS]
    assert CliRunner().invoke(app, [*given, "--space", "tiny"]).exit_code == 0
    done = CliRunner().invoke(app, [*given, "--space", "other"])
    assert done.exit_code == 1
    assert "space was tiny, now other" in done.stderr
