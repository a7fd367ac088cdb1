"""What the shell offers for names of spaces, devices, tables, boards and runtimes."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_help import complete

from ponas_deploy.backends.registry import known_backends
from ponas_deploy.boards.book import Board, add_board, book_path
from ponas_deploy.commands import completing
from ponas_deploy.files.home import home
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.store import find_table, table_names
from sample_tables import latency_table
from searchspace import SPACES

MINE = "lab/mine"


@pytest.fixture
def _stored() -> None:
    """A board of the book, a table that lies in its folder, and one of another device."""
    add_board("jetson", Board(host="nvidia@jetson", aliases=("orin",)))
    write_latency_table(latency_table(), home() / "latency" / f"{MINE}.json")


@pytest.mark.usefixtures("_stored")
def test_names_that_are_known() -> None:
    assert completing.spaces("") == list(SPACES)
    assert completing.spaces("ofa") == ["ofa-mbv3", "ofa-mbv3-w1.2"]
    assert completing.boards("") == ["jetson", "orin"]
    assert completing.devices("")[:4] == ["cpu", "gpu", "jetson", "orin"]
    assert completing.devices("l") == ["lab"]
    assert completing.latency_tables("lab/") == [MINE]
    assert set(completing.backends("")) == set(known_backends())
    assert "ofa-mbv3" in completing.accuracy_tables("")
    assert MINE in completing.tables("")
    assert "orin-nano" in completing.figures("orin")
    assert completing.networks("PONAS") == ["PONAS-A", "PONAS-B", "PONAS-C"]
    assert completing.stock("mobilenetv3_l") == ["mobilenetv3_large_100"]
    assert completing.documents("table f") == ["table fit"]


@pytest.mark.usefixtures("_stored")
def test_every_table_that_is_offered_is_found() -> None:
    for kind in ("latency", "accuracy"):
        assert table_names(kind)
        assert all(find_table(name).is_file() for name in table_names(kind))


@pytest.mark.usefixtures("_stored")
def test_a_broken_device_book_offers_nothing() -> None:
    book_path().write_text("[jetson", encoding="utf-8")
    assert completing.boards("") == []
    assert completing.devices("") == []


@pytest.mark.usefixtures("_stored")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ponas specialize --space ofa-", ["ofa-mbv3", "ofa-mbv3-w1.2"]),
        ("ponas specialize --device jet", ["jetson"]),
        ("ponas table show lab/", [MINE]),
        ("ponas devices show or", ["orin"]),
        ("ponas export PONAS-A --backend openv", ["openvino"]),
        ("ponas profile --prior no-such", []),
    ],
)
def test_a_shell_that_asks_is_answered(tmp_path: Path, typed: str, offered: list[str]) -> None:
    assert complete("bash", typed).split() == offered
