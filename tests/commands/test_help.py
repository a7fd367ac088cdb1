"""Help texts: in groups, in 80 columns, with an example, and read before anything heavy is loaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from test_commands import ROOT, every_command
from typer.testing import CliRunner

from ponas_deploy.commands import app
from ponas_deploy.commands.help_text import CHOOSE, FEW, GROUPS, LOOK, MEASURE, TRAIN, UNDERSTAND

COMMANDS = every_command(typer.main.get_command(app))


def help_of(*path: str, columns: int = 80) -> str:
    found = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": str(columns)}, prog_name="ponas")
    assert found.exit_code == 0
    return found.stdout


def sections(text: str) -> dict[str, list[str]]:
    """The lines below each title that stands at the left."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if re.fullmatch(r"\S.*:", line):
            found[line[:-1]] = []
        elif found and line:
            list(found.values())[-1].append(line)
    return found


def options_of(lines: list[str]) -> list[str]:
    return [line.split()[0].rstrip(",") for line in lines if re.match(r"  -", line)]


@pytest.mark.parametrize(("path", "columns"), [*((path, 80) for path in COMMANDS), (("specialize",), 160)])
def test_no_line_is_wider_than_the_terminal(path: tuple[str, ...], columns: int) -> None:
    wide = [line for line in help_of(*path, columns=columns).splitlines() if len(line) > columns]
    assert wide == []


def test_specialize_has_its_options_in_five_groups() -> None:
    found = sections(help_of("specialize"))
    assert list(found) == [name for name in GROUPS if name != "Training"]
    assert options_of(found["Budget and limits"])[:2] == ["--latency", "--fps"]
    assert "--backend" in options_of(found["Device and runtime"])
    assert "--accuracy-table" in options_of(found["Tables and space"])
    assert "--weights" in options_of(found["Weights and images"])
    assert options_of(found["Effort and output"])[-2:] == ["--json", "-h"]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_stands_in_one_group(path: tuple[str, ...]) -> None:
    """Many options in groups; few ones in one list."""
    command: Any = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    options = [one.opts[0] for one in command.params if one.param_type_name == "option"]
    found = sections(help_of(*path))
    groups = [name for name in found if name in (*GROUPS, "Options")]
    assert sorted(name for group in groups for name in options_of(found[group])) == sorted([*options, "-h"])
    assert (groups == ["Options"]) == (len(options) <= FEW)
    assert len(groups) != 1 or groups == ["Options"], "one group is none"


def test_commands_stand_in_groups_and_each_says_its_first_sentence() -> None:
    text = help_of()
    found = sections(text)
    assert [name for name in found if name != "Options"] == [LOOK, MEASURE, CHOOSE, UNDERSTAND, TRAIN]
    listed = re.findall(r"^  ([a-z]+) ", text.partition(f"{LOOK}:")[2], re.MULTILINE)
    assert set(listed) == {path[0] for path in COMMANDS if path}
    assert len(listed) == len(set(listed))
    assert "..." not in text.partition(f"{LOOK}:")[2]
    assert "with --device emit an engine measured to meet it." in " ".join(text.split())


def complete(shell: str, typed: str, **more: str) -> str:
    """What the program answers a shell that asks how a line goes on."""
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_TYPER_COMPLETE_ARGS": typed}
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py")],
        env={**os.environ, **asked, "_PONAS_COMPLETE": f"complete_{shell}", **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_a_shell_is_given_the_script_that_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where the tests run under no shell, none is found.
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "/bin/bash"))
    script = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="ponas")
    assert script.exit_code == 0
    assert "_PONAS_COMPLETE=complete_bash" in script.stdout
    sourced = subprocess.run(
        ["bash", "-n"], input=script.stdout, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (sourced.returncode, sourced.stderr) == (0, "")
