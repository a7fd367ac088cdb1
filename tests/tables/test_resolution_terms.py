"""What networks lose at other resolutions: terms of a table, in files, in predictions and in sentences."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.resolution_terms import TERMS
from ponas_deploy.errors import FileFormatError, TableMismatchError
from ponas_deploy.tables.accuracy import AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.named import accuracy_table
from ponas_deploy.tables.resolutions import at_resolutions, resolution_warnings
from ponas_deploy.tables.top1 import MeasuredTop1, Top1Scale

LOSS = Grid(("1", "2"), (("a", "b"),) * 2, ((0.0, 2.0), (0.0, 1.0)))
ORIGIN = AccuracyOrigin("ImageNet", "ridge", 224, 1000, 50_000, (), 0, weights="inherited weights")
CURVED = Top1Scale("log-error", 78.0, 3.0, 20.0, MeasuredTop1(1200, 71.0, 77.5))
TABLE = AccuracyTable(LOSS, origin=ORIGIN, top1_scale=CURVED, resolution_terms=TERMS)


def test_the_shipped_table_has_the_terms_of_the_script() -> None:
    assert accuracy_table("ofa-mbv3").resolution_terms == TERMS
    assert accuracy_table("ponas").resolution_terms is None


def test_between_two_resolutions_the_loss_is_on_a_line_and_beyond_nobody_knows() -> None:
    assert TERMS.lost_pp(192) == 1.0
    assert TERMS.lost_pp(184) == pytest.approx(1.4)
    assert TERMS.lost_pp(128) is None
    assert TERMS.lost_pp(256) is None


def test_a_table_at_another_resolution_takes_points_of_top1_off_whatever_the_network() -> None:
    moved = TABLE.at(192)
    for choices in (("a", "a"), ("b", "a"), ("b", "b")):
        here, there = TABLE.loss_pp(choices), moved.loss_pp(choices)
        assert there == pytest.approx(here + 1)
        one, other = TABLE.predicted_top1(here), moved.predicted_top1(there)
        assert one is not None
        assert other is not None
        assert other.pct == pytest.approx(one.pct - 1)
        assert moved.compared_pp(there) == pytest.approx(TABLE.compared_pp(here) + 1)
    assert other.of == "ImageNet at 192 px (by 224 px, less 1 point (+-0.2)), inherited weights"
    best = moved.predicted_top1(1.0)
    assert best is not None
    assert best.beyond.startswith("at 224 px beyond the best of the 1,200 measured networks, 77.50 %")
    assert TABLE.at(192).at(160) == TABLE.at(160)


def test_without_a_term_another_resolution_is_refused_or_the_table_is_as_it_is() -> None:
    bare = replace(TABLE, resolution_terms=None)
    assert bare.brought_to(160) is bare
    assert TABLE.brought_to(128) is TABLE
    assert TABLE.brought_to(160).brought_to(224) == TABLE
    with pytest.raises(TableMismatchError, match="and nothing says what networks lose at 160 px: name"):
        bare.at(160)
    with pytest.raises(TableMismatchError, match="at 128 px beyond 160 to 224 px"):
        TABLE.at(128)


def test_one_table_counts_everywhere_and_several_where_they_were_measured() -> None:
    assert [table.resolution for _, table in at_resolutions([TABLE], [160, 224])] == [160, None]
    small = replace(TABLE, origin=replace(ORIGIN, resolution=160), resolution_terms=None)
    assert at_resolutions([TABLE, small], [160, 224, 160]) == ((1, small), (0, TABLE), (1, small))
    with pytest.raises(TableMismatchError, match="are of 160 and 224 px, and 160 and 192 px are searched"):
        at_resolutions([TABLE, small], [160, 192])
    with pytest.raises(TableMismatchError, match="one of them only ranks"):
        at_resolutions([TABLE, replace(small, top1_scale=None)], [160, 224])


def test_the_sentence_says_where_the_table_was_measured() -> None:
    assert resolution_warnings(TABLE, [224]) == ()
    (said,) = resolution_warnings(TABLE.at(160), [160, 192, 224])
    assert said == (
        "the accuracy table: it was measured at 224 px only; what networks lose elsewhere is one term for"
        f" all: 1 point at 192 px, 3.1 points at 160 px (+-0.2 from network to network; {TERMS.source})."
    )


def test_terms_come_back_from_their_file_and_broken_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_accuracy_table(TABLE, path)
    assert load_accuracy_table(path) == TABLE
    document = json.loads(path.read_text())
    for terms, message in (
        ([], "one resolution or more"),
        (document["resolution_terms"]["terms"][::-1], "must ascend by resolution"),
        ([{"resolution": 0, "lost_pp": 1.0}], "resolution"),
    ):
        broken = {**document, "resolution_terms": {**document["resolution_terms"], "terms": terms}}
        path.write_text(json.dumps(broken))
        with pytest.raises(FileFormatError, match=rf"resolution_terms.*{message}"):
            load_accuracy_table(path)
