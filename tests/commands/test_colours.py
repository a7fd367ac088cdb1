"""Colours: none in a pipe and with NO_COLOR, and those of reports stand out from white and from black."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.color import Color
from test_commands import ROOT

from ponas_deploy.commands.reports.heat import _PALETTE
from ponas_deploy.commands.reports.plot import COLOURS
from ponas_deploy.commands.reports.style import WARN

TABLE = "amd-epyc-2c/onnxruntime-fp32-t1-b1-ponas-224px-1000c"
COLOURED = re.compile(rb"\x1b\[[\d;]*(?:3[0-8]|4[0-8])[\d;]*m")


def on_a_terminal(*arguments: str, columns: int = 80, **environment: str) -> bytes:
    """What a command writes to a terminal of its own."""
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    return run_on_a_terminal(command, columns, **environment)


def run_on_a_terminal(command: list[str], columns: int, **environment: str) -> bytes:
    """What a program writes to a terminal of its own."""
    pytest.importorskip("pty")
    script = f"import pty, sys; sys.exit(pty.spawn({command!r}) and 1)"
    unset = ("NO_COLOR", "COLUMNS", "PYTEST_XDIST_WORKER")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**kept, "TERM": "xterm-256color", "COLUMNS": str(columns), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_terminal_has_colours_and_none_with_no_color() -> None:
    assert COLOURED.search(on_a_terminal("table", "show", TABLE))
    plain = on_a_terminal("table", "show", TABLE, NO_COLOR="1")
    assert b"Latency in" in plain
    assert not COLOURED.search(plain)


@pytest.mark.parametrize("arguments", [("table", "show", TABLE), ("table", "show", "no-such"), ()])
def test_a_pipe_gets_no_escape_codes(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *arguments], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.stdout + done.stderr
    assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("columns", [80, 160])
def test_the_list_of_devices_fits_and_uses_the_terminal(columns: int) -> None:
    shown = on_a_terminal("devices", columns=columns, NO_COLOR="1").decode()
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= columns
    row = next(line for line in lines if TABLE in line)
    assert ("0.5 %" in row) == (columns == 160), "the figures of the certificate beside the name"


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """The contrast ratio of two colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: tuple[float, float, float]) -> float:
        shares = [value / 255 for value in colour]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", [WARN, *COLOURS])
def test_colours_stand_out_from_white_and_from_black(name: str) -> None:
    """A ratio of 3 is what WCAG asks of large text and of marks."""
    colour = Color.parse(name).get_truecolor()
    assert min(contrast(colour, (255, 255, 255)), contrast(colour, (0, 0, 0))) >= 3


@pytest.mark.parametrize("name", _PALETTE)
def test_numbers_of_a_heat_map_stand_out_from_their_cell(name: str) -> None:
    assert contrast(Color.parse(name).get_truecolor(), (0, 0, 0)) >= 7
