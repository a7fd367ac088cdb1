"""Tables from whole networks whose truth is known: what is learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planted_networks import (
    Floats,
    Plant,
    additive,
    planted,
)
from ponas_deploy.errors import MeasurementError, TableMismatchError
from ponas_deploy.fitting import Fit, fit_document, fit_networks, predict, table_of
from ponas_deploy.fitting.design import Layout, counts, factors
from ponas_deploy.fitting.ranks import rank_correlation, spearman
from ponas_deploy.fitting.rows import Rows
from ponas_deploy.fitting.scale import LATENCY, clock_step
from ponas_deploy.fitting.solve import robust_weights
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.files import load_table
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.networks_csv import Networks
from ponas_deploy.tables.spaces import space_of
from searchspace import build_space

SEEDS = range(3)


def clean_error_pct(plant: Plant, fit: Fit) -> float:
    """Mean error in percent on networks that are measured without noise."""
    drawn = plant.draw(500)
    truth = additive(plant, drawn)
    predicted = predict(table_of(fit), plant.networks(drawn, None).choices)
    return float(np.abs(100 * (np.array(predicted) / truth - 1)).mean())


@pytest.mark.parametrize(
    ("rows", "least_tau", "most_error", "identified"),
    [(50, -0.1, 12.0, False), (400, 0.85, 1.2, True), (5000, 0.88, 0.3, True)],
)
def test_an_additive_truth_is_learnt_as_far_as_the_rows_go(
    rows: int, least_tau: float, most_error: float, identified: bool
) -> None:
    for seed in SEEDS:
        plant, networks = planted(additive, rows, seed)
        fit = fit_networks(networks)
        assert fit.tau.low <= fit.tau.tau <= fit.tau.high
        assert fit.tau.tau > least_tau
        assert fit.identification.complete is identified
        assert (fit.additivity.additive, fit.order.drift) == (True, False), fit.warnings
        if identified:
            assert clean_error_pct(plant, fit) < most_error
        else:
            assert any("too few" in warning for warning in fit.warnings)


def test_20000_rows_are_learnt_exactly() -> None:
    plant, networks = planted(additive, 20_000, 0)
    fit = fit_networks(networks)
    assert clean_error_pct(plant, fit) < 0.12
    assert fit.mean_error == pytest.approx(0.8, rel=0.1)  # the mean size of 1 % of normal noise
    assert (fit.identification.complete, fit.additivity.additive, fit.order.drift) == (True, True, False)


def test_few_rows_of_readable_labels_are_fitted_by_their_parts() -> None:
    space = build_space("ponas")
    rng = np.random.default_rng(3)
    kernel, wide, squeeze = {"3": 0.0, "5": 0.2, "7": 0.5}, {"3": 0.0, "6": 0.8}, {"no": 0.0, "yes": 0.15}
    drawn = [[str(rng.choice(labels)) for labels in space.labels] for _ in range(60)]
    scale = np.linspace(0.5, 2, len(space.labels))

    def cost(label: str, size: float) -> float:
        part = factors(label)
        return size * (kernel[part["k"]] + wide[part["e"]] + squeeze[part.get("se", "no")])

    values = [8 + sum(cost(label, size) for label, size in zip(row, scale, strict=True)) for row in drawn]
    plant = Plant.of(1, 2, 0)
    networks = replace(
        plant.networks(np.zeros((60, 1), dtype=np.intp), np.array(values)),
        layers=tuple(layer.name for layer in space.layers),
        choices=tuple(map(tuple, drawn)),
    )
    fit = fit_networks(networks)
    assert "factors" in fit.model.prior
    assert fit.tau.tau > 0.75
    assert not fit.identification.complete  # the parts are an assumption, no knowledge
    table = table_of(fit, resolution=96, classes=10)
    assert isinstance(table, LatencyTable)
    assert table.grid.candidates == space.labels, "cells that no row has are in the table all the same"
    assert table.space is not None
    assert (table.space.name, table.space.resolution, table.space.classes) == ("ponas", 96, 10)
    assert space_of(table) is not None


def outliers(plant: Plant, values: Floats, share: float = 0.03) -> Floats:
    wrong = plant.rng.random(len(values)) < share
    return np.where(wrong, values * plant.rng.uniform(1.3, 3, len(values)), values)


def coarse(plant: Plant, values: Floats) -> Floats:
    return np.round(values, 1)


@pytest.mark.parametrize(("disturb", "most_error"), [(outliers, 1.2), (coarse, 0.6)])
@pytest.mark.parametrize("again", [0.0, 0.25])
def test_outliers_and_coarse_clocks_do_no_harm(
    disturb: Callable[[Plant, Floats], Floats], most_error: float, again: float
) -> None:
    for seed in SEEDS:
        plant = Plant.of(12, 6, seed)
        drawn = plant.draw(400, again)
        values = disturb(plant, plant.noisy(additive(plant, drawn), 0.005))
        fit = fit_networks(plant.networks(drawn, values))
        assert clean_error_pct(plant, fit) < most_error
        assert (fit.additivity.additive, fit.order.drift) == (True, False), fit.warnings


def test_more_outliers_than_one_in_twenty_do_no_harm_to_the_cells_and_are_said() -> None:
    for seed in SEEDS:
        plant = Plant.of(12, 6, seed)
        drawn = plant.draw(400)
        values = outliers(plant, plant.noisy(additive(plant, drawn), 0.005), 0.08)
        fit = fit_networks(plant.networks(drawn, values))
        assert clean_error_pct(plant, fit) < 1.2
        assert (fit.additivity.additive, fit.additivity.tail) == (False, True)
        assert any("one held-out network in twenty is off by" in warning for warning in fit.warnings)


def test_robust_beats_least_squares_on_outliers() -> None:
    """SciPy's least squares is the reference: equal on clean rows, far behind with outliers."""
    linear = pytest.importorskip("scipy.linalg")
    plant = Plant.of(10, 5, 1)
    drawn = plant.draw(500)
    truth = additive(plant, drawn)
    for values, ratio in (
        (plant.noisy(truth), (0.9, 1.1)),
        (outliers(plant, plant.noisy(truth)), (0.0, 0.5)),
    ):
        networks = plant.networks(drawn, values)
        layout = Layout(networks.layers, networks.candidates)
        design = np.zeros((len(drawn), layout.size + 1))
        np.put_along_axis(design, layout.cells(networks.choices), 1.0, axis=1)
        design[:, -1] = 1.0
        solved = linear.lstsq(design, values)[0]
        plain = float(np.abs(design @ solved / truth - 1).mean())
        ours = np.array(predict(table_of(fit_networks(networks)), networks.choices))
        low, high = ratio
        assert low < float(np.abs(ours / truth - 1).mean()) / plain < high


