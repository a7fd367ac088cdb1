"""Architectures in files: the text form, or JSON that holds it; whatever else is refused in words."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ponas_deploy.tables.architectures import architecture_in as parse
from searchspace import ArchitectureError, build_space

PONAS = build_space("ponas")


def test_a_file_may_hold_the_text_or_json(tmp_path: Path) -> None:
    architecture = parse("PONAS-B", PONAS)
    contents = {
        "a.txt": architecture.text + "\n",
        "b.json": json.dumps({"choices": architecture.choices, "params": 1}),
        "c.json": json.dumps({"format": "ponas.engine/1", "architecture": list(architecture.choices)}),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        assert parse(str(tmp_path / name), PONAS) == architecture


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"choices": 3}', "has no list 'choices'"),
        (b'{"choices": [1, 2]}', "has no list 'choices'"),
        (b"{", "is not valid JSON"),
        (b"\xff", "cannot be read as an architecture"),
        (b"k3e3,k3e3", "has 19 layers, but 2 choices were given"),
    ],
)
def test_a_file_that_is_no_architecture_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ArchitectureError, match=message):
        parse(str(path), PONAS)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ArchitectureError, match="expected a regular file"):
        parse(str(tmp_path / "fifo"), PONAS)


def test_a_model_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "my.onnx").write_bytes(b"\x08\x07\xcc")
    with pytest.raises(
        ArchitectureError, match=r"is an ONNX model, no architecture: `ponas measure .*my\.onnx`"
    ):
        parse(str(tmp_path / "my.onnx"), PONAS)
