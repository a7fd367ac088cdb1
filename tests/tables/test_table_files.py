"""Tables from their JSON files: exact round trips, and every fault named with its key."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ponas_deploy.errors import FileFormatError, OverwriteError
from ponas_deploy.files.records import write_json
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table, load_table, table_document
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from sample_tables import accuracy_table, latency_table, write_csv

Document = dict[str, Any]


def test_a_latency_table_comes_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_latency_table(latency_table(), path)
    assert load_latency_table(path) == latency_table()
    assert load_table(path) == latency_table()


def test_an_accuracy_table_comes_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_accuracy_table(accuracy_table(), path)
    assert load_accuracy_table(path) == accuracy_table()
    assert load_table(path) == accuracy_table()


def test_tables_without_any_provenance_come_back_exactly(tmp_path: Path) -> None:
    grid = Grid(("a", "b"), (("x",), ("x", "y")), ((0.1,), (0.2, 0.3)), 0.7)
    write_latency_table(LatencyTable(grid), tmp_path / "l.json")
    write_accuracy_table(AccuracyTable(grid), tmp_path / "a.json")
    assert load_table(tmp_path / "l.json") == LatencyTable(grid)
    assert load_table(tmp_path / "a.json") == AccuracyTable(grid)


def test_streams_are_a_key_and_one_where_a_table_does_not_say(tmp_path: Path) -> None:
    table = latency_table()
    assert table.conditions is not None
    several = replace(table, conditions=replace(table.conditions, streams=2))
    write_latency_table(several, tmp_path / "several.json")
    read = load_latency_table(tmp_path / "several.json").conditions
    assert read == several.conditions != table.conditions
    assert read is not None
    assert read.text.endswith(", batch 1, 2 streams")
    document = json.loads((tmp_path / "several.json").read_text())
    del document["conditions"]["streams"]
    (tmp_path / "older.json").write_text(json.dumps(document))
    assert load_latency_table(tmp_path / "older.json").conditions == table.conditions


def test_a_document_is_what_the_file_holds(tmp_path: Path) -> None:
    for table, write in ((latency_table(), write_latency_table), (accuracy_table(), write_accuracy_table)):
        path = tmp_path / f"{type(table).__name__}.json"
        write(table, path)  # type: ignore[operator]
        assert json.loads(path.read_text()) == json.loads(json.dumps(table_document(table)))


def test_a_table_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_latency_table(latency_table(), path)
    with pytest.raises(OverwriteError):
        write_latency_table(latency_table(), path)
    write_latency_table(latency_table(factor=2), path, overwrite=True)
    assert load_latency_table(path) == latency_table(factor=2)


def change(*keys: str | int, to: Any) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        at: Any = document
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = to

    return apply


def remove(*keys: str | int) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        at: Any = document
        for key in keys[:-1]:
            at = at[key]
        del at[keys[-1]]

    return apply


CELL = ("layers", 3, "cells", 0)
JSON_FAULTS = {
    "newer": (
        change("format", to="ponas.latency-table/9"),
        "format: is version 9, this program reads up to 2",
    ),
    "other kind": (change("format", to="ponas.engine/1"), "format: is 'ponas.engine/1', expected"),
    "zero": (
        change(*CELL, "latency_ms", to=0),
        "layers[3].cells[0]: layer '4' candidate 'k3e3': latency_ms is 0",
    ),
    "negative": (change(*CELL, "isolated_ms", to=-1.5), "layer '4' candidate 'k3e3': isolated_ms is -1.5"),
    "nan": (
        change(*CELL, "latency_ms", to=float("nan")),
        "layers[3].cells[0]: layer '4' candidate 'k3e3': latency_ms is nan",
    ),
    "text": (change(*CELL, "latency_ms", to="1 ms"), "latency_ms is '1 ms', expected a number"),
    "true": (change(*CELL, "latency_ms", to=True), "latency_ms is true, expected a number"),
    "missing": (
        remove(*CELL, "latency_ms"),
        "layers[3].cells[0]: layer '4' candidate 'k3e3': latency_ms is missing",
    ),
    "no label": (remove(*CELL, "candidate"), "layers[3].cells[0].candidate: is missing"),
    "no object": (change(*CELL, to=7), "layers[3].cells[0]: is 7, expected an object"),
    "twice": (
        change(*CELL, "candidate", to="k5e3"),
        "layer '4' candidate 'k5e3' stands here a second time, after layers[3].cells[0]",
    ),
    "layer twice": (
        change("layers", 3, "name", to="1"),
        "layers[3].name: layer '1' stands here a second time",
    ),
    "no cells": (
        change("layers", 3, "cells", to=[]),
        "layers[3].cells: is empty: layer '4' needs at least one",
    ),
    "no layers": (change("layers", to=[]), "holds no cells"),
    "layers no list": (change("layers", to={}), "layers: is an object, expected a list"),
    "space": (change("space", "fingerprint", to=1), "space.fingerprint: is 1, expected text"),
    "threads": (
        change("conditions", "threads", to="one"),
        "conditions.threads: is 'one', expected a whole number",
    ),
    "interval": (remove(*CELL, "low_ms"), "layers[3].cells[0].low_ms: is missing"),
    "rounds": (
        change("measurements", 0, "rounds_ns", to=[1, None]),
        "measurements[0].rounds_ns[1]: is null, expected a finite number.",
    ),
    "no round": (
        change("measurements", 0, "rounds_ns", to=[]),
        "measurements[0]: holds no round.",
    ),
    "negative round": (
        change("measurements", 0, "rounds_ns", to=[1, -2]),
        "measurements[0].rounds_ns[1]: is -2, expected more than 0.",
    ),
    "no runs": (change("measurements", 0, "runs", to=0), "measurements[0].runs: is 0, expected 1 or more."),
    "no thread": (change("conditions", "threads", to=0), "conditions.threads: is 0, expected 1 or more."),
    "no batch": (change("conditions", "batch", to=0), "conditions.batch: is 0, expected 1 or more."),
    "resolution": (change("space", "resolution", to=-5), "space.resolution: is -5, expected 1 or more."),
    "classes": (change("space", "classes", to=0), "space.classes: is 0, expected 1 or more."),
    "network in no time": (
        change("certificate", "networks", 0, "measured_ms", to=0),
        "certificate.networks[0].measured_ms: is 0, expected more than 0.",
    ),
    "empty certificate": (change("certificate", to={}), "certificate.mean_error_pct: is missing."),
    "isolated constant": (
        change("fixed_isolated_ms", to=-5),
        "fixed_isolated_ms: is -5, a constant that nothing corrected cannot be negative.",
    ),
    "round of another type": (
        change("rounds", to=[{"number": 0}, {"number": 1, "load": "high"}]),
        "rounds[1].load: is 'high', expected a finite number or null.",
    ),
    "round with something else": (
        change("rounds", to=[{"number": 0, "wind": "north"}]),
        "rounds[0].wind: is nothing that is known here.",
    ),
    "certificate": (remove("certificate", "kendall_tau"), "certificate.kendall_tau: is missing"),
}


@pytest.mark.parametrize("case", JSON_FAULTS)
def test_a_fault_in_a_json_table_is_named_with_its_key(tmp_path: Path, case: str) -> None:
    spoil, message = JSON_FAULTS[case]
    document = json.loads(json.dumps(table_document(latency_table())))
    spoil(document)
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document))
    with pytest.raises(FileFormatError) as error:
        load_latency_table(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


def test_only_a_corrected_constant_may_be_negative(tmp_path: Path) -> None:
    document = json.loads(json.dumps(table_document(latency_table())))
    document["fixed_latency_ms"] = -0.5
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document))
    assert load_latency_table(path).grid.fixed == -0.5
    document["correction"] = None
    path.write_text(json.dumps(document))
    with pytest.raises(
        FileFormatError, match=r"fixed_latency_ms: is -0\.5, a constant that nothing corrected"
    ):
        load_latency_table(path)


def test_an_accuracy_measured_on_no_pixels_is_refused(tmp_path: Path) -> None:
    document = table_document(accuracy_table())
    document["origin"]["resolution"] = -5
    write_json(tmp_path / "t.json", "ponas.accuracy-table/1", document)
    with pytest.raises(FileFormatError, match=r"origin\.resolution: is -5, expected 1 or more"):
        load_accuracy_table(tmp_path / "t.json")


def test_a_truncated_table_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_latency_table(latency_table(), path)
    path.write_text(path.read_text()[:2000])
    with pytest.raises(FileFormatError, match=r"t\.json, line \d+ column \d+: is not valid JSON"):
        load_latency_table(path)


def test_the_other_kind_of_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_accuracy_table(accuracy_table(), path)
    with pytest.raises(
        FileFormatError, match=r"is 'ponas\.accuracy-table/1', expected 'ponas\.latency-table/2'"
    ):
        load_latency_table(path)
    csv = write_csv(tmp_path / "t.csv", latency_table().grid, "latency_ms")
    with pytest.raises(
        FileFormatError, match=r"expected layer,candidate,loss_pp or layer,candidate,top1_pct"
    ):
        load_accuracy_table(csv)


def test_an_accuracy_out_of_range_is_named(tmp_path: Path) -> None:
    document = table_document(accuracy_table())
    document["layers"][1]["cells"][2]["top1_pct"] = 100.5
    write_json(tmp_path / "t.json", "ponas.accuracy-table/1", document)
    with pytest.raises(FileFormatError, match=r"layers\[1\]\.cells\[2\]: .*top1_pct is 100\.5, percent lie"):
        load_accuracy_table(tmp_path / "t.json")
