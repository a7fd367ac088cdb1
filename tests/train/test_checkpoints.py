"""Torch checkpoints and other files that people give as weights: read, or refused in a sentence."""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import gzip
import io
import os
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from ponas_deploy.engines.weights_files import read_file
from ponas_deploy.errors import FileFormatError, PonasError, WeightsError
from ponas_deploy.files.weights import read_weights, write_weights
from train.networks import read_checkpoint

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # torch's, of prototypes such as nested tensors


class Bomb:
    """A pickle that would run code."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"first.conv.weight": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    for name in ("bomb.pth", "plain.pth"):
        with pytest.raises(FileFormatError, match="only plain state dicts are read"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def refused(path: Path, words: str, kind: type[PonasError] = FileFormatError) -> None:
    with pytest.raises(kind, match=re.escape(words)) as caught:
        read_file(path)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    assert len(said) < 600 + len(str(path))


def zipped(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return target.getvalue()


def saved(value: object, **options: Any) -> bytes:
    target = io.BytesIO()
    torch.save(value, target, **options)
    return target.getvalue()


def packed_again(data: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return target.getvalue()


def tarred() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))
    return target.getvalue()


def script() -> bytes:
    target = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), target)
    return target.getvalue()


STATE = {"a": torch.arange(4096.0)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty: copy or download it again."),
        (b"<!DOCTYPE html>\n<html>Sign in", "is a web page (HTML or XML), not the file"),
        (b"\n  <html lang='en'>", "is a web page (HTML or XML), not the file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a Git LFS pointer"),
        (gzip.compress(b"weights", mtime=0), "is compressed with gzip: unpack it"),
        (tarred(), "is a tar archive: unpack it"),
        (
            zipped(a_txt=b"x", b_pth=b"y"),
            "is a zip archive, no torch checkpoint (it holds a.txt, b.pth): unpack",
        ),
        (saved(STATE)[:9000], "of which a part is missing or broken: copy or download it again"),
        (b"PK\x03\x04 broken", "of which a part is missing or broken"),
        (
            saved(STATE, _use_new_zipfile_serialization=False)[:9000],
            "is a torch checkpoint that torch cannot read (",
        ),
        (
            packed_again(saved(STATE)),
            "packed again, compressed: save it anew, `torch.save(torch.load(FILE), NEW)`",
        ),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (b"\x93NUMPY\x01\x00", "is a NumPy array"),
        (
            b"hello",
            "is neither a safetensors file nor a torch checkpoint: name weights that `ponas train` wrote",
        ),
        (
            bytes(range(256)),
            "is neither a safetensors file nor a torch checkpoint: name weights that `ponas train` wrote",
        ),
        (
            (2**40).to_bytes(8, "little") + b"{",
            "is neither a safetensors file nor a torch checkpoint: name weights that `ponas train` wrote",
        ),
        ((200).to_bytes(8, "little") + b'{"a"', "is a safetensors file that is cut off or broken"),
        (saved([1, 2]), "holds no state dict"),
        (saved({}), "holds no state dict"),
        (saved({"state_dict": {}}), "state_dict: holds no state dict"),
        (saved({"epoch": 3}), "epoch: is no tensor"),
        (saved({1: torch.ones(1)}), "1: is no tensor"),
        (saved({"one": STATE, "two": STATE}), "one: is no tensor"),
    ],
)
def test_what_is_no_checkpoint_is_told_apart(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(data)
    refused(path, words)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_program_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "file.pt").write_bytes(script())
    refused(tmp_path / "file.pt", "is a TorchScript program, and only tensors are read: if you trust")


@pytest.mark.parametrize("name", ["file.pth", "file.safetensors", "file"])
def test_what_is_no_file_is_said_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    refused(path, "there is no such file")
    os.mkfifo(path)
    refused(path, "cannot be read: it is a pipe, expected a regular file: save what comes from it as a file")
    path.unlink()
    path.mkdir()
    refused(path, "cannot be read: it is a folder, expected a regular file: name a file in it.")
    path.rmdir()
    path.symlink_to("/dev/zero")
    refused(
        path, "cannot be read: it is a device, expected a regular file: save what comes from it as a file"
    )


HOSTILE: dict[str, tuple[Callable[[], Any], str]] = {
    "quantised": (
        lambda: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        "w: is quantised (qint8), expected a dense float32 tensor: save it as one.",
    ),
    "meta": (lambda: torch.empty(4, device="meta"), "w: is without values (on device meta)"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "w: is a nested tensor"),
    "sparse": (lambda: torch.eye(4).to_sparse(), "w: is sparse (sparse_coo)"),
    "compressed rows": (lambda: torch.eye(4).to_sparse_csr(), "w: is sparse (sparse_csr)"),
    "expanded to 12 GB": (
        lambda: torch.ones(1).expand(3 * 2**30),
        "w: claims 12,884,901,888 bytes of values and the file holds 4 of them",
    ),
    "expanded integer": (lambda: torch.ones(1, dtype=torch.int64).expand(2**40), "w: is of int64"),
    "complex": (lambda: torch.ones(4, dtype=torch.complex64), "w: is of complex64"),
    "float8": (lambda: torch.ones(4).to(torch.float8_e4m3fn), "w: is of float8_e4m3fn"),
    "bool": (lambda: torch.ones(4) > 0, "w: is of bool"),
    "integers": (lambda: torch.ones(4, dtype=torch.int8), "w: is of int8"),
    "escape codes": (lambda: "\x1b[31m", "w: is no tensor"),
}

UNREAD_BEFORE = ("nested", "float8")
"""What torch does not read from its old format, or not always: the sizes there come after the tensor."""


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_tensor_that_is_no_dense_one_of_floats_is_named(tmp_path: Path, kind: str) -> None:
    make, words = HOSTILE[kind]
    path = tmp_path / "file.pth"
    state = {"fine": torch.ones(1), "w": make()}
    torch.save({"model": state}, path)
    refused(path, words)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    refused(path, "" if kind in UNREAD_BEFORE else words)


@pytest.mark.parametrize("number", [2**12, 2**33], ids=["more than the record", "more than memory"])
def test_a_storage_that_claims_more_than_the_file_has_is_refused(tmp_path: Path, number: int) -> None:
    """The pickle of a checkpoint, with another number of values than the record beside it has."""
    path, short = tmp_path / "long.pth", 2**10
    with (
        zipfile.ZipFile(io.BytesIO(saved({"w": torch.ones(short)}))) as old,
        zipfile.ZipFile(path, "w") as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                data = data.replace(pickled(short), pickled(number))
                assert pickled(number) in data
            new.writestr(name, data)
    refused(path, "is a torch checkpoint that torch cannot read (RuntimeError)")


def pickled(number: int) -> bytes:
    """A whole number as pickles of protocol 2 hold it, without frame and end."""
    return pickle.dumps(number, 2)[2:-1]


def test_nan_and_infinity_are_named_in_any_file(tmp_path: Path) -> None:
    for value in (np.nan, np.inf):
        tensors = {"fine": np.ones(2, np.float32), "broken": np.array([0, value], np.float32)}
        write_weights(tmp_path / "w.safetensors", tensors, {})
        refused(tmp_path / "w.safetensors", "has NaN or infinity in broken: its training", WeightsError)


def test_types_of_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    values = torch.tensor([[1.0, -2.5], [3.140625, 0.0]])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        save_file({"first": torch.zeros(3), "a": values.to(dtype), "count": torch.tensor(7)}, path)
        found = read_weights(path).tensors
        assert found["a"].tolist() == values.tolist()
        assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    for dtype, word in (
        (torch.float8_e4m3fn, "F8_E4M3"),
        (torch.int8, "I8"),
        (torch.int64, "I64"),
        (torch.bool, "BOOL"),
        (torch.complex64, "C64"),
    ):
        save_file({"fine": torch.ones(2), "a": torch.ones(2).to(dtype)}, path)
        refused(path, f"a: holds {word}, expected float32: save it as float32.")


def test_a_checkpoint_in_the_place_of_our_weights_is_said(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.safetensors")
    with pytest.raises(FileFormatError, match="is a torch checkpoint, expected a safetensors file"):
        read_weights(tmp_path / "w.safetensors")
    write_weights(tmp_path / "w.pth", {"a": np.ones(2, np.float32)}, {})
    with pytest.raises(FileFormatError, match="is a safetensors file, expected a torch checkpoint"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        ({"best_acc": np.float64(71.2)}, "multiarray.scalar"),
    ],
)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_what_a_checkpoint_holds_beside_tensors_is_named(
    tmp_path: Path, more: dict[str, object], name: str, old: bool
) -> None:
    path = tmp_path / "more.pth"
    torch.save({"state_dict": STATE, **more}, path, _use_new_zipfile_serialization=not old)
    refused(path, f"{name}), and only plain state dicts are read: if you trust where it came from")
