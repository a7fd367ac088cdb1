"""The one writer and the one reader: a file is whole or it is not there, and an error says where."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ponas_deploy.errors import FileFormatError, OverwriteError, PonasError
from ponas_deploy.files.records import Faults, in_words, sha256, to_json, write_bytes, write_json

KIND = "ponas.test/2"


def only_file(path: Path) -> bytes:
    """The content of a file that stands alone in its folder: nothing temporary was left behind."""
    assert os.listdir(path.parent) == [path.name]
    return path.read_bytes()


def test_an_existing_file_is_kept_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    write_bytes(path, b"old")
    with pytest.raises(OverwriteError, match=r"one\.json exists already.*--force"):
        write_bytes(path, b"new")
    assert only_file(path) == b"old"
    write_bytes(path, b"new", overwrite=True)
    assert only_file(path) == b"new"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_a_value_that_json_lacks_leaves_the_old_file(tmp_path: Path, value: object) -> None:
    path = tmp_path / "one.json"
    write_bytes(path, b"old")
    with pytest.raises((ValueError, TypeError)):
        write_json(path, KIND, {"fine": 1, "bad": value}, overwrite=True)
    assert only_file(path) == b"old"


LIMITED = """
import resource, signal, sys
from pathlib import Path
from ponas_deploy.errors import PonasError
from ponas_deploy.files.records import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), b"x" * 100_000, overwrite=True)
except PonasError as error:
    print(error)
"""


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    write_bytes(path, b"old")
    done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path} cannot be written: ")
    assert only_file(path) == b"old"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PonasError, match=r"file/one\.json cannot be written"):
        write_bytes(tmp_path / "file" / "one.json", b"new")


FOREVER = """
import sys
from pathlib import Path
from ponas_deploy.files.records import write_json
for count in range(10**9):
    write_json(Path(sys.argv[1]), "ponas.test/2", {"values": [count] * 50_000}, overwrite=True)
    print(count, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_in_the_middle_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    for delay in (0.0, 0.01, 0.03):
        writer = subprocess.Popen([sys.executable, "-c", FOREVER, path], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        with writer:
            writer.stdout.readline()
            time.sleep(delay)
            writer.kill()
        assert len(set(json.loads(path.read_text())["values"])) == 1


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_faults_are_gathered_and_the_first_one_is_raised() -> None:
    faults = Faults()

    def fail() -> str:
        raise FileFormatError("t.json", "a[1]", "is wrong.")

    assert faults.attempt(fail, "instead") == "instead"
    assert faults.attempt(lambda: "read", "instead") == "read"
    faults.add(FileFormatError("t.json", "b", "is wrong too."))
    assert [fault.where for fault in faults.found] == ["a[1]", "b"]
    with pytest.raises(FileFormatError, match=r"a\[1\]"):
        faults.refuse()


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "null"), (True, "true"), ([1], "a list"), ({}, "an object"), (1.5, "1.5"), ("a\x1b", r"'a\x1b'")],
)
def test_a_value_of_a_file_in_words(value: object, words: str) -> None:
    assert in_words(value) == words


def test_json_is_readable_and_whole_again() -> None:
    document = {"a": [1, 2], "b": [{"c": "é"}], "d": {}, "e": [], "f": None, "g": [[1], [2]]}
    text = to_json(document)
    assert json.loads(text) == document
    assert '"a": [1, 2]' in text


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    path = write(tmp_path / "t", "abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
