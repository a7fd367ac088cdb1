"""Documents: typed values that say where a file is wrong, and a history of versions."""

from __future__ import annotations

import json
import os
import socket
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from ponas_deploy.errors import FileFormatError, printable
from ponas_deploy.files.bounds import AboveZero, Threads, fault
from ponas_deploy.files.documents import Format, read_document, read_raw, write_document
from ponas_deploy.files.opening import read_bytes


@dataclass(frozen=True, slots=True)
class Cell:
    candidate: str
    latency_ms: AboveZero


@dataclass(frozen=True, slots=True)
class Sample:
    kind: Literal["a", "b"]
    threads: Threads
    cells: tuple[Cell, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    note: str | None = None


def renamed(document: dict[str, Any]) -> dict[str, Any]:
    return {("threads" if key == "cores" else key): value for key, value in document.items()}


SAMPLE = Format("ponas.sample", 3, Sample, (renamed, lambda document: {"kind": "a", **document}))
OTHER = Format("ponas.other", 1, Sample)
WHOLE = Sample("b", 2, (Cell("k3", 1.5), Cell("k5", 2)), {"macs": 1e9}, "µs")


def written(folder: Path, **changed: Any) -> Path:
    path = folder / "t.json"
    document = {"format": "ponas.sample/3", "kind": "a", "threads": 2, **changed}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "below" / "one.json"
    write_document(path, SAMPLE, WHOLE)
    assert read_document(path, SAMPLE) == WHOLE
    assert path.read_text(encoding="utf-8").startswith('{\n "format": "ponas.sample/3",\n "kind": "b",\n')


def test_older_versions_are_upgraded_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"format": "ponas.sample/1", "cores": 4}', encoding="utf-8")
    assert read_document(path, SAMPLE) == Sample("a", 4)
    path.write_text('{"format": "ponas.sample/2", "threads": 3}', encoding="utf-8")
    assert read_raw(path, OTHER, SAMPLE).part("threads", int) == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "ponas.sample/4"}, "format: is version 4, this program reads up to 3: upgrade"),
        ({"format": "ponas.sample/0"}, "format: is 'ponas.sample/0', expected 'ponas.sample/3'."),
        ({"format": ["x"]}, "format: is a list, expected text."),
        ({"kind": "c"}, "kind: is 'c', none of the values that are known here."),
        ({"threads": 0}, "threads: is 0, expected 1 or more."),
        ({"threads": 1_000_000}, "threads: is 1000000, expected 1024 or less."),
        ({"threads": True}, "threads: is true, expected a whole number."),
        ({"threads": 1.0}, "threads: is 1.0, expected a whole number."),
        ({"cells": {}}, "cells: is an object, expected a list."),
        ({"cells": [1]}, "cells[0]: is 1, expected an object."),
        (
            {"cells": [{"candidate": "a", "latency_ms": 1}, {"latency_ms": 1}]},
            "cells[1].candidate: is missing.",
        ),
        (
            {"cells": [{"candidate": "a", "latency_ms": 0}]},
            "cells[0].latency_ms: is 0, expected more than 0.",
        ),
        (
            {"cells": [{"candidate": "a", "latency_ms": None}]},
            "latency_ms: is null, expected a finite number.",
        ),
        ({"numbers": {"a": 1, "b": "x"}}, "numbers.b: is 'x', expected a finite number."),
        ({"numbers": {"a": 1, "b": 10**400}}, "numbers.b: is 1000"),
        ({"note": 1}, "note: is 1, expected text or null."),
    ],
)
def test_an_error_names_the_place_in_the_file(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = written(tmp_path, **changed)
    with pytest.raises(FileFormatError) as error:
        read_document(path, SAMPLE)
    assert str(error.value).startswith(f"{path}, ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("NaN", "more: is nan, expected a finite number"),
        ("[1, -Infinity]", r"more\[1\]: is -inf, expected a finite number"),
        ('{"a": 1e400}', "more.a: is inf, expected a finite number"),
        ("9" * 5000, "a number of thousands of digits"),
        ('"\\ud800"', "half of a character"),
        ("[" * 5000 + "]" * 5000, "nested more than 64 deep"),
        ("[" * 100 + "]" * 100, "nested more than 64 deep"),
        ('{"a": ' * 100 + "1" + "}" * 100, "nested more than 64 deep"),
        ("[1,", "is not valid JSON"),
    ],
)
def test_what_is_no_strict_json_is_refused_in_any_key(tmp_path: Path, value: str, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(f'{{"format": "ponas.sample/3", "kind": "a", "threads": 1, "more": {value}}}')
    with pytest.raises(FileFormatError, match=message) as error:
        read_document(path, SAMPLE)
    assert len(str(error.value)) < 250 + len(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.json, line 1 column 1: is not valid JSON"),
        ('{"format": "ponas.sample/3",\n "a": [1,', r"t\.json, line 2 column 10: is not valid JSON"),
        ("[1]", r"t\.json: is a list, expected an object"),
        ("null", r"t\.json: is null, expected an object"),
        ('"a"', r"t\.json: is 'a', expected an object"),
        ("[" * 100_000, r"t\.json: is not JSON that can be read"),
        ('{"a": 1}', r"t\.json, format: is missing"),
        ('{"format": 2}', r"t\.json, format: is 2, expected text"),
        ('{"format": "ponas.x/1"}', r"t\.json, format: is 'ponas\.x/1', expected 'ponas\.sample/3'"),
        ('{"format": "ponas.sample/new"}', r"expected 'ponas\.sample/3'"),
        (f'{{"format": "ponas.sample/{"1" * 5000}"}}', r"format: is '[^ ]{,60}', expected 'ponas\.sample/3'"),
        ('{"format": "ponas.sample/\u0662"}', r"expected 'ponas\.sample/3'"),
    ],
)
def test_a_file_that_is_no_document_is_named_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError, match=message):
        read_document(path, SAMPLE)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FileFormatError, match=r"binary\.json, byte 7: is not text"):
        read_document(path, SAMPLE)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(f"\ufeff{path.read_text()}", encoding="utf-8")
    assert read_document(path, SAMPLE) == Sample("a", 2)


