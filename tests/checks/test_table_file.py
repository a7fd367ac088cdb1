"""`check` names all that is wrong at once, and is quiet about a sound table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ponas_deploy.checks.table_file import check_file, check_pair, check_table, findings_document
from ponas_deploy.files.documents import encoded
from ponas_deploy.files.findings import Finding
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.files import table_document
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.spaces import space_of
from sample_tables import KEYS, SPACE, accuracy_table, latency_table, write_csv


def with_value(table: LatencyTable, layer: int, candidate: int, value: float) -> LatencyTable:
    """The table with one isolated and corrected value replaced."""
    rows = [list(row) for row in table.grid.values]
    rows[layer][candidate] = value
    grid = replace(table.grid, values=tuple(map(tuple, rows)))
    return replace(table, grid=grid, isolated=grid)


def of(findings: tuple[Finding, ...], severity: str) -> list[Finding]:
    return [finding for finding in findings if finding.severity == severity]


def test_sound_tables_have_no_findings() -> None:
    assert check_table(latency_table()) == ()
    assert check_table(accuracy_table()) == ()


def test_all_faults_of_a_csv_are_named_in_order(tmp_path: Path) -> None:
    lines = write_csv(tmp_path / "t.csv", latency_table().grid, "latency_ms").read_text().splitlines()
    lines[1], lines[5], lines[9] = "1,k3e3,-1", "1,k5e3se,nan", "1,k7e6"
    del lines[30]
    lines += [lines[50], ",fixed,x"]
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines))
    checked = check_file(path)
    errors = [(finding.about, finding.message) for finding in of(checked.findings, "error")]
    assert checked.kind == "latency"
    assert errors == [
        ("line 2", "layer '1' candidate 'k3e3': latency_ms is -1.0, a latency must be above zero."),
        ("line 6", "layer '1' candidate 'k5e3se': latency_ms is nan, expected a finite number."),
        ("line 10", "has 2 fields, expected 3."),
        ("line 230", "layer '5' candidate 'k7e3' stands here a second time, after line 51."),
        ("line 231", "the constant 'fixed' stands here a second time."),
        ("layer '1'", "candidate 'k7e6' is missing: 18 of 19 layers have it."),
        ("layer '3'", "candidate 'k7e3se' is missing: 18 of 19 layers have it."),
    ]


def test_all_faults_of_a_json_table_are_named(tmp_path: Path) -> None:
    document = json.loads(json.dumps(table_document(latency_table())))
    document["layers"][0]["cells"][0]["latency_ms"] = 0
    document["layers"][1]["cells"][1]["isolated_ms"] = None
    document["layers"][2]["cells"].pop()
    document["layers"][4]["cells"][5] = "lost"
    document["conditions"]["batch"] = 1.5
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document))
    assert [finding.about for finding in of(check_file(path).findings, "error")] == [
        "conditions.batch",
        "layers[0].cells[0]",
        "layers[1].cells[1]",
        "layers[4].cells[5]",
        "layer '3'",
        "layer '5'",
    ]


def test_a_file_that_cannot_be_read_is_one_finding(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"format": "ponas.latency-table/1", ')
    (finding,) = check_file(path).findings
    assert finding.severity == "error"
    assert finding.about == "line 1 column 37"
    assert check_file(path).kind == "unreadable"
    (finding,) = check_file(tmp_path / "none.json").findings
    assert finding.message == "there is no such file."


@pytest.mark.parametrize(("factor", "severity"), [(1.05, None), (1.3, "warning"), (2.0, "error")])
def test_equal_blocks_far_apart_are_named(factor: float, severity: str | None) -> None:
    table = latency_table()
    odd = with_value(table, 4, 0, factor * table.grid.values[3][0])
    found = [finding for finding in check_table(odd) if "is one block" in finding.message]
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    for finding in found:
        assert finding.about == KEYS[4][0]
        assert "in layer 5" in finding.message


def test_equal_blocks_are_found_without_keys_where_the_space_is_known(tmp_path: Path) -> None:
    table = latency_table()
    odd = with_value(table, 4, 0, 2 * table.grid.values[3][0])
    path = write_csv(tmp_path / "t.csv", odd.grid, "latency_ms")
    (finding,) = of(check_file(path).findings, "error")
    assert finding.about == KEYS[4][0]
    assert "2.0 times apart" in finding.message


def test_a_larger_block_that_is_clearly_cheaper_is_noted() -> None:
    table = latency_table()
    odd = with_value(table, 0, 2, 0.5 * table.grid.values[0][0])
    (note,) = of(check_table(odd), "note")
    assert note.about == "layer '1'"
    assert note.message.startswith("candidate 'k7e3' takes ")
    assert "which it contains" in note.message


def test_another_version_of_a_space_is_an_error() -> None:
    table = replace(latency_table(), space=SpaceKey("ponas", "0" * 16, 224, 1000))
    (finding,) = of(check_table(table), "error")
    assert "has f51223c53fd2ff79" in finding.message


def test_a_space_under_another_name_is_an_error() -> None:
    table = replace(latency_table(), space=SpaceKey("theirs", SPACE.fingerprint, 224, 1000))
    (finding,) = of(check_table(table), "error")
    assert finding.message == f"is 'theirs', but its fingerprint {SPACE.fingerprint} is that of 'ponas'."


def test_a_cell_that_swamps_the_sums_is_an_error() -> None:
    grid = Grid(("1", "2"), (("a", "b"),) * 2, ((1.1, 2.2), (1.3, 1e16)))
    for table in (LatencyTable(grid), AccuracyTable(grid)):
        (finding,) = of(check_table(table), "error")
        assert finding.about == "layer '2'"
        assert finding.message.startswith("candidate 'b' is 1e+16, too large to be added up exactly")


def test_keys_of_nothing_and_an_empty_certificate_are_errors() -> None:
    table = latency_table()
    assert table.certificate is not None
    lone = Measurement(1, (1e6,))
    odd = replace(
        table,
        measurements=(*table.measurements, ("stem", lone), ("other", lone)),
        unsettled=("stem", "lost"),
        certificate=replace(table.certificate, networks=()),
    )
    errors = [(finding.about, finding.message.partition(":")[0]) for finding in of(check_table(odd), "error")]
    assert errors == [
        ("measurements", "'other' is the key of no cell of this table."),
        ("unsettled", "'lost' is the key of nothing in this table."),
        ("certificate", "names no network"),
    ]


def test_cells_that_the_space_has_not_are_errors() -> None:
    table = latency_table()
    labels = (("k9e9", *table.grid.candidates[0][1:]), *table.grid.candidates[1:])
    odd = LatencyTable(replace(table.grid, candidates=labels), space=table.space)
    messages = [finding.message for finding in of(check_table(odd), "error")]
    assert messages == ["candidate 'k3e3' is missing.", "candidate 'k9e9' does not exist in space 'ponas'."]


def test_an_unknown_space_is_noted_and_its_holes_are_found() -> None:
    labels = (*((("a", "b"),) * 5), ("a",))
    values = (*(((1.0, 2.0),) * 5), (1.0,))
    grid = Grid(tuple("123456"), labels, values)
    findings = check_table(LatencyTable(grid, space=SpaceKey("theirs", "0" * 16, 224, 10)))
    assert [finding.about for finding in findings] == ["space", "layer '6'", "certificate"]


def test_a_hole_in_the_numbers_of_layers_is_a_warning() -> None:
    grid = Grid(("1", "2", "4"), (("a", "b"),) * 3, ((1.0, 2.0),) * 3)
    (finding,) = of(check_table(LatencyTable(grid)), "warning")
    assert finding.about == "layer '3'"


def test_layers_with_candidates_of_their_own_are_fine() -> None:
    grid = Grid(("first", "second"), (("a", "b"), ("x", "y", "z")), ((1.0, 2.0), (1.0, 2.0, 3.0)))
    assert [finding.about for finding in check_table(LatencyTable(grid))] == ["certificate"]


def test_a_poor_certificate_and_restless_cells_are_warnings() -> None:
    table = latency_table()
    assert table.certificate is not None
    poor = replace(table.certificate, mean_error_pct=4.5, kendall_tau=0.91)
    restless = replace(table, certificate=poor, unsettled=("a", "b", "c", "d"))
    findings = check_table(replace(restless, measurements=(), cell_keys=()))
    assert [finding.severity for finding in findings] == ["warning"] * 3
    assert [finding.message.partition(":")[0] for finding in findings] == [
        "4 cells never settled (a, b, c, ...).",
        "mean error 4.5 % (noise floor 0.4 %)",
        "rank correlation 0.91 (noise alone allows 0.99)",
    ]


def test_intervals_that_are_none_are_errors() -> None:
    table = latency_table()
    intervals = (((0.2, 0.1), *table.intervals_ms[0][1:]), *table.intervals_ms[1:])
    (finding,) = check_table(replace(table, intervals_ms=intervals))
    assert finding.message == "candidate 'k3e3': the interval 0.2 to 0.1 ms is not one."


def test_an_accuracy_table_of_ties_is_a_warning() -> None:
    flat = Grid(("1", "2"), (("a", "b"),) * 2, ((70.0, 70.0), (70.0, 70.0)))
    (finding,) = check_table(AccuracyTable.from_top1(flat))
    assert finding.severity == "warning"
    half = replace(flat, values=((70.0, 70.0), (70.0, 71.0)))
    (finding,) = check_table(AccuracyTable.from_top1(half))
    assert (finding.severity, finding.about) == ("note", "layer '1'")


def test_two_tables_that_belong_together_and_two_that_do_not() -> None:
    table = latency_table()
    assert check_pair(table, replace(accuracy_table(), space=table.space)) == ()
    elsewhere = check_pair(table, accuracy_table())
    assert [finding.severity for finding in elsewhere] == ["warning", "warning"]
    assert "resolution is 224 in the first table and 32 in the second" in elsewhere[0].message
    other = replace(accuracy_table(), space=SpaceKey("ponas", "0" * 16, 32, 10))
    assert "two spaces" in check_pair(table, other)[0].message
    small = AccuracyTable(Grid(("1",), (("a",),), ((0.0,),)))
    assert "is only in the first (latency) table" in check_pair(table, small)[0].message


def test_a_space_is_recognised_by_its_labels() -> None:
    table = latency_table()
    assert space_of(LatencyTable(table.grid)) == SPACE
    assert space_of(LatencyTable(replace(table.grid, layers=tuple("abcdefghijklmnopqrs")))) is None


def test_the_document_counts_and_names(tmp_path: Path) -> None:
    write_latency_table(latency_table(), tmp_path / "t.json")
    checked = check_file(tmp_path / "t.json")
    found = findings_document([checked], (Finding("warning", "both tables", "differ", "look"),))
    document = json.loads(json.dumps(encoded(found)))
    assert (document["errors"], document["warnings"], document["notes"]) == (0, 1, 0)
    assert document["files"][0]["kind"] == "latency"
    assert document["together"] == [
        {"severity": "warning", "about": "both tables", "message": "differ", "advice": "look"}
    ]