def test_the_counts_are_those_of_a_written_out_design() -> None:
    plant = Plant.of(5, 4, 0)
    networks = plant.networks(plant.draw(50), None)
    layout = Layout(networks.layers, networks.candidates)
    cells, weights = layout.cells(networks.choices), plant.rng.random(50)
    design = np.zeros((50, layout.size))
    np.put_along_axis(design, cells, 1.0, axis=1)
    np.testing.assert_allclose(counts(cells, layout.size, weights), design.T @ (design * weights[:, None]))


def test_rank_correlations_are_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for first, second in (
        (rng.normal(size=300), rng.normal(size=300)),
        (rng.integers(0, 5, 200).astype(float), rng.integers(0, 9, 200).astype(float)),
    ):
        second = second + first
        found = rank_correlation(first, second)
        assert found.tau == pytest.approx(stats.kendalltau(first, second).statistic)
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert rank_correlation(np.ones(5), np.arange(5.0)).tau == 0


def test_the_interval_of_tau_holds_the_truth() -> None:
    """For normal pairs of correlation r the truth is 2 / pi asin r."""
    rng = np.random.default_rng(1)
    truth, inside = 2 / np.pi * np.arcsin(0.9), 0
    for _ in range(200):
        one = rng.normal(size=60)
        found = rank_correlation(one, 0.9 * one + np.sqrt(1 - 0.81) * rng.normal(size=60))
        inside += found.low <= truth <= found.high
    assert inside >= 180


