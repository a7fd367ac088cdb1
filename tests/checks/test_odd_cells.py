"""Cells and layers that do not go with the rest of a table of which nobody knows the shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planted_networks import Plant, additive
from ponas_deploy.checks.odd_cells import odd_cells
from ponas_deploy.checks.table_file import check_file, check_table
from ponas_deploy.fitting import fit_networks, table_of
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.store import SHIPPED
from sample_tables import latency_table, write_csv

SHIPPED_TABLES = sorted((SHIPPED / "latency").glob("*/*.json"))


def with_factor(grid: Grid, layer: int, candidate: int | slice, factor: float) -> Grid:
    """The grid with one cell, or all of a layer's, times a factor."""
    values = [np.array(row) for row in grid.values]
    values[layer][candidate] *= factor
    return replace(grid, values=tuple(tuple(map(float, row)) for row in values))


@pytest.mark.parametrize("path", SHIPPED_TABLES, ids=lambda path: path.stem[:24])
def test_a_measured_table_has_no_odd_cells(path: Path) -> None:
    table = load_latency_table(path)
    assert list(odd_cells(table.grid)) == []
    assert table.isolated is None or list(odd_cells(table.isolated)) == []


@pytest.mark.parametrize("factor", [2.9, 1 / 2.9])
@pytest.mark.parametrize("path", SHIPPED_TABLES, ids=lambda path: path.stem[:24])
def test_a_cell_that_is_several_times_off_is_named(path: Path, factor: float) -> None:
    """Nearly three times off, as public tables have it; the shapes are not known."""
    grid = load_latency_table(path).grid
    for layer, candidate in ((0, 3), (8, 0), (18, 11)):
        (found,) = odd_cells(with_factor(grid, layer, candidate, factor))
        assert (found.severity, found.about) == ("warning", f"layer '{grid.layers[layer]}'")
        assert f"candidate '{grid.candidates[layer][candidate]}'" in found.message
        assert "times " in found.message


def test_a_csv_is_checked_for_it(tmp_path: Path) -> None:
    known = latency_table().grid
    grid = replace(known, layers=tuple(f"block {name}" for name in known.layers))
    odd = check_file(write_csv(tmp_path / "t.csv", with_factor(grid, 8, 0, 2.9), "latency_ms"))
    assert [found.about for found in odd.findings if found.severity == "warning"] == ["layer 'block 9'"]
    sound = check_file(write_csv(tmp_path / "u.csv", grid, "latency_ms"))
    assert [found.severity for found in sound.findings if found.severity != "note"] == []


def test_layers_that_repeat_are_compared_cell_by_cell() -> None:
    """In a table so uneven that no row and column explain it, repeated layers still tell."""
    rng = np.random.default_rng(0)
    rows = [np.exp(rng.normal(0, 1.5, 6)) for _ in range(8)]
    rows[4] = rows[3] * rng.uniform(0.97, 1.03, 6)
    labels = (tuple("abcdef"),) * 8
    grid = Grid(tuple(map(str, range(8))), labels, tuple(tuple(map(float, row)) for row in rows))
    assert list(odd_cells(grid)) == []
    (found,) = odd_cells(with_factor(grid, 4, 2, 2.0))
    assert found.about in ("layer '3'", "layer '4'")
    assert "in the layer next to it, like it in all else" in found.message


def test_a_layer_between_two_that_are_alike_is_like_them() -> None:
    rng = np.random.default_rng(1)
    row = np.exp(rng.normal(0, 0.5, 6))
    rows = [row * scale * rng.uniform(0.98, 1.02, 6) for scale in (4, 2, 2, 2, 1, 0.6)]
    grid = Grid(tuple("123456"), (tuple("abcdef"),) * 6, tuple(tuple(map(float, one)) for one in rows))
    assert list(odd_cells(grid)) == []
    (found,) = odd_cells(with_factor(grid, 2, slice(None), 2.9))
    assert found.about == "layer '3'"
    assert (
        "lies between layers '2' and '4', which are alike, and is not like them: 2.9 times" in found.message
    )


def test_a_table_that_fit_made_has_the_labels_of_its_rows(tmp_path: Path) -> None:
    """Nine errors it had, because one layer has labels of its own."""
    plant = Plant.of(8, 9, 0)
    drawn = plant.draw(500)
    networks = plant.networks(drawn, plant.noisy(additive(plant, drawn)))
    other = tuple((*row[:3], row[3].replace("op", "pool"), *row[4:]) for row in networks.choices)
    table = table_of(fit_networks(replace(networks, choices=other)))
    assert [finding for finding in check_table(table) if finding.severity != "note"] == []
    once = tuple((*row[:2], "op0" if row[2] == "op8" else row[2], *row[3:]) for row in networks.choices)
    found = check_table(table_of(fit_networks(replace(networks, choices=once))))
    missing = [finding for finding in found if "is missing" in finding.message]
    assert {finding.severity for finding in missing} <= {"note"}
