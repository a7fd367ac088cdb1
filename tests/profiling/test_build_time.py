"""What is still to be built, and how long that takes: from the latest builds, of blocks and of networks."""

from __future__ import annotations

import re
import time

import pytest

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.fake import FakeBackend, FakeSession
from ponas_deploy.files.home import home
from ponas_deploy.fitting.correction import LEAST_CHECK, LEAST_FIT
from ponas_deploy.measuring import build_together
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling import bench, build_time, making
from ponas_deploy.profiling.build_time import BuildEstimate, Builds, BuildTimes
from ponas_deploy.profiling.prior import Prior
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.progress import ProfilingProgress
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measured_how import BuildSummary
from searchspace import Space

QUICK = Plan(max_rounds=10, pause_s=0.0, retakes=0, redone_pct=0)
BLOCK_S, NETWORK_S = 4.0, 20.0
_NODES_OF_A_BLOCK = 14
BLOCKS = 10
"""Of the tiny space: stem, head, and eight distinct cells."""
NETWORKS = LEAST_FIT + LEAST_CHECK


def built(builds: Builds, *seconds: float, network: bool = False) -> Builds:
    for one in seconds:
        builds.add(one, network=network)
    return builds


def test_the_latest_builds_count_and_the_one_that_loads_the_runtime_does_not() -> None:
    builds = built(Builds(layers=19, blocks_left=160, networks_left=29), 30.0, 8.0)
    assert builds.estimate() is None
    built(builds, *[8.0] * 9, *[4.0] * 16)
    assert builds.estimate() == BuildEstimate(133, 29, BuildTimes(4.0, 19 * 4.0))
    assert builds.left_s == 133 * 4.0 + 29 * 19 * 4.0


def test_a_network_counts_as_its_layers_until_one_was_built() -> None:
    builds = built(Builds(layers=19, networks_left=29), 9.0, 4.0, 4.0)
    assert builds.left_s == 29 * 19 * 4.0
    built(builds, 20.0, network=True)
    assert builds.left_s == 28 * 20.0
    assert builds.estimate().text == "28 networks at 20.0 s to build: about 9 min"  # type: ignore[union-attr]


def test_networks_alone_say_what_a_block_may_take() -> None:
    builds = built(Builds(layers=10, networks_left=9), 9.0, 20.0, 20.0, network=True)
    assert builds.estimate() == BuildEstimate(0, 6, BuildTimes(2.0, 20.0))


def test_an_earlier_profile_says_what_to_expect_until_there_is_better() -> None:
    before = BuildTimes(2.0, 6.0)
    builds = Builds(layers=19, before=before, blocks_left=10, networks_left=5)
    assert builds.estimate() == BuildEstimate(10, 5, before)
    built(builds, 30.0, 4.0, 4.0)
    assert builds.estimate() == BuildEstimate(7, 5, BuildTimes(4.0, 12.0)), "its ratio still holds"
    assert BuildTimes.of(builds.summary()) == BuildTimes(4.0, 12.0)
    assert BuildTimes.of(None) is None
    assert BuildTimes.of(BuildSummary(1.0, network_s=1.0)) is None
    assert BuildTimes.of(BuildSummary(1.0, 0.0, 1.0)) is None


def test_times_and_estimates_are_told_in_words() -> None:
    found = BuildEstimate(130, 29, BuildTimes(4.1, 20.0))
    assert found.text == "130 blocks at 4.1 s and 29 networks at 20.0 s to build: about 19 min"
    assert [build_time.in_time(seconds) for seconds in (45, 1113, 9000)] == ["45 s", "19 min", "2.5 h"]


class Slow(FakeBackend):
    """Takes as long to build as TensorRT may, on a clock that is arithmetic."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def load(self, model: bytes, settings: RunSettings) -> FakeSession:
        session = super().load(model, settings)
        is_network = len(session._proto.graph.node) > _NODES_OF_A_BLOCK
        self.clock.now_s += NETWORK_S if is_network else BLOCK_S
        return session


class Clock:
    """A clock that only building moves."""

    def __init__(self) -> None:
        self.now_s = time.monotonic()

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    clock = Clock()
    for builder in (bench, build_together):
        monkeypatch.setattr(builder, "time", clock)
    return Slow(clock)


def profiled(space: Space, backend: Slow, seen: list[ProfilingProgress], **more: object) -> LatencyTable:
    options: dict[str, object] = {"plan": QUICK, "time_budget_s": 0.0, **more}
    return profile(space, backend, on_progress=seen.append, **options)  # type: ignore[arg-type]


def test_a_profile_says_early_what_all_its_builds_take(tiny: Space, slow: Slow) -> None:
    seen: list[ProfilingProgress] = []
    table = profiled(tiny, slow, seen)
    builds = [one for one in seen if one.stage == "build"]
    assert "to build" not in builds[2].text, "three builds say nothing yet: the first loads the runtime"
    early = f"; 7 blocks at 4.0 s and {NETWORKS + 1} networks at 12.0 s to build: about 6 min"
    assert builds[3].text.endswith(early)
    assert builds[3].seconds_left == pytest.approx(7 * BLOCK_S + (NETWORKS + 1) * 3 * BLOCK_S)
    assert builds[BLOCKS].text.startswith("building a network to see what they take; 29 networks at 12.0 s")
    assert builds[BLOCKS + 1].seconds_left == pytest.approx(NETWORKS * NETWORK_S), "one was built"
    assert builds[-1].text == f"building network {NETWORKS} of {NETWORKS}"
    assert [(one.done, one.total) for one in (builds[0], builds[-1])] == [(0, 39), (38, 39)]
    took = table.protocol.builds
    assert took == BuildSummary(
        total_s=BLOCKS * BLOCK_S + (NETWORKS + 1) * NETWORK_S,
        block_s=4.0,
        network_s=20.0,
        estimate=f"{early[2:]}, after 3 builds",
    )


def test_what_the_last_profile_recorded_is_told_before_the_first_build(tiny: Space, slow: Slow) -> None:
    conditions = Conditions("bench", "fake", "fp32", 1, 1)
    assert making.built_before(conditions) is None
    table = profiled(tiny, slow, [], device="bench")
    write_latency_table(table, home() / "latency/bench/table.json")
    assert making.built_before(conditions) == BuildTimes(BLOCK_S, NETWORK_S)
    assert making.built_before(Conditions("bench", "fake", "bf16", 1, 32)) == BuildTimes(BLOCK_S, NETWORK_S)
    assert making.built_before(Conditions("bench", "other", "fp32", 1, 1)) is None
    assert making.built_before(Conditions("other", "fake", "fp32", 1, 1)) is None
    seen: list[ProfilingProgress] = []
    profiled(tiny, slow, seen, built_before=BuildTimes(BLOCK_S, NETWORK_S))
    assert seen[0].seconds_left == pytest.approx(BLOCKS * BLOCK_S + (NETWORKS + 1) * NETWORK_S)
    assert re.search(r"10 blocks at 4.0 s and 29 networks at 20.0 s to build: about 10 min$", seen[0].text)


def test_from_a_prior_there_are_only_networks_to_build(tiny: Space, slow: Slow) -> None:
    seen: list[ProfilingProgress] = []
    prior = Prior("other", "0" * 64, profiled(tiny, slow, [], device="other"), 16)
    profiled(tiny, slow, seen, prior=prior, device="bench")
    builds = [one for one in seen if one.stage == "build"]
    assert (builds[0].done, builds[0].total) == (0, NETWORKS + 1)
    assert f"; {NETWORKS - 2} networks at 20.0 s to build" in builds[3].text
