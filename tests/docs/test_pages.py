"""Every command and program of the pages runs, and prints what stands there (compared by `pages.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from desk import ROOT, Desk
from pages import Block, blocks, missing

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# What a busy or noisy machine may end these with, whatever they print.
NOISY = {"verify": {0, 1, 3}, "specialize": {0, 3}, "doctor": {0, 1, 3}}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def runs(block: Block) -> bool:
    return block.is_session or block.language == "python" or "file" in block.comments


RUN = {name_of(page): found for page in PAGES if (found := [one for one in blocks(page) if runs(one)])}


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_a_page_prints_what_it_shows(page: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra 'train' is not installed")
    desk = Desk(tmp_path)
    for block in RUN[page]:
        if "not run" not in block.comments:
            run(desk, block, page)


def run(desk: Desk, block: Block, page: str) -> None:
    if "file" in block.comments:
        desk.write(block.comments["file"], block.text)
    elif block.language == "python":
        code, printed = desk.python(block.text)
        assert code == 0, f"{page}:{block.line}\n{printed}"
        shown = block.comments.get("prints")
        assert shown is None or missing([shown], printed) is None, f"{page}:{block.line}\n{printed}"
    else:
        for command, shown_lines in block.commands():
            command = f"{command} {block.comments.get('run with', '')}".strip()
            code, printed = desk.run(command)
            said = f"{page}:{block.line}: {command}\n{printed}"
            assert code in NOISY.get(command.split()[1], {0}), said
            lacking = missing(shown_lines, printed)
            assert lacking is None, f"not printed: {lacking}\n{said}"


def test_what_is_not_run_is_little_and_says_why() -> None:
    left_out = {
        (page, block.comments["not run"])
        for page, found in RUN.items()
        for block in found
        if "not run" in block.comments
    }
    assert left_out == NOT_RUN


NOT_RUN = {
    ("README.md", "tests/test_readme.py runs it, with smaller numbers"),
    ("README.md", "trains for six minutes"),
    ("docs/backends.md", "a row of a list, no program"),
    ("docs/boards.md", "needs a board"),
    ("docs/checkpoints.md", "needs a checkpoint of yours"),
    ("docs/compare.md", "measures for minutes"),
    ("docs/fleets.md", "needs two boards"),
    ("docs/gpu.md", "needs a GPU"),
    ("docs/how-to/jetson.md", "needs a Jetson"),
    ("docs/how-to/own-data.md", "trains for minutes, from weights that are downloaded"),
    ("docs/how-to/raspberry-pi.md", "needs a Raspberry Pi"),
    ("docs/precision.md", "needs trained weights"),
    ("docs/report.md", "the program below makes this page"),
    ("docs/spos.md", "needs a trained supernet"),
    ("docs/spos.md", "needs a training of days"),
    ("docs/spos.md", "needs trained weights"),
    ("docs/spos.md", "trains for minutes"),
    ("docs/tensorrt.md", "needs a GPU"),
    ("docs/tensorrt.md", "needs TensorRT for RTX"),
    ("docs/training.md", "needs a training of days"),
    ("docs/training.md", "needs several GPUs"),
    ("docs/training.md", "trains for minutes"),
    ("docs/transfer.md", "trains for minutes"),
    ("docs/tutorial.md", "trains for six minutes"),
    ("docs/zoo.md", "measures for minutes"),
}
