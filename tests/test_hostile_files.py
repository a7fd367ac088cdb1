"""Broken and hostile files: whatever stands in one, it is read or refused in one sentence.

With a fixed seed: truncations, flipped bytes, and each value of a JSON document in turn replaced by what it
cannot be. Nothing but an error of ours comes out, no escape code in its text, and nobody waits for a pipe.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ponas_deploy.checks.table_file import check_file
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.errors import PonasError
from ponas_deploy.files.journal import Journal
from ponas_deploy.files.lock import machine_to_oneself
from ponas_deploy.files.weights import read_header, read_weights, write_weights
from ponas_deploy.profiling.resume import previous_of
from ponas_deploy.tables.architectures import architecture_in
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table, load_table
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.networks_csv import read_networks
from sample_tables import accuracy_table, write_csv
from searchspace import SPACES, build_space
from searchspace.space import Space

WRITTEN = Path(__file__).parent / "written_before"
Reader = Callable[[Path], object]
FLIPS, CUTS, LEAVES = 16, 8, 16
"""So many of each a document, drawn with a fixed seed."""

INSTEAD = (
    "null",
    '"text"',
    "-1",
    "NaN",
    "-Infinity",
    "1e400",
    "9" * 5000,
    "[" * 5000 + "]" * 5000,
    '"\\ud800"',
    '"\\u001b]0;owned\\u0007"',
    '"[/x][red]"',
    "true",
    "[]",
    "{}",
    "1e300",
    "123456789012345678901234567890",
)
HOLE = "\x00hole\x00"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]")


def journal(path: Path) -> object:
    header = json.loads((WRITTEN / "journal-1.jsonl").read_text().partition("\n")[0])
    del header["format"]
    with Journal(path, header) as book:
        return previous_of(book.lines)


def manifest(path: Path) -> object:
    shutil.copy(path, path.parent / "manifest.json")
    return read_manifest(path.parent)


def lock(path: Path) -> object:
    held = os.open(path, os.O_RDONLY)
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        with machine_to_oneself(path, "a test"):
            return None
    finally:
        os.close(held)


def architecture(path: Path) -> object:
    return architecture_in(str(path), build_space("ponas"))


READERS: dict[str, tuple[Reader, ...]] = {
    "latency-table-1.json": (load_latency_table, load_table, check_file),
    "latency-table-2.json": (load_latency_table, check_file),
    "accuracy-table-1.json": (load_accuracy_table, load_table, check_file),
    "manifest-1.json": (manifest, architecture),
    "journal-1.jsonl": (journal,),
    "lock": (lock,),
    "latency.csv": (load_latency_table, load_table, check_file),
    "rows.csv": (read_networks,),
    "weights.safetensors": (read_header, read_weights),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each kind, small."""
    folder = tmp_path_factory.mktemp("written")
    for path in WRITTEN.iterdir():
        shutil.copy(path, folder)
    write_latency_table(load_latency_table(WRITTEN / "latency-table-1.json"), folder / "latency-table-2.json")
    (folder / "lock").write_text('{"pid": 1, "since": "2026-01-01", "what": "a profile"}')
    write_csv(folder / "latency.csv", accuracy_table().loss.scaled(1.0), "latency_ms")
    (folder / "rows.csv").write_text("a,b,latency_ms\nx,y,1.5\nx,z,2.5\nv,y,1e3\n")
    write_weights(folder / "weights.safetensors", {"a": np.zeros(4, np.float32)}, {"space": "ponas"})
    return folder


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all values in a document, containers too."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def with_hole(value: Any, place: tuple[str | int, ...]) -> Any:
    if not place:
        return HOLE
    key, *rest = place
    if isinstance(value, dict):
        return {
            name: with_hole(inner, tuple(rest)) if name == key else inner for name, inner in value.items()
        }
    return [with_hole(inner, tuple(rest)) if index == key else inner for index, inner in enumerate(value)]


def broken(data: bytes, rng: random.Random) -> Iterator[bytes]:
    for _ in range(CUTS):
        yield data[: rng.randrange(len(data))]
    for _ in range(FLIPS):
        place = rng.randrange(len(data))
        yield data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
    lines = data.decode("utf-8", "replace").split("\n") if data.startswith(b"{") else []
    documents = [line for line in lines if line] if lines and is_json(lines[0]) else ["\n".join(lines)]
    for number, text in enumerate(documents if lines else ()):
        document = json.loads(text)
        places = list(leaves(document))
        for place in rng.sample(places, min(len(places), max(3, LEAVES // len(documents)))):
            holed = json.dumps(with_hole(document, place))
            changes = [holed.replace(json.dumps(HOLE), instead) for instead in rng.sample(INSTEAD, 4)]
            for changed in (*changes, *other_keys(text, rng)):
                yield "\n".join((*documents[:number], changed, *documents[number + 1 :], "")).encode()


def other_keys(text: str, rng: random.Random) -> Iterator[str]:
    """A key of the document removed, written twice, and one more that nobody knows."""
    document = json.loads(text)
    if isinstance(document, dict) and document:
        key = rng.choice(list(document))
        yield json.dumps({name: value for name, value in document.items() if name != key})
        yield f"{json.dumps(document)[:-1]}, {json.dumps(key)}: {rng.choice(INSTEAD)}}}"
        yield json.dumps({**document, "\x1b[31mkey": 1})


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", READERS)
def test_a_broken_file_is_read_or_refused_in_a_sentence(
    name: str, written: Path, tmp_path: Path, tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPACES, "tiny", lambda *_: tiny)
    rng, path, said = random.Random(name), tmp_path / name, list[str]()
    for data in broken((written / name).read_bytes(), rng):
        path.write_bytes(data)
        for read in READERS[name]:
            try:
                read(path)
            except PonasError as error:
                said.append(str(error))
    assert len(said) > 8, "most of these are no files of ours"
    assert not [text for text in said if CONTROL.search(text)]
    assert max(map(len, said)) < 1000 + len(str(path)), "a sentence"


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_a_device_and_a_folder_are_refused_at_once(name: str, tmp_path: Path) -> None:
    ending = Path(name).suffix
    pipe, device, folder = (tmp_path / f"{kind}{ending}" for kind in ("pipe", "device", "folder"))
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    folder.mkdir()
    for path in (pipe, device, folder):
        for read in READERS[name]:
            if read in (manifest, lock):  # they are given a copy, or a file that is open
                continue
            if read is check_file:
                assert check_file(path).table is None
                continue
            with pytest.raises(PonasError):
                read(path)
