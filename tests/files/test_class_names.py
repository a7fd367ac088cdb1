"""Names of classes in files: bounded, each once, as many as classes, neutral where they are printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files import class_names
from ponas_deploy.files.weights import read_weights, write_weights

HOSTILE = "\x1b]0;owned\x07\n\u202eeel"


def header(tmp_path: Path, text: str, classes: int = 2) -> tuple[str, ...]:
    path = tmp_path / "w.safetensors"
    write_weights(path, {"a": np.zeros(1, np.float32)}, {"class_names": text, "classes": str(classes)})
    return read_weights(path).class_names


def test_any_names_come_back(tmp_path: Path) -> None:
    names = ("grün", HOSTILE, 'with "quotes", commas', "狗")
    assert header(tmp_path, class_names.written(names), 4) == names
    assert header(tmp_path, "") == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('["cat"]', "holds 1 names of 2 classes"),
        ('["cat", "cat"]', "holds class 'cat' more than once"),
        ('["cat", 1]', "is 1, expected text"),
        ('["cat", ""]', "holds 0 values, expected 1 or more"),
        (f'["cat", "{"x" * 1025}"]', "holds 1025 values, expected 1024 or less"),
        ('{"0": "cat", "1": "dog"}', "is an object, expected a list"),
        ("cat,dog", "is not valid JSON"),
        ('["cat", "\\ud800"]', "is not JSON that can be read"),
    ],
)
def test_what_is_no_list_of_names_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(FileFormatError, match="class_names") as refused:
        header(tmp_path, text)
    assert reason in str(refused.value)


def test_what_no_file_could_hold_is_left_out() -> None:
    assert class_names.usable(["cat", "dog"]) == ("cat", "dog")
    for names in (["cat", "cat"], ["x" * 1025], [""], list(map(str, range(class_names.MOST_NAMES + 1)))):
        assert class_names.usable(names) == ()


def test_names_that_are_shown_are_short_and_command_no_terminal() -> None:
    text = class_names.difference(["cat", HOSTILE], ["cat", *"abcde", "y" * 900], "ours", "theirs")
    assert text.isprintable()
    assert len(text) < 200
    assert "only ours has class '\\x1b]0;owned\\x07\\n\\u202eeel' and only theirs has 6 classes 'a'" in text
    assert class_names.difference(["a", "b"], ["b", "a"], "ours", "theirs") == ""
