"""What a machine cannot give, and what is known beforehand, is said before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ponas_deploy.commands.app import app
from ponas_deploy.engines.deployment import export
from ponas_deploy.errors import PonasError
from ponas_deploy.machines import machine
from ponas_deploy.machines.machine import this_machine, threads_fault
from ponas_deploy.profiling.inventory import Target, local_conditions
from ponas_deploy.profiling.trial import middle
from ponas_deploy.tables.latency import Conditions
from searchspace.space import Space

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
