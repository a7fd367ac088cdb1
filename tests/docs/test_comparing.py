"""What a shown line matches, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import blocks, missing

SHOWN = [" measured  p50 4.948 ms, p95 5.887 ms", "...", "try 1: met at 32 px", "engine  engines/k3e6"]
PRINTED = "measured p50 14.000 ms, p95 1.000 ms\nother\nmore\ntry 12: met at 32 px\nengine engines/k3e6\n"


def test_numbers_may_differ_and_lines_may_be_left_out() -> None:
    assert missing(SHOWN, PRINTED) is None


def test_zeros_at_the_end_may_be_left_out() -> None:
    assert missing(["asked at most 5.242 ms"], "asked at most 1.7 ms\n") is None
    assert missing(["asked at most 5.242 ms"], "asked at most 1.70 ms\n") is not None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("14.000 ms", "14.0 ms"),
        ("14.000 ms", "14 ms"),
        ("14.000 ms", "14.000 us"),
        ("measured p50", "p50"),
        ("32 px", "64 px"),
        ("engines/k3e6", "engines/k3e3"),
        ("12: met", "12: over"),
        ("try 12", "try x"),
        ("px\n", "px\nanother line\n"),
        ("k3e6\n", "k3e6\nand more\n"),
        ("measured", "first\nmeasured"),
    ],
)
def test_words_units_and_digits_may_not(before: str, after: str) -> None:
    assert before in PRINTED
    assert missing(SHOWN, PRINTED.replace(before, after)) is not None


def test_the_missing_line_is_named() -> None:
    assert missing(["a 1", "...", "b 2 %", "..."], "a 5\nb 7.1 %\n") == "b 2 %"
    assert missing(["a", "..."], "c\n") == "a"


def test_blocks_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```\n$ ponas a \\\n    --b\nprinted\n...\n$ ponas c\n```\n\n<!-- not run: a reason -->\n"
        "```\n$ ponas d\n```\n\n<!-- file: a.txt -->\n```text\n1\n```\n```python\nprint(1)\n```\n"
    )
    first, second, third, fourth = blocks(page)
    assert first.is_session
    assert first.commands() == [("ponas a \\\n    --b", ["printed", "..."]), ("ponas c", [])]
    assert second.comments == {"not run": "a reason"}
    assert (third.comments, third.text, third.line) == ({"file": "a.txt"}, "1\n", 17)
    assert (fourth.language, fourth.is_session) == ("python", False)
