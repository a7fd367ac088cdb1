"""Transfers in processes of their own, killed at every moment asked for and then finished; prints exit codes.

transfer_child.py FOLDER      a folder a moment, and `unbroken`; the supernet is FOLDER/supernet.safetensors
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_elastic
from forked import child, die, ended
from tiny_training import one_thread
from typer.testing import CliRunner

from ponas_deploy.commands import app
from ponas_deploy.files.journal import Journal

MOMENTS = (("files", 2), ("files", 4), ("files", 5), ("files", 6), ("files", 7), ("entries", 12))
"""Before a file of that number gets its name: states after epochs, the weights, networks, the table."""
ASKED = (
    *("--resolution", 16, "--head-epochs", 2, "--head-lr", 0.3, "--epochs", 2, "--lr", 0.3, "--batch", 16),
    *("--networks", 24, "--seed", 3, "--device", "cpu"),
)


def transferred(supernet: Path, folder: Path) -> None:
    arguments = ["train", "transfer", "--data", "blobs", "--weights", supernet, *ASKED, "--out", folder]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)


def killed(supernet: Path, folder: Path, where: str, number: int) -> None:
    """Transfer until the moment comes."""
    seen, replace, append = {"files": 0, "entries": 0}, os.replace, Journal.append

    def count(what: str) -> None:
        seen[what] += 1
        if (what, seen[what]) == (where, number):
            die()

    def renamed(*paths: Any) -> None:
        count("files")
        replace(*paths)

    def appended(journal: Journal, entry: Any) -> None:
        count("entries")
        append(journal, entry)

    os.replace = renamed
    Journal.append = appended  # type: ignore[method-assign]
    transferred(supernet, folder)


def main(folder: Path) -> None:
    tiny_elastic.known(pytest.MonkeyPatch())
    supernet = folder / "supernet.safetensors"
    with one_thread():
        first = [child(lambda m=m: killed(supernet, folder / named(*m), *m)) for m in MOMENTS]
        died = [ended(pid) for pid in first]
        second = [child(lambda m=m: transferred(supernet, folder / named(*m))) for m in MOMENTS]
        whole = child(lambda: transferred(supernet, folder / "unbroken"))
        print(json.dumps([died, [ended(pid) for pid in (*second, whole)]]))


def named(where: str, number: int) -> str:
    """The folder of a moment."""
    return f"{where}-{number}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
