"""What moved between two tables, and which two refuse to be compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planted_networks import Floats, Plant, additive
from ponas_deploy.commands.reports.diff import diff_report
from ponas_deploy.errors import TableMismatchError
from ponas_deploy.files.documents import encoded
from ponas_deploy.fitting import fit_networks, table_of
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.diff import diff_document, diff_tables
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from rendered import shown
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


def test_a_cell_that_costs_nothing_in_one_table_has_changed_and_one_that_does_in_both_has_not() -> None:
    layers, labels = ("a", "b"), (("x", "y"),) * 2
    before = LatencyTable(Grid(layers, labels, ((0.0, 2.0), (0.0, 1.0))))
    after = LatencyTable(Grid(layers, labels, ((0.5, 2.0), (0.0, 0.0))))
    diff = diff_tables(before, after)
    moved = [(change.layer, change.candidate, change.change, change.own) for change in diff.changes]
    assert moved == [("a", "x", 100.0, True), ("a", "y", 0.0, False), ("b", "y", -100.0, True)]
    assert (len(diff.significant), diff.common_change) == (2, 0.0)
    nothing = LatencyTable(Grid(layers, labels, ((0.0, 0.0),) * 2))
    same = diff_tables(nothing, nothing)
    assert (same.changes, same.mean_change, same.mean_size, same.common_change) == ((), 0.0, 0.0, 0.0)
    assert "no cell differs" in shown(diff_report(same, "before", "after"))


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
    assert set(document["changes"][0]) == {
        "layer",
        "candidate",
        "before",
        "after",
        "change",
        "significant",
        "own",
    }


def test_a_copy_times_one_factor_has_two_stars_where_two_cells_changed() -> None:
    plain = replace(latency_table(), intervals_ms=())
    rows = [[1.1 * value for value in row] for row in plain.grid.values]
    rows[2][1] *= 1.3
    rows[7][4] *= 0.8
    changed = replace(plain, grid=replace(plain.grid.scaled(1.1), values=tuple(map(tuple, rows))))
    diff = diff_tables(plain, changed)
    places = {(change.layer, change.candidate) for change in diff.marked}
    assert places == {
        (plain.grid.layers[2], plain.grid.candidates[2][1]),
        (plain.grid.layers[7], plain.grid.candidates[7][4]),
    }
    assert (len(diff.significant), diff.moved_together) == (228, True)
    document = encoded(diff_document(diff))
    assert sum(change["own"] for change in document["changes"]) == document["own"] == 2
    report = shown(diff_report(diff, "a", "b"))
    grid = report[: report.index("mean change")]
    assert grid.count("*") == 2
    assert "2 cells moved otherwise, by more than noise (marked *)" in " ".join(report.split())


def fitted(seed: int, costs: list[Floats], rows: int = 600) -> LatencyTable:
    plant = replace(Plant.of(len(costs), 5, seed), costs=tuple(costs))
    drawn = plant.draw(rows)
    table = table_of(fit_networks(plant.networks(drawn, plant.noisy(additive(plant, drawn)))))
    assert isinstance(table, LatencyTable)
    return table


def test_between_two_fitted_tables_the_free_candidate_is_not_marked_in_every_layer() -> None:
    costs = list(Plant.of(8, 5, 3).costs)
    diff = diff_tables(fitted(1, costs), fitted(2, costs))
    assert diff.judged_by.startswith("3 % or more of the layer's mean")
    assert len(diff.marked) <= 1
    assert abs(diff.mean_change) < 3
    slower = [cost.copy() for cost in costs]
    place = int(np.argmax(slower[4]))
    slower[4][place] += 0.5
    own, *others = diff_tables(fitted(1, costs), fitted(2, slower)).own
    assert len(others) <= 1
    assert (own.layer, own.candidate) == ("layer4", f"op{place}")


def test_fitted_tables_of_a_slower_machine_moved_together() -> None:
    costs = list(Plant.of(8, 5, 3).costs)
    diff = diff_tables(fitted(1, costs), fitted(2, [1.5 * cost for cost in costs]))
    assert diff.moved_together
    assert len(diff.marked) <= 2
