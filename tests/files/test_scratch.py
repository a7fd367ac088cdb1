"""Temporary folders: gone with their owner, and those of a killed owner go with the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from ponas_deploy.files.scratch import Scratch, remove_abandoned

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from ponas_deploy.files.scratch import Scratch
with Scratch(Path({parent!r}), ".engine.") as folder:
    (Path(folder) / "model").write_text("x")
    print(folder, flush=True)
    time.sleep(600)
"""


def old(folder: Path) -> None:
    os.utime(folder, (1e9, 1e9))


def test_a_folder_goes_with_its_owner(tmp_path: Path) -> None:
    with Scratch(tmp_path, ".engine.") as name:
        assert Path(name).parent == tmp_path
        assert Path(name).name.startswith(".engine.ponas-scratch-")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_owner_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "ponas-scratch-notes.txt").write_text("somebody's file", encoding="utf-8")
    script = OWNER.format(root=str(ROOT), parent=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().decode().strip())
        old(folder)
        remove_abandoned(tmp_path)
        assert (folder / "model").exists(), "its owner lives"
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    with Scratch(tmp_path):
        assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["ponas-scratch-notes.txt"]


def test_a_young_folder_may_be_about_to_be_locked(tmp_path: Path) -> None:
    young = tmp_path / "ponas-scratch-abcdefgh"
    young.mkdir()
    remove_abandoned(tmp_path)
    assert young.exists()
    old(young)
    remove_abandoned(tmp_path)
    assert not young.exists()
