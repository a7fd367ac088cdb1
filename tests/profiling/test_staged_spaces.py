"""A space whose layers are left out from a stage's end: what is drawn and measured of it is legal."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from conftest import tiny_space
from ponas_deploy.backends import FakeBackend
from ponas_deploy.checks.noise_floor import _model
from ponas_deploy.errors import FileFormatError, TableMismatchError
from ponas_deploy.fitting import fit_networks, table_of
from ponas_deploy.fitting.correction import TimedNetwork, correct
from ponas_deploy.fitting.networks import fit_table, predict
from ponas_deploy.fitting.predictions import predict_rows
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.priority import losses
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.random_networks import draws
from ponas_deploy.profiling.sampling import choose
from ponas_deploy.profiling.trial import middle
from ponas_deploy.search.specialize import specialize
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.frames import to_frame
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.networks_csv import Networks, read_networks, write_networks
from searchspace import SPACES, Architecture, ArchitectureError, Candidate, Space, build_space
from searchspace.cost import cost_table, count_macs

OFA = build_space("ofa-mbv3")
QUICK = Plan(max_rounds=10, pause_s=0.0, retakes=0, redone_pct=0)


def staged(resolution: int = 32, classes: int = 10) -> Space:
    """The tiny space as one stage, whose second and third layer may be absent."""
    space = tiny_space(resolution, classes)
    first, *others = space.layers
    others = [replace(one, candidates=(*one.candidates[:2], Candidate("absent", ()))) for one in others]
    return replace(space, name="staged", layers=(first, *others), stages=(3,))


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> Space:
    monkeypatch.setitem(SPACES, "staged", staged)
    return staged()


def test_random_networks_are_legal_and_take_every_combination_equally_often(space: Space) -> None:
    found = list(draws(space, seed=0))
    assert len({one.text for one in found}) == len(found) == 4 * (1 + 2 + 4)
    tails = Counter(one.choices[2:4] for one in islice(draws(OFA, seed=0), 182))
    assert len(tails) == 91
    assert set(tails.values()) == {2}


def test_networks_of_a_profile_are_legal() -> None:
    costs = [np.array(row, dtype=np.float64) for row in cost_table(count_macs, OFA)[1]]
    found = choose(OFA, costs, losses(OFA, None), 72, seed=0)
    networks = [Architecture.from_text(OFA, text) for text in (*found.fit, *found.check)]
    assert len(networks) == 72
    assert any("absent" in one.choices for one in networks)
    assert middle(OFA).space is OFA
    assert _model(space=staged(), place=1.0)


def test_a_profile_of_it_is_searched_by_the_rule(space: Space, tmp_path: Path) -> None:
    table = profile(space, FakeBackend(), plan=QUICK, device="fake-device")
    assert [row[-1] for row in table.grid.values[1:]] == [0.0, 0.0]
    losing = ((0.0, 1.0, 1.0, 1.0), (1.0, 1.0, 0.0), (0.5, 0.0, 2.0))
    accuracy = AccuracyTable(Grid.over(space, losing))
    best = specialize(table, accuracy, {"latency_ms": 100.0})  # type: ignore[arg-type]
    assert (best.choices[1:], best.predicted_loss_pp) == (("k3e3", "k5e3se"), 1.0)
    path = tmp_path / "table.csv"
    to_frame(table).to_csv(path, index=False)
    read = load_latency_table(path)
    assert read.grid.values == table.grid.values
    again = specialize(read, accuracy, {"latency_ms": 100.0})  # type: ignore[arg-type]
    assert again.choices == best.choices


def networks(space: Space, tmp_path: Path, *more: tuple[str, ...]) -> Networks:
    """30 random networks with a latency, and more of the same stem, in a file."""
    chosen = [*(one.choices for one in islice(draws(space, seed=1), 28)), *more]
    names = tuple(layer.name for layer in space.layers)
    values = tuple(1.0 + 0.01 * place for place in range(len(chosen)))
    found = Networks(tmp_path / "n.csv", names, tuple(chosen), values, "latency", ())
    write_networks(found)
    return read_networks(found.path)


def test_a_fitted_table_has_absent_layers_at_nothing(space: Space, tmp_path: Path) -> None:
    takes = {"k3e3": 1.0, "k5e3se": 2.0, "k3e6": 3.0, "k5e6se": 4.0, "absent": 0.0}
    found = networks(space, tmp_path)
    values = tuple(0.5 + sum(takes[label] for label in choices) for choices in found.choices)
    fitted = fit_networks(replace(found, values=values))
    table = table_of(fitted)
    assert isinstance(table, LatencyTable)
    assert [row[-1] for row in table.grid.values[1:]] == [0.0, 0.0]
    assert min(map(min, (row[:-1] for row in table.grid.values[1:]))) > 0.5
    predicted = predict(table, found.choices)
    assert predicted == pytest.approx(values, rel=0.02)
    write_latency_table(table, tmp_path / "fitted.json")
    assert load_latency_table(tmp_path / "fitted.json").grid == table.grid


def test_of_two_widths_with_the_same_labels_one_can_be_named(tmp_path: Path) -> None:
    found = networks(OFA, tmp_path)
    for asked, name in ((None, "ofa-mbv3"), ("ofa-mbv3-w1.2", "ofa-mbv3-w1.2")):
        table = fit_table(found.path, space=asked)
        assert table.space == SpaceKey.of(build_space(name))
    with pytest.raises(TableMismatchError, match="not those of space 'ponas'"):
        fit_table(found.path, space="ponas")
    said: list[str] = []
    path = tmp_path / "latency.csv"
    to_frame(table).to_csv(path, index=False)
    load_latency_table(path, said.append)
    counted = (
        "of ofa-mbv3 and ofa-mbv3-w1.2: parameters and MACs are counted for ofa-mbv3 where neither --space"
    )
    assert any(counted in one for one in said)


def test_a_negative_intercept_is_carried_by_layers_that_are_never_absent(space: Space) -> None:
    cells = space.cells()
    keys = dict.fromkeys(cell.key for row in cells for cell in row if cell.ops)
    takes = {key: 0.5 + 0.1 * place for place, key in enumerate(keys)}
    isolated = Grid.over(space, [[takes.get(cell.key, 0.0) for cell in row] for row in cells], 0.3)
    timed = []
    for one in draws(space, seed=2):
        total_ms = isolated.total(one.choices) - isolated.fixed - 0.2
        timed.append(TimedNetwork(one.choices, Measurement(1, (1e6 * total_ms,) * 8)))
    grid, correction = correct(isolated, cells, tuple(timed), "median")
    assert correction is not None
    assert dict(correction.parameters)["intercept_ms"] < 0
    assert [row[-1] for row in grid.values[1:]] == [0.0, 0.0]
    for network in timed:
        assert grid.total(network.choices) == pytest.approx(network.measurement.value_ms("median"), rel=0.01)


BROKEN = "k3e3", "absent", "k5e3se"


def test_a_row_that_breaks_the_rule_is_refused_by_its_line_and_layer(space: Space, tmp_path: Path) -> None:
    said = r"n\.csv, line 30, column 3: layer '3' is 'k5e3se' behind layer '2', which is absent"
    with pytest.raises(FileFormatError, match=said):
        fit_networks(networks(space, tmp_path, BROKEN))
    table = LatencyTable(Grid.over(space, [[1.0] * len(row) for row in space.labels]))
    predicted = predict_rows(table, networks(space, tmp_path, BROKEN))
    (unknown,) = predicted.unknown
    assert (unknown.row, unknown.layer) == (28, "3")
    assert np.isnan(predicted.values[28])
    with pytest.raises(ArchitectureError, match="layer '3' is 'k5e3se' behind layer '2'"):
        predict(table, [BROKEN])
    fit_networks(networks(space, tmp_path, ("k3e3", "k3e3", "absent")))
