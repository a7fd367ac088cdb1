"""The benchmark of protocols, on a device that is arithmetic: it finds what was planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.protocol_data import CHAIN, REBUILT, Raw, Target, in_one_process, joined, swapped
from benchmarks.protocol_evaluation import (
    Trial,
    by,
    evaluated,
    of_process,
    part,
    plain,
    repeats,
    rounds_in,
    space_of,
    splits,
    squared,
)
from benchmarks.protocol_variants import VARIANTS, vary
from ponas_deploy.backends.fake import FakeBackend, FakeDevice

TARGET = Target("fake", "fp32", networks=24, rebuilt=4, seconds=0.0, resolution=32)
SPACE = space_of(32)


@pytest.fixture(scope="module")
def raw() -> Raw:
    """Two processes on a device that adds up exactly, but for what every run costs besides."""
    first = in_one_process(TARGET, 0, (), FakeBackend(FakeDevice(run_ns=50_000)))
    second = in_one_process(TARGET, 1, first.networks(), FakeBackend(FakeDevice(run_ns=50_000)))
    return joined([first, second])


def test_everything_asked_for_is_there(raw: Raw, tmp_path: Path) -> None:
    assert len(raw.networks()) == TARGET.networks
    assert sum(key.startswith(REBUILT) for key in raw.keys) == TARGET.rebuilt
    assert sum(key.startswith(CHAIN) for key in raw.keys) == 132
    assert raw.rounds_ns.shape == raw.at_s.shape == (len(raw.keys), len(raw.process))
    assert set(raw.process) == {0.0, 1.0}
    assert (np.diff(np.sort(raw.at_s[:, raw.process == 0].ravel())) >= 0).all()
    raw.save(tmp_path / "raw.npz")
    again = Raw.load(tmp_path / "raw.npz")
    assert again.keys == raw.keys
    assert (again.rounds_ns == raw.rounds_ns).all()


def test_a_chain_leaves_out_what_a_run_costs(raw: Raw) -> None:
    trial = Trial(raw, SPACE, "median")
    alone, chained = trial.isolated(), trial.in_chain()
    for one, other in zip(alone.values, chained.values, strict=True):
        assert np.array(one) - 0.05 == pytest.approx(np.array(other), abs=1e-4)


def test_the_line_is_exact_where_plain_sums_count_a_runs_cost_twenty_times(raw: Raw) -> None:
    trial = Trial(of_process(raw, 0), SPACE, "median")
    assert evaluated(trial, 16, plain).mean_pct > 10
    for way in (by(Trial.isolated, ()), by(Trial.isolated), by(Trial.in_chain, ()), squared):
        assert evaluated(trial, 16, way).mean_pct < 0.05
        assert evaluated(trial, 16, way).tau == 1


def test_a_swapped_block_is_worth_its_difference() -> None:
    target = Target(
        "fake", "fp32", networks=3, rebuilt=0, chains=False, swaps=True, seconds=0.0, resolution=32
    )
    found = in_one_process(target, 0, (), FakeBackend(FakeDevice(run_ns=50_000)))
    reference = found.networks()[1]
    texts = swapped(SPACE, reference)
    assert len(texts) == 132
    assert set(texts) <= set(found.networks())
    trial = Trial(found, SPACE, "median")
    alone, in_place = np.array(trial.isolated().values), np.array(trial.swapped(reference).values)
    assert in_place == pytest.approx(alone, abs=2e-3)


def test_noise_is_seen_by_halves_and_a_level_by_processes(raw: Raw) -> None:
    rng = np.random.default_rng(0)
    shaken = part(raw, np.arange(len(raw.process)))
    shaken.rounds_ns[...] = raw.rounds_ns * (1 + 0.02 * rng.standard_normal(raw.rounds_ns.shape))
    shaken.rounds_ns[:, raw.process == 1] *= 1.1
    found = repeats(shaken, SPACE, "median", True, raw.networks())
    assert 0.5 < found.halves_pct < 3
    assert found.level_pct == pytest.approx(-9.5, abs=2)
    assert found.processes_pct < 3, "the level is not counted as noise"


def test_splits_are_apart_and_fit_on_the_ends() -> None:
    for fit, check in splits(60, 16):
        assert not set(fit) & set(check)
        assert {0, 59} <= set(fit)
        assert len(set(check)) == 40


def test_more_networks_leave_fewer_rounds(raw: Raw) -> None:
    assert rounds_in(raw, 1000, 16) > rounds_in(raw, 1000, 48) > 0


def test_every_variant_gets_its_rounds() -> None:
    target = Target("fake", "fp32", networks=3, rebuilt=0, chains=False, seconds=0.0, resolution=32)
    found = vary(target, FakeBackend())
    assert set(found) == {variant.name for variant in VARIANTS}
    for raw in found.values():
        assert raw.rounds_ns.shape[1] >= 4
        assert (raw.rounds_ns > 0).all()
