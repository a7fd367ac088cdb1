"""What moved between two tables, and which two refuse to be compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ponas_deploy.errors import TableMismatchError
from ponas_deploy.files.documents import encoded
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.diff import diff_document, diff_tables
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from sample_tables import accuracy_table, latency_table


def test_a_table_does_not_differ_from_itself() -> None:
    diff = diff_tables(latency_table(), latency_table())
    assert (diff.mean_change, diff.mean_size, diff.significant, diff.conditions) == (0, 0, (), ())


def test_a_shift_beyond_the_intervals_is_significant_everywhere() -> None:
    diff = diff_tables(latency_table(), latency_table(factor=1.05))
    assert diff.mean_change == pytest.approx(5.0)
    assert len(diff.significant) == len(diff.changes) == 228
    assert diff.judged_by == "intervals that do not overlap"
    within = diff_tables(latency_table(), latency_table(factor=1.015))
    assert within.mean_change == pytest.approx(1.5)
    assert within.significant == ()


def test_what_all_cells_moved_by_together_is_told_apart_from_a_cells_own_move() -> None:
    slower = latency_table(factor=1.05)
    rows = [list(row) for row in slower.grid.values]
    rows[3][2] *= 1.2
    intervals = [list(row) for row in slower.intervals_ms]
    intervals[3][2] = (0.99 * rows[3][2], 1.01 * rows[3][2])
    odd = replace(
        slower,
        grid=replace(slower.grid, values=tuple(map(tuple, rows))),
        intervals_ms=tuple(map(tuple, intervals)),
    )
    diff = diff_tables(latency_table(), odd)
    assert diff.common_change == pytest.approx(5.0)
    assert len(diff.significant) == 228
    (own,) = diff.own
    assert (own.layer, own.candidate, own.change) == ("4", slower.grid.candidates[3][2], pytest.approx(26))
    document = encoded(diff_document(diff))
    assert (document["own"], document["common_change"]) == (1, pytest.approx(5.0))
    without = diff_tables(replace(latency_table(), intervals_ms=()), replace(odd, intervals_ms=()))
    assert (without.judged_by, len(without.own)) == ("3 % or more", 1)


def test_the_largest_move_comes_first_and_layers_are_matched_by_name() -> None:
    old = LatencyTable(Grid(("1", "2"), (("a", "b"),) * 2, ((1.0, 2.0), (3.0, 4.0)), 1.0))
    new = LatencyTable(Grid(("2", "1"), (("b", "a"),) * 2, ((4.0, 1.5), (2.05, 1.0)), 2.0))
    diff = diff_tables(old, new)
    assert [(c.layer, c.candidate, c.before, c.after) for c in diff.significant] == [("2", "a", 3.0, 1.5)]
    assert diff.significant[0].change == pytest.approx(-50)
    assert diff.judged_by == "3 % or more"
    assert (diff.fixed_before, diff.fixed_after) == (1.0, 2.0)


def test_conditions_that_differ_are_named() -> None:
    diff = diff_tables(latency_table(), latency_table("openvino"))
    assert diff.conditions == (
        ("backend", "onnxruntime", "openvino"),
        ("onnxruntime", "1.0", ""),
        ("openvino", "", "1.0"),
    )


def test_accuracies_differ_in_percentage_points() -> None:
    table = accuracy_table()
    assert table.top1 is not None
    assert table.origin is not None
    rows = (tuple(value + 0.7 for value in table.top1.values[0]), *table.top1.values[1:])
    other = AccuracyTable.from_top1(
        replace(table.top1, values=rows), space=table.space, origin=replace(table.origin, seed=1)
    )
    diff = diff_tables(table, other)
    assert (diff.column, diff.unit, len(diff.significant)) == ("top1_pct", "pp", 12)
    assert ("seed", "0", "1") in diff.conditions
    by_loss = diff_tables(AccuracyTable(table.loss), other)
    assert (by_loss.column, by_loss.significant) == ("loss_pp", ())


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(TableMismatchError, match="one table holds latencies and the other accuracies"):
        diff_tables(latency_table(), accuracy_table())
    other = replace(latency_table(), space=SpaceKey("ponas", "0" * 16, 224, 1000))
    with pytest.raises(TableMismatchError, match=r"only tables of one space"):
        diff_tables(latency_table(), other)
    small = LatencyTable(Grid(("1",), (("a",),), ((1.0,),)))
    with pytest.raises(TableMismatchError, match=r"is only in the first table"):
        diff_tables(LatencyTable(latency_table().grid), small)


def test_the_document_has_the_largest_change_first() -> None:
    document = encoded(diff_document(diff_tables(latency_table(), latency_table(factor=1.05))))
    assert (document["cells"], document["significant"]) == (228, 228)
    assert set(document["changes"][0]) == {"layer", "candidate", "before", "after", "change", "significant"}