def test_rows_of_one_network_go_to_one_fold_and_its_middle_is_fitted() -> None:
    plant = Plant.of(3, 3, 0)
    drawn = np.array([[0, 1, 2], [1, 1, 1], [0, 1, 2], [0, 1, 2]], dtype=np.intp)
    networks = plant.networks(drawn, np.array([1.0, 5.0, 2.0, 9.0]))
    rows = Rows.of(networks, Layout(networks.layers, networks.candidates))
    problem = rows.problem(LATENCY)
    assert (rows.group.tolist(), rows.distinct) == ([0, 1, 0, 0], 2)
    assert (problem.target.tolist(), problem.repeats.tolist()) == ([2.0, 5.0], [3.0, 1.0])


@pytest.mark.parametrize(("decimals", "step"), [(0, 1.0), (1, 0.1), (2, 0.01)])
def test_the_clocks_step_is_seen(decimals: int, step: float) -> None:
    values = np.random.default_rng(0).uniform(10, 20, 50)
    assert clock_step(np.round(values, decimals)) == pytest.approx(step)
    assert clock_step(values) < 1e-6


def accuracies(loss_scale: float, log: bool, rows: int, seed: int) -> tuple[Networks, Networks, Floats]:
    plant = Plant.of(10, 5, seed)
    drawn, others = plant.draw(rows), plant.draw(300)
    middle = plant.sums(others).mean()

    def top1(found: Floats) -> Floats:
        away = loss_scale * (found - middle)
        return 100 - 25 * np.exp(away) if log else 75 - 25 * away

    noisy = top1(plant.sums(drawn)) + 0.1 * plant.rng.standard_normal(rows)
    truth = top1(plant.sums(others))
    return plant.networks(drawn, noisy, "accuracy"), plant.networks(others, truth, "accuracy"), truth


@pytest.mark.parametrize(("log", "scale"), [(True, "log-error"), (False, "points")])
def test_accuracies_are_fitted_in_the_scale_that_adds_up(log: bool, scale: str) -> None:
    for seed in SEEDS:
        networks, others, truth = accuracies(0.15, log, 400, seed)
        fit = fit_networks(networks)
        table = table_of(fit)
        assert (fit.scale.name, fit.kind) == (scale, "accuracy")
        assert isinstance(table, AccuracyTable)
        predicted = np.array(predict(table, others.choices))
        assert float(np.abs(predicted - truth).mean()) < 0.1
        assert fit.mean_error < 0.15
        losses = np.array([table.loss_pp(row) for row in others.choices])
        assert rank_correlation(-losses, predicted).tau > 0.9999, "the search ranks as the model does"
        assert float(np.std(losses + truth)) < 0.15 * float(np.std(truth)), "points are points"
        assert (fit.additivity.additive, fit.identification.complete) == (True, True)


def test_perfect_networks_are_no_trouble() -> None:
    networks, _, _ = accuracies(0.3, True, 100, 0)
    values = tuple(100.0 if row % 10 == 0 else value for row, value in enumerate(networks.values))
    found = predict(table_of(fit_networks(replace(networks, values=values))), networks.choices)
    assert all(0 <= value <= 100 for value in found)


