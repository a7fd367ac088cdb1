"""Networks from CSV: what is read, and every fault named with its line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from ponas_deploy.errors import FileFormatError
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.networks_csv import in_order_of, read_networks

SOUND = "stem,stage 1,latency_ms\na,x,1.5\nb,y,2\na,x,1.6\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "n.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_read_in_their_order_and_repeats_are_kept(tmp_path: Path) -> None:
    found = read_networks(written(tmp_path, "\ufeff" + SOUND.replace("a,x", " a ,x")))
    assert (found.layers, found.kind) == (("stem", "stage 1"), "latency")
    assert found.choices == (("a", "x"), ("b", "y"), ("a", "x"))
    assert (found.values, found.lines) == ((1.5, 2.0, 1.6), (2, 3, 4))
    assert found.candidates == (("a", "b"), ("x", "y"))


def test_the_values_may_be_absent_where_they_are_not_needed(tmp_path: Path) -> None:
    path = written(tmp_path, "one,two\na,x\n")
    found = read_networks(path, values="optional")
    assert (found.layers, found.values, found.kind) == (("one", "two"), (), None)
    with pytest.raises(FileFormatError, match="line 1, column 2: the last column is 'two', expected"):
        read_networks(path)


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        ("a;b;latency\n", "line 1, column 3", "the last column is 'latency'"),
        ("a,,latency_ms\nx,y,1\n", "line 1, column 2", "has no name"),
        ("a,a,latency_ms\nx,y,1\n", "line 1, column 2", "'a' stands here a second time"),
        ("a,top1_pct,latency_ms\nx,1,1\n", "line 1, column 2", "must be the last column"),
        ("latency_ms\n1\n", "line 1", "names no layer"),
        ("a,latency_ms\n", "line 1", "no network follows"),
        ("", "line 1", "is empty"),
        ("a,b,latency_ms\nx,y,1\n\nx,1\n", "line 4", "has 2 fields, but the header has 3 columns"),
        ("a,b,latency_ms\nx,,1\n", "line 2, column 2", "lacks the candidate of layer 'b'"),
        ("a,latency_ms\nx,fast\n", "line 2, column 2", "latency_ms is 'fast', expected a number"),
        ("a,latency_ms\nx,\n", "line 2, column 2", "latency_ms is missing"),
        ("a,latency_ms\nx,0\n", "line 2, column 2", "must be above zero"),
        ("a,latency_ms\nx,nan\n", "line 2, column 2", "latency_ms is nan"),
        ("a,latency_ms\nx,inf\n", "line 2, column 2", "latency_ms is inf"),
        ("a,top1_pct\nx,100.5\n", "line 2, column 2", "percent lie between 0 and 100"),
    ],
)
def test_every_fault_names_its_place(tmp_path: Path, text: str, where: str, reason: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        read_networks(written(tmp_path, text))
    assert caught.value.where == where
    assert reason in caught.value.reason


def test_columns_are_put_in_the_order_of_a_table(tmp_path: Path) -> None:
    grid = Grid(("stage 1", "stem"), (("x", "y"), ("a", "b")), ((1.0, 2.0), (1.0, 2.0)))
    found = in_order_of(read_networks(written(tmp_path, SOUND)), grid)
    assert (found.layers, found.choices[1]) == (("stage 1", "stem"), ("y", "b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stem,latency_ms\na,1\n", "line 1: lacks a column for layer 'stage 1'"),
        ("stem,stage 1,other\na,x,1\n", "line 1, column 3: 'other' is no layer of the table"),
        (
            "stem,stage 1\na,x\na,z\n",
            "line 3, column 2: unknown candidate of layer stage 1 'z': known are x, y",
        ),
    ],
)
def test_what_a_table_does_not_know_is_named(tmp_path: Path, text: str, message: str) -> None:
    grid = Grid(("stem", "stage 1"), (("a", "b"), ("x", "y")), ((1.0, 2.0), (1.0, 2.0)))
    networks = read_networks(written(tmp_path, text), values="optional")
    with pytest.raises(FileFormatError, match=message):
        in_order_of(networks, grid)
