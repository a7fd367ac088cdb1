"""Training in a process that is refused the memory for its batch: which setting to lower, and to what."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra (torch)")
if not sys.platform.startswith("linux"):
    pytest.skip("needs RLIMIT_AS and /proc, which Linux has", allow_module_level=True)
from forked import script


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, str]]]:
    folder = tmp_path_factory.mktemp("starved")
    return folder, script("starved.py", folder)


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("meta", "to train the meta network with 24000 images at once: try meta.batch = 12000."),
        (
            "fine_tune.batch",
            "to train the candidates of a layer with 24000 images at once: try fine_tune.batch = 12000.",
        ),
        (
            "fine_tune.pass_images",
            "to train the candidates of a layer with 24000 images at once:"
            " try fine_tune.pass_images = 12000.",
        ),
    ],
)
def test_the_setting_and_the_number_to_try_are_named(
    outcomes: tuple[Path, dict[str, tuple[int, str]]], case: str, sentence: str
) -> None:
    code, text = outcomes[1][case]
    assert code == 1
    assert text == f"train.errors.OutOfMemoryError: there is not the memory {sentence}\n"


def test_smaller_passes_go_on_with_the_same_run(outcomes: tuple[Path, dict[str, tuple[int, str]]]) -> None:
    folder, cases = outcomes
    assert tuple(cases["with smaller passes"]) == (0, "")
    assert (folder / "passes" / "accuracy.json").exists()
