"""Which runtimes are profiled, by a trial of each and the time there is."""

from __future__ import annotations

import pytest

from ponas_deploy.errors import PonasError
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.progress import LEFT_OUT, TRYING, WAITING, ProfilingProgress
from ponas_deploy.profiling.tables_for import tables_for
from ponas_deploy.profiling.target import Target
from ponas_deploy.profiling.trial import HOPELESS, RuntimeTrial, select, trial
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import Conditions
from searchspace import Space, build_space
from stored_tables import stored


def tried(name: str, run_ms: float, least_s: float) -> RuntimeTrial:
    return RuntimeTrial(Conditions("bench", name, "fp32", 1, 1), run_ms, least_s)


def names(trials: tuple[RuntimeTrial, ...]) -> list[str]:
    return [trial.conditions.backend for trial in trials]


def test_the_fastest_comes_first_and_hopeless_ones_are_left_out() -> None:
    selection = select([tried("slow", 2.1, 5), tried("close", 1.3, 5), tried("fast", 1.0, 5)], 60)
    assert names(selection.chosen) == ["fast", "close"]
    ((aside, reason),) = selection.set_aside
    assert aside.conditions.backend == "slow"
    assert "2.1 times as long" in reason


def test_a_short_time_leaves_the_fastest_that_it_is_enough_for() -> None:
    trials = [tried("fast", 1.0, 90), tried("handy", 1.2, 40), tried("other", 1.3, 30)]
    selection = select(trials, 60)
    assert names(selection.chosen) == ["handy"]
    assert ["about 90 s" in reason for _, reason in selection.set_aside] == [True, False]
    assert names(select(trials, 200).chosen) == ["fast", "handy", "other"]


def test_a_machine_too_slow_for_any_profile_still_gets_the_cheapest() -> None:
    assert names(select([tried("fast", 1.0, 900), tried("light", 3.0, 200)], 60).chosen) == ["light"]


def test_tables_that_exist_are_what_the_others_are_compared_with() -> None:
    assert names(select([tried("slow", 1.5, 5)], 60, known_ms=1.0).chosen) == []
    assert names(select([tried("close", HOPELESS, 5)], 60, known_ms=1.0).chosen) == ["close"]
    assert names(select([tried("close", 1.0, 90)], 60, known_ms=1.0).chosen) == []
    assert select([], 60).chosen == ()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_real_trial_says_how_long_a_network_and_a_profile_take(backend: str) -> None:
    space = build_space("ponas", 32, 10)
    found = trial(Conditions("bench", backend, "fp32", 1, 1), space)
    assert 0 < found.run_ms < 1000 * found.least_s


def test_a_runtime_that_is_tried_and_left_out_says_so(tiny: Space) -> None:
    """Beside a table of far lower latencies than any runtime can have."""
    grid = Grid(
        tuple(layer.name for layer in tiny.layers),
        tiny.labels,
        tuple((1e-6,) * len(row) for row in tiny.labels),
    )
    made = stored(tiny, this_machine().name, grid=grid)
    seen = list[ProfilingProgress]()
    target = Target("cpu", ("onnxruntime", "openvino"), "fp32")
    assert [one.path for one in tables_for(target, tiny, 60.0, on_progress=seen.append)] == [made.path]
    assert [one.stage for one in seen] == [WAITING, TRYING, LEFT_OUT]
    assert {(one.runtime, one.resolution) for one in seen} == {("openvino fp32", 32)}
    assert "times as long" in seen[-1].text


def test_a_runtime_that_is_not_there_says_so() -> None:
    with pytest.raises(PonasError, match="backend"):
        trial(Conditions("bench", "nothing", "fp32", 1, 1), build_space("ponas", 32, 10))
