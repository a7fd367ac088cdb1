"""An engine folder is checked against what can be compared, not against what it says of itself."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from conftest import tiny_space
from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.fake import ENGINE
from ponas_deploy.checks.engine import Verification, verify
from ponas_deploy.commands import app
from ponas_deploy.commands.reports.engine import verification_report
from ponas_deploy.engines import timing
from ponas_deploy.engines.emit import build, emit, refuse_existing
from ponas_deploy.engines.loop import build_and_measure, random_source
from ponas_deploy.engines.manifest import MANIFEST, MODEL, Manifest
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.timing import EngineTiming, time_engine
from ponas_deploy.errors import FileFormatError, OverwriteError, PonasError
from ponas_deploy.files.home import home
from ponas_deploy.files.records import write_bytes
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.tables.latency import Conditions
from searchspace import SPACES, Architecture
from searchspace.graph import network_model
from searchspace.space import Space
from searchspace.weights import random_weights

CONDITIONS = Conditions(this_machine().name, "fake", "fp32", 1, 1)


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    monkeypatch.setattr(timing, "PROCESSES", 2)


def network(place: int = 0, space: Space | None = None) -> Architecture:
    """The network that takes candidate `place` in every layer."""
    space = space or tiny_space()
    return Architecture(space, tuple(layer.labels[place] for layer in space.layers))


def onnx_of(architecture: Architecture, batch: int = 1, spoilt: bool = False) -> bytes:
    weights = random_weights(architecture)
    if spoilt:
        weights["head.classifier.bias"] = np.full_like(weights["head.classifier.bias"], np.nan)
    return network_model(architecture, weights, batch).SerializeToString()


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A built engine that claims a measurement."""
    architecture = network()
    claimed = EngineTiming(((1000, 1100), (1050, 1200)))
    manifest = replace(
        Manifest.of(architecture, CONDITIONS, "random", "2026-01-01"), engine_file=ENGINE, measured=claimed
    )
    folder = tmp_path / "engine"
    emit(manifest, folder, lambda to: void(build(architecture, random_weights(architecture), CONDITIONS, to)))
    return folder


@pytest.fixture
def portable(tmp_path: Path) -> Path:
    """A network for another device, where it is still to be built."""
    manifest = Manifest.of(network(), replace(CONDITIONS, backend="tensorrt"), "random", "2026-01-01")
    emit(manifest, tmp_path / "portable", lambda to: write_bytes(to / MODEL, onnx_of(network())))
    return tmp_path / "portable"


def void(_: object) -> None:
    pass


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    change(document)
    (folder / MANIFEST).write_text(json.dumps(document))


