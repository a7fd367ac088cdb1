"""The journal of a measurement under faults that are made to happen."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ponas_deploy.errors import FileFormatError, MeasurementError
from ponas_deploy.files.journal import Journal

HEADER = {"conditions": {"threads": 1, "backend": "fake"}, "seed": 3}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "somewhere" / "profile.journal"


def fill(path: Path, *entries: dict[str, int]) -> None:
    with Journal(path, HEADER) as book:
        for entry in entries:
            book.append(entry)
        book.sync()


def test_what_was_appended_is_there_again(path: Path) -> None:
    fill(path, {"a": 1}, {"b": 2})
    with Journal(path, HEADER) as book:
        assert book.entries == ({"a": 1}, {"b": 2})
        assert "continuing" in book.note
        book.append({"c": 3})
    with Journal(path, HEADER) as book:
        assert book.entries == ({"a": 1}, {"b": 2}, {"c": 3})
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["format"] == "ponas.journal/1"


def test_a_new_journal_has_nothing_to_say(path: Path) -> None:
    with Journal(path, HEADER) as book:
        assert (book.entries, book.note) == ((), "")


def test_cut_anywhere_it_holds_every_line_that_was_whole(path: Path) -> None:
    fill(path, {"a": 1}, {"b": 2})
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with Journal(path, HEADER) as book:
            lines = whole[:length].count(b"\n")
            assert len(book.entries) == max(0, lines - 1)
            book.append({"next": 9})
        with Journal(path, HEADER) as book:
            assert book.entries[-1] == {"next": 9}
            assert len(book.entries) == max(0, lines - 1) + 1
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_journal_of_something_else_is_kept_aside_and_the_difference_named(path: Path) -> None:
    fill(path, {"a": 1})
    before = path.read_bytes()
    other = {"conditions": {"threads": 2, "backend": "fake"}, "seed": 3}
    with Journal(path, other) as book:
        assert book.entries == ()
        assert "conditions threads 1 there, 2 here" in book.note
    aside = path.with_name("profile.journal.old-1")
    assert aside.read_bytes() == before
    with Journal(path, HEADER) as book:
        assert "old-2" in book.note
    assert aside.read_bytes() == before


@pytest.mark.parametrize("line", [b"nonsense", b"[1, 2]"])
def test_a_line_that_is_no_entry_is_named(path: Path, line: bytes) -> None:
    fill(path, {"a": 1})
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(FileFormatError, match="line 3"):
        Journal(path, HEADER)
    assert path.read_bytes().endswith(line + b"\n"), "it is left as it was found"


def test_two_at_once_are_refused(path: Path) -> None:
    with Journal(path, HEADER), pytest.raises(MeasurementError, match="another command"):
        Journal(path, HEADER)
    with Journal(path, HEADER) as book:
        assert book.entries == ()


def test_a_folder_in_its_place_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="cannot be written"):
        Journal(tmp_path, HEADER)


def test_a_full_disk_is_one_sentence_and_what_came_before_is_kept(path: Path) -> None:
    script = """
        import resource, sys
        from pathlib import Path
        from ponas_deploy.errors import MeasurementError
        from ponas_deploy.files.journal import Journal
        with Journal(Path(sys.argv[1]), {"seed": 1}) as book:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
            try:
                for number in range(1000):
                    book.append({"number": number})
            except MeasurementError as error:
                print(number, error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    failed_at, _, message = done.stdout.strip().partition(" ")
    assert "cannot be written (File too large)" in message
    assert "\n" not in message
    assert path.stat().st_size <= 1000
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000, "the limit was the other process's"
    with Journal(path, {"seed": 1}) as book:
        assert book.entries == tuple({"number": number} for number in range(int(failed_at)))
        book.append({"number": int(failed_at)})


def test_a_disk_that_fails_when_it_is_flushed_is_one_sentence(path: Path) -> None:
    reader, writer = os.pipe()
    with Journal(path, HEADER) as book:
        file, book._file = book._file, writer  # a pipe cannot be flushed to any disk
        with pytest.raises(MeasurementError, match=r"cannot be written \(Invalid argument\): what was"):
            book.sync()
        book._file = file
    os.close(reader)
    os.close(writer)


def test_of_some_objects_only_what_both_headers_say_is_compared(path: Path) -> None:
    def opened(*said: dict[str, str]) -> str:
        header = {**HEADER, **({"clocks": said[0]} if said else {})}
        with Journal(path, header, ("clocks",)) as book:
            book.append({"a": 1})
            return book.note

    opened()
    assert opened({"governor": "performance"}).startswith("continuing"), "the header there is older"
    path.unlink()
    opened({"governor": "performance"})
    for said in ((), ({},), ({"gpu_clocks": "1020 MHz"},), ({"governor": "performance"},)):
        assert opened(*said).startswith("continuing")
    assert "(clocks governor performance there, powersave here)" in opened({"governor": "powersave"})
    assert path.with_name("profile.journal.old-1").exists()
