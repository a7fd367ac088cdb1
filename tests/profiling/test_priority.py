"""What is visited most when time is short: that nothing the front needs is left out, and nothing is bent."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.backends.fake import FakeBackend, FakeDevice
from ponas_deploy.errors import TableMismatchError
from ponas_deploy.measuring.detrend import measurements
from ponas_deploy.measuring.protocol import Plan, Samples, measure
from ponas_deploy.profiling.precision import half_pct, precision_of
from ponas_deploy.profiling.priority import EVERYTHING_EVERY, Priority, contenders, losses
from ponas_deploy.profiling.profile import profile
from ponas_deploy.search.frontier import exact_front
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.store import SHIPPED
from searchspace import Space, build_space

QUICK = Plan(max_rounds=24, pause_s=0.0, retakes=0, redone_pct=0)
ENDLESS = replace(QUICK, sample_ns=3 * 10**9)
"""Samples so long that 100 s seem too short; what needs four times as much would be refused. The fake device
never waits."""


def test_the_front_needs_no_cell_that_is_left_out() -> None:
    rng = np.random.default_rng(0)
    left_out = 0
    for _ in range(300):
        sizes = rng.integers(2, 6, 4)
        cost = [rng.uniform(1, 2, size) for size in sizes]
        loss = [rng.integers(0, 4, size).astype(float) for size in sizes]
        keys = [[f"{layer}-{place}" for place in range(size)] for layer, size in enumerate(sizes)]
        low, high = ([values * factor for values in cost] for factor in (0.9, 1.1))
        found = contenders(keys, low, high, loss)
        left_out += sum(map(len, keys)) - len(found)
        true = [values * rng.uniform(0.9, 1.1, values.size) for values in cost]
        front = exact_front(true, loss)
        assert {keys[layer][place] for row in front.choices for layer, place in enumerate(row)} <= found
    assert left_out > 100


def test_a_cell_that_one_of_its_layers_needs_is_in() -> None:
    keys = [["a", "b"], ["a", "b"]]
    values = [np.array([1.0, 2.0])] * 2
    assert contenders(keys, values, values, [np.array([0.0, 1.0])] * 2) == {"a"}
    assert contenders(keys, values, values, [np.array([0.0, 1.0]), np.array([1.0, 0.0])]) == {"a", "b"}


def test_without_an_accuracy_table_the_larger_candidate_is_taken_for_the_better(tiny: Space) -> None:
    for lost in losses(tiny, None):
        assert lost.argmin() == 3, "k5e6se"
        assert lost.argmax() == 0, "k3e3"
    loss = Grid.over(tiny, [(4, 3, 2, 1)] * 3)
    assert losses(tiny, AccuracyTable(loss))[0].tolist() == [4, 3, 2, 1]
    other = SpaceKey("other", "0123", 32, 10)
    with pytest.raises(
        TableMismatchError, match=r"the accuracy table is of space 'other' .0123.*take a table"
    ):
        losses(tiny, AccuracyTable(loss, space=other))


# --- rounds


class Planted:
    """A session of a known cost on a machine that drifts, with noise; `now` counts all samples."""

    now = 0

    def __init__(self, cost_ns: float, rng: np.random.Generator, drift: float) -> None:
        self.cost_ns, self._rng, self._drift = cost_ns, rng, drift

    def time_ns(self, runs: int) -> int:
        Planted.now += 1
        machine = 1 + self._drift * Planted.now / 20_000
        return round(runs * self.cost_ns * machine * (1 + 0.03 * abs(self._rng.standard_normal())))


def planted_rounds(drift: float) -> tuple[dict[str, float], Samples, frozenset[str], int]:
    """All cells of the PONAS space and 20 networks, measured with priority: true costs, samples, networks."""
    table = load_latency_table(next((SHIPPED / "latency" / "amd-epyc-2c").glob("onnxruntime-fp32*")))
    accuracy = load_accuracy_table(SHIPPED / "accuracy" / "ponas.json")
    space, rng = build_space("ponas"), np.random.default_rng(1)
    truth = {
        key: 1e6 * value
        for keys, values in zip(table.cell_keys, table.grid.values, strict=True)
        for key, value in zip(keys, values, strict=True)
    }
    networks = frozenset(f"network {number}" for number in range(20))
    truth |= dict.fromkeys(networks, 3000000.0)
    sessions = {key: Planted(cost, rng, drift) for key, cost in truth.items()}
    samples = Samples()
    Planted.now = 0
    outcome = measure(
        sessions,  # type: ignore[arg-type]
        dict.fromkeys(sessions, 1),
        samples,
        QUICK,
        seed=0,
        sentinel="network 0",
        deadline=float("inf"),
        due=Priority(space, losses(space, accuracy), samples, QUICK, networks).due,
    )
    return truth, samples, networks, outcome.rounds


def test_every_cell_has_its_least_rounds_and_some_all_along() -> None:
    _, samples, networks, rounds = planted_rounds(drift=0.0)
    counts = Counter({key: len(taken) for key, taken in samples.rounds.items()})
    assert rounds == QUICK.max_rounds
    assert {counts[name] for name in networks} == {rounds}
    everything = QUICK.floor_rounds + (rounds - QUICK.floor_rounds) // EVERYTHING_EVERY
    assert min(counts.values()) >= everything
    often = sum(count == rounds for count in counts.values())
    seldom = sum(count <= everything + 2 for count in counts.values())
    assert often > 20 + 53, "the cells of the front, at the least"
    assert seldom > 20
    last = [max(taken) for taken in samples.rounds.values()]
    assert min(last) >= rounds - EVERYTHING_EVERY


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_cells_that_are_seldom_visited_are_not_taken_for_slower_or_faster(drift: float) -> None:
    truth, samples, networks, rounds = planted_rounds(drift)
    found = measurements(samples)
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for key in truth.keys() - networks:
        ratios[len(samples.rounds[key]) == rounds].append(found[key].value_ms("q25") / truth[key] * 1e6)
    assert np.mean(ratios[True]) == pytest.approx(np.mean(ratios[False]), rel=0.006)


def test_rounds_of_before_are_made_up_for_by_new_networks_only(tiny: Space) -> None:
    seen = Priority(
        tiny, losses(tiny, None), Samples(), QUICK, frozenset("ab"), resumed_at=3, new=frozenset("b")
    )
    assert [seen.due(key, 2) for key in ("a", "b", "stem")] == [False, True, False]
    assert [seen.due(key, 3) for key in ("a", "b", "stem")] == [True, True, True]


# --- a whole profile


def accuracy_of(space: Space) -> AccuracyTable:
    """The first candidate is the best and the cheapest: nothing else is on the front."""
    return AccuracyTable(Grid.over(space, [(0, 1, 2, 3)] * 3))


def test_a_profile_in_little_time_measures_the_front_most(tiny: Space, tmp_path: Path) -> None:
    device = FakeDevice(noise_pct=20)
    short = profile(
        tiny,
        FakeBackend(device),
        plan=ENDLESS,
        time_budget_s=100,
        accuracy=accuracy_of(tiny),
        journal=tmp_path / "j",
    )
    rounds = {key: len(measured.rounds_ns) for key, measured in short.measurements}
    front = {row[0] for row in short.cell_keys}
    assert {rounds[key] for key in front} == {24}
    least = 5 + 19 // EVERYTHING_EVERY
    slowest = {row[3] for row in short.cell_keys}
    assert {rounds[key] for key in (*slowest, "stem", "head")} == {least}
    assert min(rounds.values()) == least
    assert short.certificate is not None
    assert {len(net.measurement.rounds_ns) for net in short.certificate.networks} == {24}
    again = profile(
        tiny,
        FakeBackend(device),
        plan=ENDLESS,
        time_budget_s=100,
        accuracy=accuracy_of(tiny),
        journal=tmp_path / "j",
    )
    assert again.measurements == short.measurements, "a finished journal needs no new measurement"
    enough = profile(tiny, FakeBackend(device), plan=QUICK, time_budget_s=100, accuracy=accuracy_of(tiny))
    assert {len(measured.rounds_ns) for _, measured in enough.measurements} == {24}


def test_more_time_for_a_table_of_little_time_makes_up_for_the_rest(tiny: Space, tmp_path: Path) -> None:
    fake = FakeDevice(noise_pct=20)
    plan = replace(ENDLESS, max_rounds=16)
    short = profile(tiny, FakeBackend(fake), plan=plan, time_budget_s=100, accuracy=accuracy_of(tiny))
    few = min(len(measured.rounds_ns) for _, measured in short.measurements)
    assert few < 16
    longer = profile(
        tiny,
        FakeBackend(fake),
        plan=plan,
        time_budget_s=1e9,
        accuracy=accuracy_of(tiny),
        journal=tmp_path / "j",
        further=short,
    )
    assert {len(measured.rounds_ns) for _, measured in longer.measurements} == {16}
    for (key, before), (same, after) in zip(short.measurements, longer.measurements, strict=True):
        assert key == same
        assert {*map(round, before.rounds_ns)} <= {*map(round, after.rounds_ns)}


# --- what was reached


def test_the_intervals_of_the_front_of_other_cells_and_of_networks_are_told_apart() -> None:
    table = load_latency_table(next((SHIPPED / "latency" / "amd-epyc-2c").glob("openvino-bf16*")))
    accuracy = load_accuracy_table(SHIPPED / "accuracy" / "ponas.json")
    found = precision_of(table, accuracy)
    assert (found.cells, found.front_cells > 40) == (132, True)
    assert found.front_pct is not None
    assert found.others_pct is not None
    assert found.networks_pct is not None
    assert found.text.startswith(f"known to (median of 95 % intervals): {found.front_cells} cells of the")
    assert f"whole networks ±{found.networks_pct:.1f} %" in found.text
    plain = precision_of(table)
    assert (plain.front_cells, plain.front_pct) == (0, None)
    assert "of the front" not in plain.text
    assert half_pct((9.0, 11.0), 10.0) == 10.0
    assert precision_of(LatencyTable(table.grid)).text == "nothing was timed here"