def put(folder: Path, name: str, content: bytes) -> None:
    """Replace a file, and what the manifest says of it."""
    (folder / name).write_bytes(content)
    entry = {"name": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    rewrite(
        folder, lambda d: d.update(files=[entry if file["name"] == name else file for file in d["files"]])
    )


# The fresh process that times


def test_no_module_in_the_users_folder_reaches_the_timing(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for name in ("json", "numpy", "onnx", "ponas_deploy", "sitecustomize"):
        Path(f"{name}.py").write_text("raise SystemExit('a stray module')")
    for path in (sys.path, ["", *sys.path], [str(Path.cwd()), *sys.path]):
        monkeypatch.setattr(sys, "path", path)
        assert time_engine(engine / ENGINE, "fake", RunSettings()).runs >= 60


def test_an_engine_is_timed_by_a_relative_path_and_from_a_checkout(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(timing.__file__).parent.parent
    monkeypatch.setattr(sys, "path", ["", *(entry for entry in sys.path if Path(entry).resolve() != root)])
    monkeypatch.chdir(engine)
    assert time_engine(Path(ENGINE), "fake", RunSettings()).runs >= 60


# Where an engine may be put


def test_a_place_that_cannot_be_an_engine_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outer" / "empty").mkdir(parents=True)
    (tmp_path / "afile").write_text("years of work")
    monkeypatch.chdir(tmp_path / "outer" / "empty")

    def never(architecture: Architecture) -> dict[str, Any]:
        raise AssertionError("weights were made for an engine that has no place")

    source = replace(random_source(), tensors=never)
    for force in (False, True):
        for folder, reason in (
            (tmp_path / "afile", "is a file, an engine is a folder"),
            (Path("."), "is the current folder or one around it"),
            (Path(".."), "is the current folder or one around it"),
            (tmp_path / "outer" / "empty", "is the current folder or one around it"),
        ):
            with pytest.raises(PonasError, match=reason):
                build_and_measure(network(), source, CONDITIONS, folder, overwrite=force)
    assert (tmp_path / "afile").read_text() == "years of work"
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_is_replaced_only_when_that_was_asked_for(engine: Path, tmp_path: Path) -> None:
    with pytest.raises(OverwriteError):
        refuse_existing(engine, overwrite=False)
    refuse_existing(engine, overwrite=True)
    (tmp_path / "mine").mkdir()
    refuse_existing(tmp_path / "mine", overwrite=True)
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(PonasError, match="is not an engine folder"):
        refuse_existing(tmp_path / "mine", overwrite=True)


def test_an_engine_goes_where_a_link_points(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    manifest = Manifest.of(network(), CONDITIONS, "random", "2026-01-01")
    emit(manifest, tmp_path / "link", lambda to: write_bytes(to / MODEL, onnx_of(network())), overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / MANIFEST).is_file()


# What a manifest says of itself

FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "process is no list": (lambda d: d["measured"].update(processes_ns=[5]), r"measured.processes_ns\[0\]"),
    "process is empty": (lambda d: d["measured"].update(processes_ns=[[1], []]), r"processes_ns\[1\]"),
    "duration is text": (lambda d: d["measured"].update(processes_ns=[["a"]]), r"processes_ns\[0\].*'a'"),
    "duration is zero": (
        lambda d: d["measured"].update(processes_ns=[[0]]),
        r"processes_ns\[0\].*is 0, expected 1 or more",
    ),
    "duration is true": (lambda d: d["measured"].update(processes_ns=[[True]]), r"processes_ns\[0\]"),
    "duration is split": (lambda d: d["measured"].update(processes_ns=[[1.5]]), r"processes_ns\[0\]"),
    "duration is huge": (lambda d: d["measured"].update(processes_ns=[[10**400]]), r"processes_ns\[0\]"),
    "batch below one": (lambda d: d["conditions"].update(batch=-1), "conditions.batch: is -1"),
    "no threads": (lambda d: d["conditions"].update(threads=0), "conditions.threads: is 0"),
    "no files": (lambda d: d.update(files=[]), "files: does not list model.onnx"),
    "engine not listed": (
        lambda d: d.update(files=[f for f in d["files"] if f["name"] == MODEL]),
        "engine_file: is 'engine.fake.onnx', which 'files' does not list",
    ),
    "engine elsewhere": (lambda d: d.update(engine_file="../x"), r"engine_file: is '\.\./x'"),
    "file elsewhere": (lambda d: d["files"][0].update(name=".."), r"files\[0\].name: is '\.\.'"),
    "file without a name": (lambda d: d["files"][0].update(name=""), r"files\[0\].name: is ''"),
    "unknown space": (lambda d: d["space"].update(name="x"), "space.name: is 'x', known spaces are"),
    "another space": (lambda d: d["space"].update(fingerprint="0"), "space.fingerprint: is '0', but space"),
    "no resolution": (lambda d: d["space"].update(resolution=0), "space.resolution: is 0"),
    "no classes": (lambda d: d["space"].update(classes=-3), "space.classes: is -3"),
    "too few choices": (lambda d: d["choices"].pop(), "choices: do not fit the space"),
    "unknown choice": (lambda d: d.update(choices=["k9e9"] * 3), "choices: do not fit the space.*k9e9"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_manifest_that_cannot_be_true_is_refused_by_its_key(engine: Path, fault: str) -> None:
    change, words = FAULTS[fault]
    rewrite(engine, change)
    with pytest.raises(FileFormatError, match=words):
        read_manifest(engine)


def test_an_engine_that_the_manifest_hides_does_not_pass_unmeasured(engine: Path) -> None:
    rewrite(engine, lambda d: d.update(engine_file=""))
    with pytest.raises(FileFormatError, match=r"engine_file: is empty, but there is engine\.fake\.onnx"):
        verify(engine)
    rewrite(engine, lambda d: d.update(files=[f for f in d["files"] if f["name"] == MODEL]))
    with pytest.raises(FileFormatError, match=r"files: does not list engine\.fake\.onnx"):
        verify(engine)
    (engine / ENGINE).unlink()
    with pytest.raises(FileFormatError, match="engine_file: is empty, but there is 'measured'"):
        verify(engine)


# What verify compares


def shown(found: Verification) -> str:
    console = Console(width=110, record=True, file=StringIO())
    console.print(verification_report(found))
    return console.export_text()


def test_an_engine_as_it_was_emitted_passes_every_check(engine: Path) -> None:
    found = verify(engine)
    assert (found.passed, found.architecture_agrees, found.portable_answers) == (True, True, True)
    assert found.difference is not None
    assert found.timing is not None


def test_an_engine_of_another_device_is_run_here_where_somebody_asks_for_that_only(engine: Path) -> None:
    rewrite(engine, lambda d: d["conditions"].update(device="box"))
    found = verify(engine)
    assert (found.changed_files, found.architecture_agrees, found.portable_answers) == ((), True, True)
    assert (found.difference, found.timing, found.verdict) == (None, None, None)
    assert (found.passed, found.cannot_be_told) == (False, True)
    said = " ".join(shown(found).split())
    assert (
        "nothing is told of its outputs and its latency: 'box' is not this machine: `ponas devices add box"
        in said
    )
    assert CliRunner().invoke(app, ["verify", str(engine), "--layers"]).exit_code == 3
    assert verify(engine, here=True).timing is not None
    assert CliRunner().invoke(app, ["verify", str(engine), "--here"]).exit_code == 0


OTHERS: dict[str, Callable[[], bytes]] = {
    "kernel": lambda: onnx_of(network(1)),
    "expansion": lambda: onnx_of(network(2)),
    "resolution": lambda: onnx_of(network(space=tiny_space(resolution=48))),
    "classes": lambda: onnx_of(network(space=tiny_space(classes=11))),
    "batch": lambda: onnx_of(network(), batch=2),
    "no onnx": lambda: b"broken",
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_network_in_the_folder_is_a_failed_check(engine: Path, other: str) -> None:
    put(engine, MODEL, OTHERS[other]())
    put(engine, ENGINE, OTHERS[other]())
    found = verify(engine)
    assert (found.changed_files, found.architecture_agrees, found.passed) == ((), False, False)
    assert (found.difference, found.timing) == (None, None)
    row = next(line for line in shown(found).splitlines() if "architecture" in line)
    assert "another network's" in row
    assert "FAILED" in row


def test_choices_of_another_network_are_a_failed_check(portable: Path) -> None:
    rewrite(portable, lambda d: d.update(choices=list(network(3).choices)))
    assert verify(portable).architecture_agrees is False


def test_json_names_the_check_of_the_architecture(engine: Path) -> None:
    for place, agrees in ((0, True), (1, False)):
        put(engine, MODEL, onnx_of(network(place)))
        result = CliRunner().invoke(app, ["verify", str(engine), "--json"])
        assert json.loads(result.stdout)["architecture_agrees"] is agrees
        assert result.exit_code == (0 if agrees else 1)


def test_a_portable_network_is_run_though_nothing_is_measured(portable: Path) -> None:
    found = verify(portable)
    assert found.manifest.status.startswith("not built")
    assert (found.passed, found.architecture_agrees, found.portable_answers) == (True, True, True)
    assert (found.difference, found.timing) == (None, None)
    put(portable, MODEL, onnx_of(network(), spoilt=True))
    found = verify(portable)
    assert (found.passed, found.architecture_agrees, found.portable_answers) == (False, True, False)
    assert "not finite" in shown(found)
    (portable / MODEL).unlink()
    found = verify(portable)
    assert found.changed_files == (MODEL,)
    assert f"missing or changed: {MODEL}" in shown(found)
    assert "make it again with `ponas specialize` or `ponas export`" in " ".join(shown(found).split())


def test_an_engine_that_answers_nan_is_reported_in_json_too(engine: Path) -> None:
    put(engine, ENGINE, onnx_of(network(), spoilt=True))
    assert verify(engine).difference == float("inf")
    result = CliRunner().invoke(app, ["verify", str(engine), "--json"])
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["difference"], document["outputs_agree"], document["passed"]) == (None, False, False)


# The store


def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PONAS_HOME")
    default = home()
    monkeypatch.setenv("PONAS_HOME", "")
    assert home() == default
    assert default.is_absolute()
