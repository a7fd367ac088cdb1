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
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ponas_deploy.backends.onnx_calibration import read_images
from ponas_deploy.checks.table_file import check_file
from ponas_deploy.commands.schema import DOCUMENTS, found_at
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.onnx_files import fixed_model
from ponas_deploy.engines.weights import open_weights
from ponas_deploy.errors import MissingExtraError, PonasError
from ponas_deploy.files.documents import read_document
from ponas_deploy.files.journal import Journal
from ponas_deploy.files.lock import machine_to_oneself
from ponas_deploy.files.schemas import document_schema
from ponas_deploy.files.weights import read_header, read_weights, write_weights
from ponas_deploy.profiling.resume import previous_of
from ponas_deploy.tables.architectures import architecture_in, read_choices
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table, load_table
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.networks_csv import read_networks
from sample_tables import accuracy_table, latency_table, write_csv
from searchspace import SPACES, build_space
from searchspace.space import Space
from train.files import read_log

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
LOG = """time,seconds,stage,at,step,steps,loss,validation_top1_pct,lr,images_per_s,left_s
2026-11-28T10:00:00+00:00,12.5,meta,epoch 1 of 3,4,12,1.5,40.2,0.1,320.5,25
2026-11-28T10:00:09+00:00,21.5,meta,epoch 2 of 3,8,12,1.25,,0.1,321.5,12
"""
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


def choices(path: Path) -> object:
    return read_choices(str(path), replace(latency_table(), space=None))


def model(path: Path) -> object:
    return fixed_model(path, {})


def checkpoint(path: Path) -> object:
    pytest.importorskip("torch", reason="needs the train extra (torch)")
    return open_weights(path, None, 0, 0, None, lambda text: None)


READERS: dict[str, tuple[Reader, ...]] = {
    "latency-table-1.json": (load_latency_table, load_table, check_file),
    "latency-table-2.json": (load_latency_table, check_file),
    "accuracy-table-1.json": (load_accuracy_table, load_table, check_file),
    "manifest-1.json": (manifest, architecture),
    "journal-1.jsonl": (journal,),
    "lock": (lock,),
    "latency.csv": (load_latency_table, load_table, check_file),
    "losses.csv": (load_accuracy_table, load_table, check_file),
    "rows.csv": (read_networks,),
    "evaluated.csv": (read_networks,),
    "log.csv": (read_log,),
    "choices.txt": (architecture, choices),
    "weights.safetensors": (read_header, read_weights),
    "checkpoint.pth": (checkpoint,),
    "model.onnx": (model,),
    "images.npy": (read_images,),
}
"""What opens somebody else's file; the documents in `commands.schema` are all tried as such besides."""


def small_model() -> bytes:
    """An ONNX model of one addition."""
    value = onnx.helper.make_tensor_value_info
    given, came = (value(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("given", "came"))
    added = onnx.numpy_helper.from_array(np.ones((1, 2), np.float32), "added")
    node = onnx.helper.make_node("Add", ["given", "added"], ["came"])
    graph = onnx.helper.make_graph([node], "small", [given], [came], [added])
    return bytes(onnx.helper.make_model(graph).SerializeToString())


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
    write_csv(folder / "losses.csv", accuracy_table().loss, "loss_pp")
    (folder / "evaluated.csv").write_text("a,b,top1_pct\nx,y,71.5\nx,z,72.5\nv,y,7e1\n")
    (folder / "log.csv").write_text(LOG)
    (folder / "choices.txt").write_text(",".join(latency_table().grid.candidates[0][:1] * 19))
    write_weights(folder / "weights.safetensors", {"a": np.zeros(4, np.float32)}, {"space": "ponas"})
    (folder / "model.onnx").write_bytes(small_model())
    np.save(folder / "images.npy", np.zeros((1, 3, 2, 2), np.float32))
    with suppress(ImportError):
        import torch

        torch.save({"a": torch.zeros(4)}, folder / "checkpoint.pth")
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


def example(part: dict[str, Any], parts: dict[str, Any]) -> Any:
    """A value that a JSON Schema of msgspec's allows, every key of it there."""
    if "$ref" in part:
        return example(parts[part["$ref"].rpartition("/")[2]], parts)
    if "const" in part or "enum" in part:
        return part.get("const", part.get("enum", [None])[0])
    if "anyOf" in part:
        return example(next(one for one in part["anyOf"] if one.get("type") != "null"), parts)
    if part.get("type") == "object":
        more = part.get("additionalProperties")
        key = example(part.get("propertyNames", {"const": "key"}), parts)
        keys = {key: more} if isinstance(more, dict) else {}
        return {name: example(one, parts) for name, one in {**keys, **part.get("properties", {})}.items()}
    if part.get("type") == "array":
        items = part.get("prefixItems") or [part.get("items") or {}] * max(1, part.get("minItems", 1))
        return [example(one, parts) for one in items]
    number = part.get("exclusiveMaximum", 2.0) / 2
    return {"string": "text", "integer": 2, "number": number, "boolean": True}.get(
        part.get("type", ""), "text"
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_that_is_broken_is_read_or_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    try:
        kind = found_at(DOCUMENTS[name])
    except MissingExtraError as error:
        pytest.skip(str(error))
    schema, path, said = document_schema(kind), tmp_path / f"{name}.json", list[str]()
    text = json.dumps(example(schema, schema.get("$defs", {})))
    path.write_text(text)
    assert read_document(path, kind) is not None
    for data in broken(text.encode(), random.Random(name)):
        path.write_bytes(data)
        try:
            read_document(path, kind)
        except PonasError as error:
            said.append(str(error))
    assert len(said) > 8
    assert not [text for text in said if CONTROL.search(text)]
    assert max(map(len, said)) < 1000 + len(str(path)), "a sentence"
