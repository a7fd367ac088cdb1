"""What a machine cannot give, and what is known beforehand, is said before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ponas_deploy.commands.app import app
from ponas_deploy.engines.export import export
from ponas_deploy.errors import PonasError
from ponas_deploy.files.weights import write_weights
from ponas_deploy.machines import machine
from ponas_deploy.machines.machine import this_machine, threads_fault
from ponas_deploy.profiling.making import local_conditions
from ponas_deploy.profiling.target import Target
from ponas_deploy.profiling.trial import middle
from ponas_deploy.tables.latency import Conditions
from searchspace import build_space, parse_architecture
from searchspace.space import Space
from searchspace.weights import random_weights

TOO_MANY = this_machine().cores + 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("profile",),
        ("specialize", "--device", "cpu", "--latency", "3ms"),
        ("specialize", "--device", this_machine().name, "--latency", "3ms"),
        ("networks", "--out", "measured.csv"),
        ("export", "PONAS-A"),
        ("table", "recheck"),
    ],
)
def test_more_threads_than_processors_are_wrong_usage(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*arguments, "--threads", str(TOO_MANY)])
    assert done.exit_code == 2
    said = " ".join(done.stderr.replace("│", " ").split())
    assert f"{TOO_MANY} threads were asked for, and this process may use" in said
    assert "(affinity " in said
    assert "--threads" in said


def test_the_library_refuses_them_too(tiny: Space, tmp_path: Path) -> None:
    conditions = Conditions(this_machine().name, "onnxruntime", "fp32", TOO_MANY, 1)
    for refused in (
        lambda: Target("cpu", threads=TOO_MANY),
        lambda: local_conditions("onnxruntime", None, TOO_MANY, 1),
        lambda: export(middle(tiny), conditions, out=tmp_path / "engine"),
    ):
        with pytest.raises(PonasError, match=f"{TOO_MANY} threads were asked for"):
            refused()  # type: ignore[no-untyped-call]
    assert Target("another-board", threads=64).threads == 64, "nobody here knows what that one has"


def test_the_numbers_are_affinity_and_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "own_cores", lambda: (0, 1, 2, 3))
    for quota, cores, words in (
        (1.5, 2, "2 processors (affinity 4, quota 1.5): ask for 2 or fewer."),
        (0.5, 1, "1 processor (affinity 4, quota 0.5): ask for 1 or fewer."),
        (None, 4, "4 processors (affinity 4, no quota): ask for 4 or fewer."),
    ):
        here = replace(this_machine(), cores=cores, quota_cores=quota)
        monkeypatch.setattr(machine, "this_machine", lambda here=here: here)
        assert threads_fault(cores) == ""
        assert threads_fault(cores + 1).endswith(words)


@pytest.fixture
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*given: object, **named: object) -> None:
        raise AssertionError("a profile or a build was started")

    monkeypatch.setattr("ponas_deploy.profiling.tables_for.profile_stored", measured)
    monkeypatch.setattr("ponas_deploy.profiling.tables_for.trial", measured)
    monkeypatch.setattr("ponas_deploy.engines.loop.build", measured)


def weights_of(folder: Path, name: str) -> Path:
    """Weights of one published network, as safetensors that do not say which one it is."""
    architecture = parse_architecture(name, build_space("ponas", 32, 10))
    header = {"layout": "network", "space": "ponas", "resolution": "32", "classes": "10"}
    write_weights(folder / "one.safetensors", random_weights(architecture), header)
    return folder / "one.safetensors"


def refused(arguments: Sequence[str | Path], *words: str, exit_code: int = 1) -> None:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == exit_code, done.output
    said = " ".join(done.stderr.split())
    for one in words:
        assert one in said


@pytest.mark.usefixtures("nothing_is_measured")
def test_weights_of_one_network_are_no_supernets(tmp_path: Path) -> None:
    given = weights_of(tmp_path, "PONAS-A")
    refused(
        ["specialize", "--device", "cpu", "--latency", "60ms", "--weights", given],
        f"{given}: these are the weights of one network (PONAS-A), a search needs a supernet's:",
        f"`ponas export PONAS-A --weights {given}` builds it.",
    )
    write_weights(tmp_path / "other.safetensors", {"conv1.weight": np.ones(3, np.float32)}, {})
    refused(
        ["specialize", "--device", "cpu", "--latency", "60ms", "--weights", tmp_path / "other.safetensors"],
        "other.safetensors: these are not the weights of a supernet, which a search needs: name the",
    )
    refused(
        ["export", "PONAS-C", "--weights", given, "--out", tmp_path / "engine"],
        f"{given} holds the weights of PONAS-A, and PONAS-C was asked for",
    )


@pytest.mark.usefixtures("nothing_is_measured")
def test_a_checkpoint_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from authors_layout import theirs

    monkeypatch.chdir(tmp_path)
    torch.save(theirs("PONAS-B").state_dict(), "ponas_b.pth")
    asked = ["specialize", "--device", "cpu", "--latency", "60ms", "--weights", "ponas_b.pth"]
    refused(asked, "error: ponas_b.pth: these are the weights of one network (PONAS-B)")
    asked = ["export", "PONAS-A", "--weights", "ponas_b.pth", "--out", "engine"]
    refused(asked, "error: ponas_b.pth holds the weights of PONAS-B, and PONAS-A was asked for")


@pytest.mark.usefixtures("nothing_is_measured")
def test_what_no_table_can_make_possible_is_refused_first(tmp_path: Path) -> None:
    asked = ["specialize", "--device", "cpu"]
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "manifest.json").write_text("{}")
    partial = dict(random_weights(parse_architecture("PONAS-A", build_space("ponas", 32, 10))))
    partial["layers.1.k3e3.expand.conv.weight"] = np.zeros((96, 32, 1, 1), np.float32)
    supernet = {"layout": "supernet", "space": "ponas", "resolution": "32", "classes": "10", "data": "digits"}
    write_weights(tmp_path / "partial.safetensors", partial, supernet)
    for more, words in (
        ((), "no budget was given"),
        (("--latency", "3ms", "--params", "1k"), "no architecture meets 0.001 M parameters"),
        (("--latency", "3ms", "--method", "tabu"), "unknown method 'tabu'"),
        (("--latency", "3ms", "--precision", "fp3"), "unknown precision on this machine 'fp3'"),
        (("--latency", "3ms", "--backend", "onnx"), "unknown backend 'onnx'"),
        (("--latency", "3ms", "--accuracy-table", "nowhere"), "unknown table 'nowhere'"),
        (("--latency", "3ms", "--calibration", tmp_path / "no.npy"), "no.npy"),
        (("--latency", "3ms", "--weights", tmp_path / "no.safetensors"), "no.safetensors"),
        (("--latency", "3ms", "--out", tmp_path / "engine"), "exists already"),
        (
            ("--latency", "3ms", "--weights", tmp_path / "partial.safetensors"),
            "partial.safetensors: 'layers.1.k3e3.expand.conv.weight",
        ),
    ):
        refused([*asked, *map(str, more)], words)
