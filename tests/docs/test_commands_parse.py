"""The command line takes every command line of the pages and of the help texts, run or not."""

from __future__ import annotations

import pytest
from command_lines import CommandLine, fault_of, of_help, of_page
from desk import ROOT
from test_pages import PAGES, name_of

INCLUDED = ROOT / "benchmarks" / "data" / "README.md"
FOUND = [
    line for page in [*PAGES, INCLUDED] for line in of_page(page.read_text(encoding="utf-8"), name_of(page))
]

PAGE = """\
`ponas verify --here` and `HOME=x ponas table show|check|diff` of `ponas devices`.

    A=1 ponas describe PONAS-A   # a comment's words
    python3 ponas.py
    ponas export choice.json \\
      --precision mixed

```
$ .venv/bin/ponas compare '"a","b"' | head && ponas devices > list
ponas of printed lines is no command
$ torchrun --no-python ponas train --data photos/
```

```python
ponas = 3
```
"""


def test_command_lines_of_a_page() -> None:
    found = list(of_page(PAGE, "p"))
    assert [(line.where, " ".join(line.words)) for line in found] == [
        ("p:3", "describe PONAS-A"),
        ("p:5", "export choice.json --precision mixed"),
        ("p:9", 'compare "a","b"'),
        ("p:9", "devices"),
        ("p:11", "train --data photos/"),
        ("p:1", "verify --here"),
        ("p:1", "table show"),
        ("p:1", "table check"),
        ("p:1", "table diff"),
        ("p:1", "devices"),
    ]
    assert [line.whole for line in found] == [True] * 5 + [False] * 5
    assert [line.in_session for line in found] == [False] * 2 + [True] * 3 + [False] * 5


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("describ PONAS-A", "no such command: describ"),
        ("table shows FILE", "no such command: shows"),
        ("describe PONAS-A --resolutoin 64", "No such option: --resolutoin"),
        ("profile --time soon", "soon"),
        ("profile --threads 0", "--threads"),
        ("profile --backend onxruntime", "onxruntime"),
        ("describe PONAS-A --space ponsa", "ponsa"),
        ("describe", "Missing argument 'ARCH'"),
        ("verify engines/one engines/two", "unexpected extra argument"),
        ("table", "which command of table?"),
    ],
)
def test_what_the_command_line_refuses_is_found(line: str, fault: str) -> None:
    assert fault in (fault_of(CommandLine("p:1", tuple(line.split()))) or "no fault at all")


@pytest.mark.parametrize("line", ["verify --here", "compare --device", "table", "profile --streams N"])
def test_a_sentence_may_leave_out_arguments(line: str) -> None:
    assert fault_of(CommandLine("p:1", tuple(line.split()), whole=False)) is None


def test_every_command_line_of_the_pages_parses() -> None:
    assert {"README.md", "docs/boards.md", "docs/zoo.md"} <= {line.where.rpartition(":")[0] for line in FOUND}
    assert faults(FOUND) == []


def test_every_block_of_commands_is_run_or_says_why_not() -> None:
    """But for results, records of measurements, and the README's first, which installs all there is."""
    elsewhere = ("docs/results/", "benchmarks/", "README.md")
    assert [
        one.where for one in FOUND if one.whole and not one.in_session and not one.where.startswith(elsewhere)
    ] == []


def test_every_example_of_a_help_text_parses() -> None:
    found = list(of_help())
    assert {"ponas --help", "ponas table fit --help"} <= {line.where for line in found}
    assert faults(found) == []


def faults(lines: list[CommandLine]) -> list[str]:
    return [f"{one.where}: ponas {' '.join(one.words)}\n{fault}" for one in lines if (fault := fault_of(one))]