def test_tables_come_back_from_their_files(tmp_path: Path) -> None:
    latency = table_of(fit_networks(planted(additive, 300, 0, size=(6, 4), again=0.2)[1]), created="now")
    accuracy = table_of(fit_networks(accuracies(0.3, True, 100, 0)[0]))
    assert isinstance(latency, LatencyTable)
    assert isinstance(accuracy, AccuracyTable)
    write_latency_table(latency, tmp_path / "l.json")
    write_accuracy_table(accuracy, tmp_path / "a.json")
    assert load_table(tmp_path / "l.json") == latency
    assert load_table(tmp_path / "a.json") == accuracy
    assert min(value for row in latency.grid.values for value in row) > 0
    assert latency.certificate is not None
    assert latency.certificate.noise_floor_pct == pytest.approx(1.13, rel=0.4)
    assert 0 < latency.certificate.noise_tau <= 1
    single = table_of(fit_networks(planted(additive, 300, 0, size=(12, 6))[1]))
    assert isinstance(single, LatencyTable)
    assert single.certificate is None, "without repeats nobody knows the noise floor"


def test_the_search_finds_the_fastest_by_a_fitted_table() -> None:
    plant, networks = planted(additive, 1000, 0, size=(6, 4))
    table = table_of(fit_networks(networks))
    assert isinstance(table, LatencyTable)
    best = [row.index(min(row)) for row in table.grid.values]
    truth = [int(np.argmin(cost)) for cost in plant.costs]
    assert [labels[index] for labels, index in zip(table.grid.candidates, best, strict=True)] == [
        plant.labels[index] for index in truth
    ]


def test_predictions_of_tables_that_were_not_fitted() -> None:
    grid = Grid(("a", "b"), (("x", "y"), ("x", "y")), ((70.0, 72.0), (71.0, 72.0)))
    assert predict(AccuracyTable.from_top1(grid), [("y", "y"), ("x", "x")]) == (72.0, 69.0)
    losses = replace(grid, values=((0.0, 1.0), (2.0, 0.0)), fixed=25.0)
    assert predict(AccuracyTable(losses), [("y", "x")]) == (72.0,)
    with pytest.raises(TableMismatchError, match="no level"):
        predict(AccuracyTable(replace(losses, fixed=0.0)), [("y", "x")])


def test_too_few_rows_and_equal_values_are_refused() -> None:
    plant, networks = planted(additive, 19, 0, size=(6, 4))
    with pytest.raises(MeasurementError, match="19 rows are too few for a table: give 20 or more"):
        fit_networks(networks)
    drawn = plant.draw(4)[np.arange(40) % 4]
    with pytest.raises(MeasurementError, match="40 rows hold 4 different networks"):
        fit_networks(plant.networks(drawn, additive(plant, drawn)))
    with pytest.raises(MeasurementError, match="all 30 rows have the value 5"):
        fit_networks(plant.networks(plant.draw(30), np.full(30, 5.0)))


def test_a_seed_gives_the_same_document() -> None:
    networks = planted(additive, 100, 0, size=(6, 4))[1]
    assert fit_document(fit_networks(networks)) == fit_document(fit_networks(networks))
    assert fit_networks(networks, seed=1).tau != fit_networks(networks).tau


def test_20_rows_are_enough_to_say_something() -> None:
    for seed in SEEDS:
        fit = fit_networks(planted(additive, 20, seed, size=(12, 6))[1])
        assert not fit.identification.complete
        assert (fit.additivity.additive, fit.order.drift) == (True, False)


def test_many_cells_are_weighed_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conjugate gradients and elimination solve the same equations."""
    networks = planted(additive, 400, 0, size=(12, 6))[1]
    layout = Layout(networks.layers, networks.candidates)
    problem = Rows.of(networks, layout).problem(LATENCY)
    few = robust_weights(problem, layout.size)
    monkeypatch.setattr("ponas_deploy.fitting.solve._FEW_CELLS", 0)
    np.testing.assert_allclose(robust_weights(problem, layout.size), few, rtol=1e-5)


def test_a_long_fit_says_how_far_it_is() -> None:
    heard: list[tuple[int, int, str]] = []
    networks = planted(additive, 300, 0, size=(6, 4))[1]
    fit_networks(networks, on_step=lambda done, total, text: heard.append((done, total, text)))
    folds = [done for done, total, text in heard if text == "held-out rows, by latency"]
    assert folds == list(range(10))
    assert heard[-1] == (2, 2, "all rows")
