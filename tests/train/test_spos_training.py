"""`ponas train` in a SPOS space, and training networks of these spaces further."""
# ruff: noqa: E402

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import known, one_thread

from ponas_deploy.commands import app
from ponas_deploy.files.weights import read_weights
from ponas_deploy.tables.files import load_accuracy_table
from searchspace import build_space, parse_architecture
from train.files import read_status

SETTINGS = (
    "single_path.epochs=1",
    "single_path.first_epochs=1",
    "single_path.imitation_epochs=1",
    "single_path.batch=16",
    "single_path.networks=20",
    "workers=1",
)


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    with one_thread():
        yield


def said(*arguments: object) -> dict[str, Any]:
    """What a command prints with --json."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def trained(folder: Path) -> dict[str, Any]:
    settings = [part for pair in SETTINGS for part in ("--set", pair)]
    given = ["train", "--data", "blobs", "--space", "spos-shufflenet", "--preset", "quick", "--device", "cpu"]
    return said(*given, "--out", folder, *settings)


@cache
def _run() -> Path:
    folder = Path(mkdtemp()) / "run"
    trained(folder)
    return folder


@pytest.fixture
def run() -> Path:
    """A finished run."""
    return _run()


def specialized(arch: str, out: Path, *options: object) -> dict[str, Any]:
    given = ["train", "specialized", arch, "--data", "blobs", "--device", "cpu", "--out", out]
    return said(*given, "--epochs", 1, "--batch", 16, *options)


def test_the_command_ends_with_a_table_and_a_supernet(run: Path) -> None:
    again = trained(run)  # a finished run is read
    assert again["meta"] is None
    table = load_accuracy_table(Path(again["accuracy_table"]))
    assert table.space is not None
    assert table.space.name == "spos-shufflenet"
    assert len(again["best"]) == 20
    file = read_weights(Path(again["weights"]))
    file.inherited(parse_architecture("SPOS-MMRAZOR", build_space("spos-shufflenet", 16, 3)))
    status = read_status(run)
    assert status.stage == "done"
    assert "single_path.epochs=1" in status.settings


def test_a_supernet_of_paths_has_no_progressive_table(run: Path) -> None:
    given = ["train", "table", "--run", str(run), "--device", "cpu", "--method", "progressive"]
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code == 1
    assert "because its layers were not fine-tuned one after the other" in refused.stderr


@pytest.mark.parametrize("arch", ["SPOS-PAPER", "SPOS-ANGLENAS"])
def test_a_published_network_trains_from_scratch(tmp_path: Path, arch: str) -> None:
    result = specialized(arch, tmp_path / "run")
    assert read_weights(Path(result["weights"])).metadata["layout"] == "network"


def test_a_network_of_a_yaml_file_inherits_and_learns_from_a_teacher(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs the yaml extra")
    yaml = CliRunner().invoke(app, ["describe", "SPOS-MMRAZOR", "--yaml"], catch_exceptions=False)
    (tmp_path / "fix_subnet.yaml").write_text(yaml.stdout)
    teacher = specialized("SPOS-PAPER", tmp_path / "teacher")["weights"]
    inherited = ("--weights", run / "weights.safetensors")
    result = specialized(
        str(tmp_path / "fix_subnet.yaml"), tmp_path / "run", *inherited, "--distill", teacher
    )
    assert (
        tuple(result["choices"]) == parse_architecture("SPOS-MMRAZOR", build_space("spos-shufflenet")).choices
    )
    assert result["inherited"]["file"] == "weights.safetensors"
    assert result["training"]["distillation"]["temperature"] == 4
