"""Boards whose system is another one than this machine's: what they say of themselves, and what they lack."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_board import Place, becomes, masked, refuse_without_namespaces
from typer.testing import CliRunner

from conftest import tiny_space
from faulty_worker import quick_request
from ponas_deploy.boards.book import Board, Entry, add_board
from ponas_deploy.commands.app import app
from ponas_deploy.errors import BackendError
from ponas_deploy.profiling.on_board import profile_on_board
from ponas_deploy.profiling.staleness import differences
from ponas_deploy.remote.place import place_on
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.store import StoredTable
from searchspace import SPACES, Space

HOSTILE = "ARM \x1b]0;owned\x07\x1b[31m[bold red]v8[/nothing] {x} %s \u202e"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The board's folder; at the end nothing runs there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    place = Place(tmp_path / ".cache" / "ponas")
    yield place
    assert becomes(lambda: not place.processes()), place.processes()


def profiled(space: Space, folder: Path, board: Board) -> StoredTable:
    folder.mkdir()
    quick = quick_request(space, folder)
    request = replace(quick, conditions=replace(quick.conditions, device="box", backend="fake"))
    with place_on(Entry("box", board), "test") as there:
        profile_on_board(request, there)
    return StoredTable(request.table, load_latency_table(request.table))


def test_what_a_board_calls_itself_is_shown_and_not_obeyed(tiny: Space, tmp_path: Path) -> None:
    refuse_without_namespaces()
    named = "".join(f"{key}\t: {HOSTILE}\n" for key in ("processor", "model name", "Hardware", "vendor_id"))
    words = masked(tmp_path, {"/proc/cpuinfo": named, "/etc/os-release": f'PRETTY_NAME="{HOSTILE}"\n'})
    board = Board(command=words, python=sys.executable)
    add_board("box", board)
    stored = profiled(tiny, tmp_path / "out", board)
    assert "v8[/nothing]" in dict(stored.table.environment)["processor"]
    for command in (
        ("devices", "test", "box"),
        ("devices", "show", "box"),
        ("devices", "show", "box", "--json"),
        ("table", "show", str(stored.path)),
        ("table", "check", str(stored.path)),
    ):
        done = CliRunner().invoke(app, list(command))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        unseen = {"\x1b", "\x07"} if "--json" in command else {"\x1b", "\x07", "\u202e"}
        assert not unseen & set(done.output), command
        assert "[bold red]v8[/nothing]" in done.output or command[0] == "table"


def test_another_power_mode_makes_a_table_of_a_board_stale(tiny: Space, tmp_path: Path) -> None:
    refuse_without_namespaces()

    def in_mode(number: int) -> Board:
        words = masked(tmp_path, {"/var/lib/nvpmodel/status": f"pmode:000{number}\n"})
        return Board(command=words, python=sys.executable)

    stored = profiled(tiny, tmp_path / "out", in_mode(2))
    assert dict(stored.table.environment)["power_mode"] == "nvpmodel 2"
    for number in (2, 0):
        with place_on(Entry("box", in_mode(number)), "test") as there:
            found = [(one.what, one.made, one.here) for one in differences(stored, there)]
            assert found == ([] if number == 2 else [("power_mode", "nvpmodel 2", "nvpmodel 0")])


def test_a_home_of_any_name_will_do(tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "a b;'\"$(touch x)`touch y`&|*[1]\\ é\n"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    stored = profiled(tiny, tmp_path / "out", Board(command=(), python=sys.executable))
    assert stored.table.certificate is not None
    assert sorted(os.listdir(tmp_path)) == sorted([home.name, "home", "out"])
    assert (home / ".cache" / "ponas" / "lock").exists()
    assert not Place(home / ".cache" / "ponas").processes()


@pytest.mark.skipif(
    not os.environ.get("PONAS_TEST_ROOT"),
    reason="PONAS_TEST_ROOT names no root file system of a board (test_pack.py says how one is made)",
)
def test_a_board_without_a_runtime_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/tmp")
    board = Board(command=("chroot", os.environ["PONAS_TEST_ROOT"]), python="/usr/bin/python3")
    with place_on(Entry("old", board), "test") as there:
        about = there.about(["onnxruntime", "openvino"])
        assert about.cores >= 1
        assert "python" in dict(about.machine)
        assert all("No module named" in one.problem for one in about.runtimes)
        with pytest.raises(BackendError, match=r"onnxruntime: on old: .*No module named"):
            there.backend("onnxruntime").environment()
