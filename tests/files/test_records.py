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
from ponas_deploy.files.records import Faults, Record, read_json, sha256, to_json, write_bytes, write_json

KIND = "ponas.test/2"


def only_file(path: Path) -> bytes:
    """The content of a file that stands alone in its folder: nothing temporary was left behind."""
    assert os.listdir(path.parent) == [path.name]
    return path.read_bytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "below" / "one.json"
    write_json(path, KIND, {"text": "µs", "numbers": [1, 2.5], "nested": {"list": [{"a": 1}], "empty": {}}})
    record = read_json(path, KIND)
    assert next(iter(record.data)) == "format"
    assert record.text("text") == "µs"
    assert record.numbers("numbers") == (1, 2.5)
    assert [item.integer("a") for item in record.record("nested").records("list")] == [1]


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
        assert len(set(read_json(path, KIND).numbers("values"))) == 1


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.json, line 1 column 1: is not valid JSON"),
        ('{"format": "ponas.test/2",\n "a": [1,', r"t\.json, line 2 column 10: is not valid JSON"),
        ("[1]", r"t\.json: is a list, expected an object"),
        ("null", r"t\.json: is null, expected an object"),
        ('"a"', r"t\.json: is 'a', expected an object"),
        ("[" * 100_000, r"t\.json: is not JSON that can be read"),
        ('{"a": 1}', r"t\.json, format: is missing"),
        ('{"format": 2}', r"t\.json, format: is 2, expected text"),
        ('{"format": "ponas.other/1"}', r"t\.json, format: is 'ponas\.other/1', expected 'ponas\.test/2'"),
        ('{"format": "ponas.test/new"}', r"expected 'ponas\.test/2'"),
        (f'{{"format": "ponas.test/{"1" * 5000}"}}', r"format: is '[^ ]{,60}', expected 'ponas\.test/2'"),
        ('{"format": "ponas.test/\u0662"}', r"expected 'ponas\.test/2'"),
        ('{"format": "ponas.test/3"}', r"format: is version 3, this program reads up to 2: upgrade"),
    ],
)
def test_a_file_that_is_no_record_is_named_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read_json(write(tmp_path / "t.json", text), KIND)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"none\.json: there is no such file"):
        read_json(tmp_path / "none.json", KIND)
    with pytest.raises(FileFormatError, match=r"cannot be read"):
        read_json(tmp_path, KIND)
    (tmp_path / "binary.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FileFormatError, match=r"binary\.json, byte 7: is not text"):
        read_json(tmp_path / "binary.json", KIND)


def test_an_older_version_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", '{"format": "ponas.test/1", "a": 1}')
    assert read_json(path, KIND).integer("a") == 1


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", '\ufeff{"format": "ponas.test/1", "a": 1}')
    assert read_json(path, KIND).integer("a") == 1


def test_several_formats_may_be_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", '{"format": "ponas.test/1"}')
    assert read_json(path, "ponas.other/1", KIND).text("format") == "ponas.test/1"
    with pytest.raises(FileFormatError, match=r"expected 'ponas\.a/1' or 'ponas\.b/1'"):
        read_json(path, "ponas.a/1", "ponas.b/1")


RECORD = Record(
    Path("t.json"),
    "layers[2]",
    {
        "text": 1,
        "whole": 1.5,
        "flag": True,
        "number": "1",
        "huge": 10**400,
        "list": {},
        "null": None,
        "mixed": [1, "a", None],
    },
)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: RECORD.text("text"), "t.json, layers[2].text: is 1, expected text."),
        (lambda: RECORD.text("none"), "t.json, layers[2].none: is missing."),
        (lambda: RECORD.integer("whole"), "t.json, layers[2].whole: is 1.5, expected a whole number."),
        (lambda: RECORD.integer("flag"), "t.json, layers[2].flag: is true, expected a whole number."),
        (lambda: RECORD.number("number"), "t.json, layers[2].number: is '1', expected a finite number."),
        (lambda: RECORD.number("flag"), "t.json, layers[2].flag: is true, expected a finite number."),
        (lambda: RECORD.numbers("mixed"), "t.json, layers[2].mixed: holds 'a', expected finite numbers."),
        (lambda: RECORD.texts("mixed"), "t.json, layers[2].mixed: holds something that is not text."),
        (lambda: RECORD.text("null"), "t.json, layers[2].null: is null, expected text."),
        (lambda: RECORD.integer("text", least=2), "t.json, layers[2].text: is 1, expected 2 or more."),
        (lambda: RECORD.numbers("list"), "t.json, layers[2].list: is an object, expected a list."),
        (lambda: list(RECORD.records("mixed")), "t.json, layers[2].mixed[0]: is 1, expected an object."),
    ],
)
def test_a_value_of_another_type_is_named_with_its_key(read: object, message: str) -> None:
    with pytest.raises(FileFormatError) as error:
        read()  # type: ignore[operator]
    assert str(error.value) == message


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(FileFormatError, match="huge"):
        RECORD.number("huge")


def test_a_tolerant_reader_goes_on_and_names_all_faults() -> None:
    faults = Faults()
    assert [item.where for item in Record(Path("t"), "", {"a": [{}, 1, {}, "b"]}).records("a", faults)] == [
        "a[0]",
        "a[2]",
    ]
    assert faults.attempt(lambda: RECORD.text("text"), "instead") == "instead"
    assert [fault.where for fault in faults.found] == ["a[1]", "a[3]", "layers[2].text"]
    with pytest.raises(FileFormatError, match=r"a\[1\]"):
        faults.refuse()


def test_json_is_readable_and_whole_again() -> None:
    document = {"a": [1, 2], "b": [{"c": "é"}], "d": {}, "e": [], "f": None, "g": [[1], [2]]}
    text = to_json(document)
    assert json.loads(text) == document
    assert '"a": [1, 2]' in text


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    path = write(tmp_path / "t", "abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
