"""What is printed cannot command a terminal, whatever the names in a file are."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ponas_deploy.commands import app
from ponas_deploy.commands.output import begin, note, show
from ponas_deploy.tables.latency_file import write_latency_table
from sample_tables import latency_table
from searchspace import build_space


def test_a_report_shows_markup_and_escape_codes_as_they_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="[/x] :smile:")
    table.add_column("[red]a")
    table.add_row("\x1b]0;owned\x07 \u202e")
    show(table, Text("\x1b[2J"), "[bold]")
    note("one \x1b[31m\ntwo")
    found = capsys.readouterr()
    assert "\x1b" not in found.out + found.err
    assert "\u202e" not in found.out
    for text in ("[/x] :smile:", "[red]a", r"\x1b]0;owned", r"\u202e", r"\x1b[2J", "[bold]"):
        assert text in found.out
    assert found.err == "one \\x1b[31m\ntwo\n"


@pytest.mark.parametrize("command", [("table", "show"), ("table", "check"), ("table", "diff", "plain.json")])
def test_a_table_with_hostile_names_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = latency_table()
    assert plain.conditions is not None
    device = "[/x]\x1b]0;owned\x07\u202e"
    write_latency_table(plain, Path("plain.json"))
    table = replace(plain, conditions=replace(plain.conditions, device=device), environment=(("os", device),))
    write_latency_table(table, Path("hostile.json"))
    result = CliRunner().invoke(app, [*command, "hostile.json"])
    assert result.exit_code == 0, result.output
    assert not {"\x1b", "\x07", "\u202e"} & set(result.output)
    if command != ("table", "check"):
        assert r"[/x]\x1b]0;owned" in result.output
    shown = CliRunner().invoke(app, [*command, "hostile.json", "--json"])
    assert json.loads(shown.stdout)


def test_a_note_is_said_once_in_a_command_but_for_what_is_done_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        begin()
        for text in ("the table is old", "waiting ...") * 2:
            note(text)
    assert capsys.readouterr().err == "the table is old\nwaiting ...\nwaiting ...\n" * 2


def test_a_report_repeats_no_note_that_stands_above_it() -> None:
    said = (
        "from rich.console import Group; from rich.text import Text\n"
        "from ponas_deploy.commands.output import note, show\n"
        "note('the table is old'); show(Group(Text('the table is old'), Text('chosen: a network')))"
    )
    for stderr in (subprocess.STDOUT, subprocess.DEVNULL):
        found = subprocess.run(
            [sys.executable, "-c", said], stdout=subprocess.PIPE, stderr=stderr, check=True
        )
        assert found.stdout.decode().count("the table is old") == 1
        assert b"chosen: a network" in found.stdout


def test_what_is_there_to_be_copied_is_one_line_on_a_narrow_terminal() -> None:
    found = CliRunner().invoke(app, ["describe", "PONAS-A"], env={"COLUMNS": "80"})
    assert found.stdout.splitlines()[-1] == dict(build_space("ponas").published)["PONAS-A"]
