"""The machine's level is found and taken out; what things take themselves is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ponas_deploy.errors import FileFormatError
from ponas_deploy.measuring import detrend
from ponas_deploy.measuring.protocol import Samples
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.statistics import repeatability
from tests.sample_tables import latency_table

KEYS, ROUNDS = 60, 20


def taken(slowness: NDArray[np.float64], noise: float, seed: int = 0) -> tuple[Samples, NDArray[np.float64]]:
    """Rounds in random order on a machine whose level at sample s is `slowness[s]`; and the true times."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(1e5, 1e7, KEYS)
    samples = Samples()
    for number in range(ROUNDS):
        for place, key in enumerate(rng.permutation(KEYS)):
            value = true[key] * slowness[number * KEYS + place] * (1 + noise * abs(rng.standard_normal()))
            samples.add(str(key), number, 1, value)
    return samples, true


WAVES = 1 + 0.05 * np.sin(np.arange(KEYS * ROUNDS) / 150)
"""A machine that gets 5 % slower and faster, some times over."""


def test_a_level_that_changes_is_taken_out() -> None:
    samples, true = taken(WAVES, noise=0.0)
    found = detrend.measurements(samples)
    values = np.array([found[str(key)].value_ms("median") for key in range(KEYS)]) * 1e6 / true
    raw = np.array([samples.measurement(str(key)).value_ms("median") for key in range(KEYS)]) * 1e6 / true
    assert values.std() / values.mean() < 0.2 * raw.std() / raw.mean()


def test_the_level_is_that_of_the_moment() -> None:
    samples, _ = taken(WAVES, noise=0.005)
    found = detrend.measurements(samples)
    levels = [found[key].levels[number] for key, number in samples.sequence]
    assert np.corrcoef(levels, WAVES)[0, 1] > 0.98
    assert np.median(levels) == pytest.approx(1, abs=1e-4)


def test_measurements_repeat_better_without_it() -> None:
    samples, _ = taken(WAVES, noise=0.005)
    raw = [samples.measurement(str(key)) for key in range(KEYS)]
    steady = list(detrend.measurements(samples).values())
    assert (
        repeatability(steady, "midmean").difference_pct < 0.5 * repeatability(raw, "midmean").difference_pct
    )


def test_noise_of_ones_own_is_not_taken_for_the_machines() -> None:
    steady_machine = np.ones(KEYS * ROUNDS)
    samples, _ = taken(steady_machine, noise=0.02)
    raw = [samples.measurement(str(key)) for key in range(KEYS)]
    found = list(detrend.measurements(samples).values())
    before, after = (repeatability(some, "median").difference_pct for some in (raw, found))
    assert after > 0.9 * before, "what is left must not look quieter than it is"


def test_a_sample_taken_again_counts_where_it_was_taken_last() -> None:
    samples = Samples()
    for key in ("a", "b", "c", "a"):
        samples.add(key, 0, 1, 5.0)
    assert list(samples.sequence) == [("b", 0), ("c", 0), ("a", 0)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_samples_are_left_as_they_are(count: int) -> None:
    levels = detrend.levels(np.arange(count), np.full(count, 7.0))
    assert levels == pytest.approx(np.ones(count))


def test_rounds_stay_as_the_clock_said_and_statistics_are_over_levels() -> None:
    measurement = Measurement(1, (2e6, 3e6, 2e6), (1.0, 1.5, 1.0))
    assert measurement.rounds_ns == (2e6, 3e6, 2e6)
    for statistic in ("minimum", "midmean", "median", "fastest_quarter"):
        assert measurement.value_ms(statistic) == pytest.approx(2.0)
    assert measurement.half(1) == Measurement(1, (3e6,), (1.5,))


def test_the_midmean_is_of_the_middle_half() -> None:
    rounds = (9e6, 1e6, 2e6, 4e6, 3e6, 6e6, 100e6, 5e6)
    assert Measurement(1, rounds).value_ms("midmean") == pytest.approx((3 + 4 + 5 + 6) / 4)


def test_a_table_keeps_its_levels(tmp_path: Path) -> None:
    table, path = latency_table(), tmp_path / "table.json"
    key, first = table.measurements[0]
    levels = tuple(1 + 0.01 * number for number in range(len(first.rounds_ns)))
    leveled = Measurement(first.runs, first.rounds_ns, levels)
    write_latency_table(replace(table, measurements=((key, leveled), *table.measurements[1:])), path)
    read = load_latency_table(path)
    assert dict(read.measurements)[key].levels == levels
    assert read.certificate is not None
    assert read.certificate.networks[0].measurement.levels == (), "those from before have none"
    document = json.loads(path.read_text())
    document["measurements"][0]["levels"] = [1.0]
    path.write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=r"measurements\[0\]: must hold \d+ levels above zero"):
        load_latency_table(path)
