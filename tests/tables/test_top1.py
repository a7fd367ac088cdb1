"""From summed losses to top-1: a monotone curve, the range of what was measured, and their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ponas_deploy.errors import FileFormatError
from ponas_deploy.tables.accuracy import AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.accuracy_quality import top1_warnings
from ponas_deploy.tables.diff import diff_tables
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.named import accuracy_table
from ponas_deploy.tables.top1 import MeasuredTop1, Top1Scale

LOSS = Grid(("1", "2"), (("a", "b"),) * 2, ((0.0, 2.0), (0.0, 1.0)))
ORIGIN = AccuracyOrigin("ImageNet", "ridge", 224, 1000, 50_000, (), 0, weights="inherited weights")
CURVED = Top1Scale("log-error", 78.0, 3.0, 20.0, MeasuredTop1(1200, 71.0, 77.5))
TABLE = AccuracyTable(LOSS, origin=ORIGIN, top1_scale=CURVED)


@pytest.mark.parametrize("scale", [CURVED, replace(CURVED, error_floor_pct=0.0), Top1Scale("points", 78.0)])
def test_more_loss_is_less_top1_and_all_of_it_is_percent(scale: Top1Scale) -> None:
    found = scale.top1_pct(np.array([0.0, 0.1, 1.0, 5.0, 1e3, 1e9]))
    assert found[0] == pytest.approx(78)
    assert list(found) == sorted(found, reverse=True)
    assert 0 == found[-1] <= found[0] <= 100


def test_the_curve_is_the_log_of_the_error_above_a_floor() -> None:
    assert CURVED.top1_pct(np.array(3.0)) == pytest.approx(80 - 2 * np.e)
    assert Top1Scale("points", 78.0).top1_pct(np.array(3.0)) == pytest.approx(75)


def test_a_prediction_says_what_it_is_of_and_what_it_is_beyond() -> None:
    within, best = TABLE.predicted_top1(2.0), TABLE.predicted_top1(0.0)
    assert within is not None
    assert best is not None
    assert within.text == "76.10 %, ImageNet at 224 px, inherited weights"
    assert best.text == (
        "78.00 %, ImageNet at 224 px, inherited weights; beyond the best of the 1,200 measured networks,"
        " 77.50 %: sums of best cells tend to promise too much"
    )
    assert replace(TABLE, top1_scale=None).predicted_top1(0.0) is None


def test_warnings_are_of_the_ends_and_of_other_resolutions() -> None:
    assert top1_warnings(TABLE, [1.9, 2.0], [224]) == ()
    found = top1_warnings(TABLE, [9.0, 2.0, 0.0], [224, 160, 192])
    said = " ".join(found)
    assert len(found) == 3
    assert "of 39.83 % is below the worst of the 1,200 measured networks, 71.00 %." in said
    assert "of 78.00 % is beyond the best" in said
    assert "top-1 is predicted at 224 px; of networks at 160 px and 192 px it is another." in said
    assert top1_warnings(replace(TABLE, top1_scale=None), [0.0], [160]) == ()


def test_a_scale_comes_back_from_its_file_and_older_files_have_none(tmp_path: Path) -> None:
    for table in (
        TABLE,
        replace(TABLE, top1_scale=Top1Scale("points", 70.0)),
        replace(TABLE, top1_scale=None),
    ):
        path = tmp_path / "t.json"
        write_accuracy_table(table, path, overwrite=True)
        assert load_accuracy_table(path) == table
    assert "top1_scale" not in json.loads(path.read_text())
    assert accuracy_table("ponas").top1_scale is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points_a_unit": 0}, "points_a_unit"),
        ({"curve": "cubic"}, "curve"),
        ({"error_floor_pct": 22}, "must be below 100 less error_floor_pct"),
        ({"measured": {"networks": 0, "least_pct": 1, "greatest_pct": 2}}, "networks"),
    ],
)
def test_a_scale_that_is_none_is_refused_by_its_place(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_accuracy_table(TABLE, tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    document["top1_scale"] |= change
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=rf"top1_scale.*{message}"):
        load_accuracy_table(tmp_path / "t.json")


def test_two_tables_of_other_scales_differ_in_their_conditions() -> None:
    other = replace(TABLE, top1_scale=replace(CURVED, top1_at_no_loss_pct=77.0))
    assert diff_tables(TABLE, other).conditions == (("top-1 at no loss", "78 %", "77 %"),)