def test_several_formats_may_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"expected 'ponas\.other/1' or 'ponas\.third/2'"):
        read_raw(written(tmp_path), OTHER, Format("ponas.third", 2, Sample))


def test_only_regular_files_of_a_bounded_size_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, words in (
        (tmp_path, "a folder"),
        (Path("/dev/zero"), "a device"),
        (tmp_path / "no", "no such"),
    ):
        with pytest.raises(FileFormatError, match=words):
            read_document(path, SAMPLE)
    fifo, link = tmp_path / "fifo", tmp_path / "ring"
    os.mkfifo(fifo)
    link.symlink_to(link)
    with pytest.raises(FileFormatError, match="it is a pipe, expected a regular file"):
        read_document(fifo, SAMPLE)
    with pytest.raises(FileFormatError, match="cannot be read: Too many levels"):
        read_document(link, SAMPLE)
    with socket.socket(socket.AF_UNIX) as one:
        monkeypatch.chdir(tmp_path)
        one.bind("socket")
        with pytest.raises(FileFormatError, match="a socket"):
            read_document(Path("socket"), SAMPLE)
    (tmp_path / "large").write_bytes(b"x" * 11)
    assert read_bytes(tmp_path / "large", 11) == b"x" * 11
    with pytest.raises(FileFormatError, match="more than"):
        read_bytes(tmp_path / "large", 10)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.chmod(0)
    with pytest.raises(FileFormatError, match="cannot be read: Permission denied"):
        read_document(path, SAMPLE)


def test_foreign_text_cannot_command_a_terminal() -> None:
    assert printable("k3e3 µ é 図") == "k3e3 µ é 図"
    assert printable("\x1b]0;owned\x07 \u202e \ud800\n") == r"\x1b]0;owned\x07 \u202e \ud800\n"
    assert "\x1b" not in str(FileFormatError("t.json", "\x1b[31m", "\x1b[0m"))


def test_an_option_has_the_bounds_of_a_file() -> None:
    assert fault(Threads, 4) == ""
    assert fault(Threads, 0) == "is 0, expected 1 or more."
    assert fault(Threads, 10**6) == "is 1000000, expected 1024 or less."


def test_reading_takes_no_more_memory_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_bytes(b"{}")
    tracemalloc.start()
    try:
        assert read_bytes(path) == b"{}"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
