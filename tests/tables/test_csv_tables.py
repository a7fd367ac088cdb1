"""Tables in CSV: any is read exactly, columns are found by name, and every fault is named with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.records import write_json
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table, load_table, table_document
from ponas_deploy.tables.frames import to_frame
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from sample_tables import accuracy_table, latency_table, write_csv

LABELS = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Z")), min_size=1, max_size=6).filter(
    lambda text: text == text.strip()
)
NUMBERS = st.floats(1e-6, 1e6)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    layers = draw(st.lists(LABELS, min_size=1, max_size=5, unique=True))
    candidates = [draw(st.lists(LABELS, min_size=1, max_size=5, unique=True)) for _ in layers]
    values = [tuple(draw(NUMBERS) for _ in row) for row in candidates]
    fixed = draw(st.one_of(st.just(0.0), NUMBERS))
    return Grid(tuple(layers), tuple(map(tuple, candidates)), tuple(values), fixed)


@settings(deadline=None)
@given(grids())
def test_any_latency_csv_is_read_exactly(tmp_path_factory: pytest.TempPathFactory, grid: Grid) -> None:
    path = quoted_csv(tmp_path_factory.mktemp("csv") / "t.csv", grid, "latency_ms")
    assert load_latency_table(path) == LatencyTable(grid)


@settings(deadline=None)
@given(grids())
def test_any_loss_csv_is_read_exactly(tmp_path_factory: pytest.TempPathFactory, grid: Grid) -> None:
    path = quoted_csv(tmp_path_factory.mktemp("csv") / "t.csv", grid, "loss_pp")
    assert load_table(path) == AccuracyTable(grid)


def quoted_csv(path: Path, grid: Grid, column: str) -> Path:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["layer", "candidate", column])
        for layer, labels, values in zip(grid.layers, grid.candidates, grid.values, strict=True):
            writer.writerows([layer, *pair] for pair in zip(labels, values, strict=True))
        if grid.fixed:
            writer.writerow(["", "fixed", grid.fixed])
    return path


def test_top1_in_a_csv_becomes_a_loss_layer_by_layer(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("layer,candidate,top1_pct\n1,a,70\n1,b,72.5\n2,a,60\n2,b,50\n")
    assert load_accuracy_table(path).loss.values == ((2.5, 0.0), (0.0, 10.0))


def test_a_csv_may_be_scattered_spaced_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(
        b"\xef\xbb\xbflayer, candidate, latency_ms\r\n2,a,1\r\n\r\n1, a ,3\r\n2,b,2\r\n,fixed,0\r\n1,b,4\r\n"
    )
    assert load_latency_table(path).grid == Grid(("2", "1"), (("a", "b"), ("a", "b")), ((1, 2), (3, 4)))


def test_columns_are_found_by_name_and_others_are_passed_over_with_a_note(tmp_path: Path) -> None:
    path, notes = tmp_path / "t.csv", list[str]()
    path.write_text(",Candidate,std,LAYER,Latency_ms\n0,a,.1,1,1.5\n1,b,.1,2,2\n2,fixed,,,0.25\n")
    assert load_latency_table(path, notes.append).grid == Grid(
        ("1", "2"), (("a",), ("b",)), ((1.5,), (2,)), 0.25
    )
    assert notes == [f"{path}: the header: columns passed over: the nameless column 1, std."]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("latency_us", "1500"),
        ("Latency (\u00b5s)", "1500"),
        ("latency [s]", "0.0015"),
        ("latency_ns", "1.5e6"),
        ("latency_ms", "1.5"),
    ],
)
def test_the_unit_of_a_latency_is_that_of_its_column(tmp_path: Path, header: str, value: str) -> None:
    path, notes = tmp_path / "t.csv", list[str]()
    path.write_text(f"layer,candidate,{header}\n1,a,{value}\n,fixed,{value}\n", encoding="utf-8")
    grid = load_latency_table(path, notes.append).grid
    assert (grid.values[0][0], grid.fixed) == pytest.approx((1.5, 1.5))
    assert len(notes) == (header != "latency_ms")


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("point", [".", ","])
def test_other_separators_are_read_with_either_decimal_point(
    tmp_path: Path, separator: str, point: str
) -> None:
    path = tmp_path / "t.txt"
    rows = (("layer", "candidate", "loss_pp"), ("1", "a", f"1{point}5"), ("1", "b", "0"))
    path.write_text("\n".join(separator.join(row) for row in rows))
    assert load_accuracy_table(path).loss.values == ((1.5, 0.0),)


@pytest.mark.parametrize("index", [True, False])
def test_what_leaves_as_a_frame_comes_back(tmp_path: Path, index: bool) -> None:
    for table, load in ((latency_table(), load_latency_table), (accuracy_table(), load_accuracy_table)):
        path, notes = tmp_path / "t.csv", list[str]()
        to_frame(table).to_csv(path, index=index)
        read = load(path, notes.append)
        assert isinstance(read, LatencyTable) == isinstance(table, LatencyTable)
        if isinstance(read, LatencyTable) and isinstance(table, LatencyTable):
            assert read.grid == table.grid
        elif isinstance(read, AccuracyTable) and isinstance(table, AccuracyTable):
            assert (read.loss, read.top1) == (table.loss, table.top1)
        assert not any("stem and head" in note for note in notes)


def test_a_candidate_that_is_nothing_costs_nothing(tmp_path: Path) -> None:
    path, said = tmp_path / "t.csv", list[str]()
    path.write_text("layer,candidate,latency_ms\n1,a,0\n1,b,0.5\n2,a,0\n2,b,0.0\n")
    table = load_latency_table(path, said.append)
    assert table.grid.values == ((0.0, 0.5), (0.0, 0.0))
    assert said == [f"{path}: layer '2': every candidate costs 0: its accuracy alone decides there."]
    write_latency_table(table, tmp_path / "t.json")
    assert load_latency_table(tmp_path / "t.json") == table


def test_what_was_timed_did_not_cost_nothing(tmp_path: Path) -> None:
    document = table_document(latency_table())
    document["layers"][1]["cells"][2]["latency_ms"] = 0
    write_json(tmp_path / "t.json", "ponas.latency-table/2", document)
    with pytest.raises(FileFormatError, match=r"latency_ms is 0, a latency must be above zero"):
        load_latency_table(tmp_path / "t.json")


def test_a_known_space_without_a_constant_is_noted(tmp_path: Path) -> None:
    notes = list[str]()
    path = write_csv(tmp_path / "t.csv", replace(latency_table().grid, fixed=0.0), "latency_ms")
    load_latency_table(path, notes.append)
    assert len(notes) == 1
    assert "there is no row ',fixed,MS': stem and head count nothing" in notes[0]
    path.write_text(path.read_text() + ",fixed,0\n")
    load_latency_table(path, notes.append)
    assert len(notes) == 1


CSV_FAULTS = {
    "empty": ("", "line 1: is empty: expected a header."),
    "header only": (
        "layer,candidate,latency_ms\n",
        ": holds no cells: a table needs a value for each candidate.",
    ),
    "other unit": (
        "layer,candidate,latency_min\n1,a,1\n",
        "line 1: the header is 'layer,candidate,latency_min', expected layer,candidate,latency_ms:"
        " 'latency_min' has no unit that is known, write latency_ms, latency_us, latency_ns, latency_s.",
    ),
    "no header": (
        "1,a,1\n",
        "line 1: the header is '1,a,1', expected layer,candidate,latency_ms: it lacks 'layer'; it lacks"
        " 'candidate'; it lacks latency_ms, latency_us, latency_ns, latency_s.",
    ),
    "no unit": (
        "candidate,Latency\na,1\n",
        "line 1: the header is 'candidate,Latency', expected layer,candidate,latency_ms: it lacks 'layer';"
        " 'Latency' has no unit that is known, write latency_ms, latency_us, latency_ns, latency_s.",
    ),
    "two units": (
        "layer,candidate,latency_ms,latency_us\n1,a,1,1\n",
        "line 1: the header is 'layer,candidate,latency_ms,latency_us', expected layer,candidate,latency_ms:"
        " 'latency_ms' and 'latency_us' are both a latency.",
    ),
    "several": (
        "layer,candidate,latency_ms\n1,a\n1,b,fast\n1,c,-1\n",
        "line 2: has 2 fields, expected 3. Also line 3: layer '1' candidate 'b': latency_ms is 'fast',"
        " expected a number; line 4: layer '1' candidate 'c': latency_ms is -1.0, a latency must be above"
        " zero (`ponas table check` lists them).",
    ),
    "accuracy": (
        "layer,candidate,loss_pp\n1,a,1\n",
        "line 1: the header is 'layer,candidate,loss_pp', expected layer,candidate,latency_ms: it lacks"
        " latency_ms, latency_us, latency_ns, latency_s.",
    ),
    "two fields": ("layer,candidate,latency_ms\n1,a\n", "line 2: has 2 fields, expected 3."),
    "no layer": ("layer,candidate,latency_ms\n,a,1\n", "line 2: lacks a layer or a candidate."),
    "no candidate": ("layer,candidate,latency_ms\n1,,1\n", "line 2: lacks a layer or a candidate."),
    "word": (
        "layer,candidate,latency_ms\n1,a,1\n1,b,fast\n",
        "line 3: layer '1' candidate 'b': latency_ms is 'fast', expected a number.",
    ),
    "missing": (
        "layer,candidate,latency_ms\n1,a,\n",
        "line 2: layer '1' candidate 'a': latency_ms is missing.",
    ),
    "underscore": (
        "layer,candidate,latency_ms\n1,a,1_000\n",
        "line 2: layer '1' candidate 'a': latency_ms is '1_000', expected a number.",
    ),
    "digits of another script": (
        "layer,candidate,latency_ms\n1,a,\u0661\u0662\n",
        "line 2: layer '1' candidate 'a': latency_ms is '\u0661\u0662', expected a number.",
    ),
    "nan": (
        "layer,candidate,latency_ms\n1,a,nan\n",
        "line 2: layer '1' candidate 'a': latency_ms is nan, expected a finite number.",
    ),
    "infinite": (
        "layer,candidate,latency_ms\n1,a,1e999\n",
        "line 2: layer '1' candidate 'a': latency_ms is inf, expected a finite number.",
    ),
    "negative": (
        "layer,candidate,latency_ms\n1,a,-0.1\n",
        "line 2: layer '1' candidate 'a': latency_ms is -0.1, a latency must be above zero.",
    ),
    "twice": (
        "layer,candidate,latency_ms\n1,a,1\n\n1,a,2\n",
        "line 4: layer '1' candidate 'a' stands here a second time, after line 2.",
    ),
    "fixed twice": (
        "layer,candidate,latency_ms\n,fixed,1\n1,a,1\n,fixed,1\n",
        "line 4: the constant 'fixed' stands here a second time.",
    ),
    "fixed negative": (
        "layer,candidate,latency_ms\n,fixed,-1\n1,a,1\n",
        "line 2: the constant 'fixed': latency_ms is -1.0, a latency must be above zero.",
    ),
}


@pytest.mark.parametrize("case", CSV_FAULTS)
def test_a_fault_in_a_csv_is_named_with_its_line(tmp_path: Path, case: str) -> None:
    text, message = CSV_FAULTS[case]
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError) as error:
        load_latency_table(path)
    assert str(error.value) == f"{path}{'' if message.startswith(':') else ', '}{message}"


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [("loss_pp", "-1", "a loss must be zero or above"), ("top1_pct", "101", "percent lie between 0 and 100")],
)
def test_impossible_accuracies_are_refused(tmp_path: Path, column: str, value: str, reason: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"layer,candidate,{column}\n1,a,{value}\n")
    with pytest.raises(FileFormatError, match=f"line 2: layer '1' candidate 'a': {column} is .*{reason}"):
        load_accuracy_table(path)


def test_a_csv_that_is_no_text_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"layer,candidate,latency_ms\n1,\xff,1\n")
    with pytest.raises(FileFormatError, match=r"t\.csv, byte 29: is not text"):
        load_latency_table(tmp_path / "t.csv")
    with pytest.raises(FileFormatError, match=r"none\.csv: there is no such file"):
        load_latency_table(tmp_path / "none.csv")
