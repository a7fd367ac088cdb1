"""The measuring protocol, on a device that is arithmetic."""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

import ponas_deploy.measuring.protocol as protocol
from ponas_deploy.backends import RunSettings, Session
from ponas_deploy.backends.fake import FakeBackend, FakeDevice
from ponas_deploy.measuring.protocol import (
    Outcome,
    Plan,
    Samples,
    first_estimate,
    is_settled,
    measure,
    sample_runs,
)
from ponas_deploy.profiling.models import block_model, blocks_of
from ponas_deploy.tables.measurement import MIDDLE, STATISTICS, Measurement
from ponas_deploy.tables.statistics import choose_statistic, kendall_tau, repeatability
from searchspace import Space

ROOT = Path(__file__).resolve().parents[2]
QUICK = Plan(pause_s=0.0, retakes=0)


def sessions_of(space: Space, backend: FakeBackend) -> dict[str, Session]:
    return {
        key: backend.load(block_model(key, block, 1), RunSettings())
        for key, block in blocks_of(space).items()
    }


def measured(
    space: Space,
    device: FakeDevice,
    plan: Plan = QUICK,
    samples: Samples | None = None,
    seconds: float = 1e9,
    **more: Any,
) -> tuple[Samples, Outcome, FakeBackend]:
    backend = FakeBackend(device)
    sessions, samples = sessions_of(space, backend), samples or Samples()
    runs = {key: first_estimate(session, plan)[0] for key, session in sessions.items()}
    outcome = measure(
        sessions,
        runs,
        samples,
        plan,
        seed=3,
        sentinel="head",
        deadline=backend.elapsed_ns / 1e9 + seconds,
        clock=lambda: backend.elapsed_ns / 1e9,
        **more,
    )
    return samples, outcome, backend


def test_a_quiet_device_settles_at_the_fewest_rounds_with_the_true_times(tiny: Space) -> None:
    samples, outcome, backend = measured(tiny, FakeDevice())
    assert (outcome.rounds, outcome.reason, outcome.unsettled) == (QUICK.min_rounds, "settled", ())
    for key, session in sessions_of(tiny, backend).items():
        measurement = samples.measurement(key)
        assert len(measurement.rounds_ns) == QUICK.min_rounds
        for statistic in STATISTICS:
            assert measurement.value_ms(statistic) * 1e6 == pytest.approx(session.true_ns, abs=1)  # type: ignore[attr-defined]


def test_a_sample_lasts_a_millisecond(tiny: Space) -> None:
    samples, _, _ = measured(tiny, FakeDevice())
    for key, runs in samples.runs.items():
        assert runs * samples.measurement(key).value_ms("median") >= 0.99
        assert (runs - 1) * samples.measurement(key).value_ms("median") < 1.01


@given(st.floats(0.5, 1e9))
def test_runs_of_a_sample(run_ns: float) -> None:
    runs = sample_runs(run_ns, Plan())
    assert runs >= 1
    assert runs * max(run_ns, 1.0) >= Plan().sample_ns
    assert runs == 1 or (runs - 1) * max(run_ns, 1.0) < Plan().sample_ns


def test_a_noisy_device_goes_on_to_the_last_round_and_says_what_never_settled(tiny: Space) -> None:
    samples, outcome, _ = measured(tiny, FakeDevice(noise_pct=40))
    assert (outcome.rounds, outcome.reason) == (QUICK.max_rounds, "rounds")
    assert outcome.unsettled
    assert set(outcome.unsettled) <= set(samples.rounds)


def test_the_time_budget_ends_it_but_not_before_the_floor(tiny: Space) -> None:
    noisy = FakeDevice(noise_pct=40)
    _, none, _ = measured(tiny, noisy, seconds=0.0)
    assert (none.rounds, none.reason) == (QUICK.floor_rounds, "time")
    _, _, backend = measured(tiny, noisy, plan=Plan(pause_s=0.0, retakes=0, max_rounds=20, redone_pct=0))
    _, some, _ = measured(tiny, noisy, seconds=0.5 * backend.elapsed_ns / 1e9)
    assert QUICK.floor_rounds < some.rounds < 20


def test_what_was_visited_while_the_device_was_slow_is_measured_again(tiny: Space) -> None:
    plan = Plan(pause_s=0.0, retakes=0, sentinel_visits=6)
    slow = FakeDevice(slow_samples=range(200, 240))
    samples, outcome, backend = measured(tiny, slow, plan)
    assert outcome.redone_visits > 0
    for key, session in sessions_of(tiny, backend).items():
        assert samples.measurement(key).value_ms("median") * 1e6 == pytest.approx(session.true_ns, abs=1)  # type: ignore[attr-defined]
    _, kept, _ = measured(tiny, slow, Plan(pause_s=0.0, retakes=0, sentinel_visits=6, redone_pct=0))
    assert kept.redone_visits == 0


def test_a_device_that_stays_slow_is_not_waited_for_for_ever(tiny: Space) -> None:
    plan = Plan(pause_s=0.0, retakes=0, sentinel_visits=6)
    _, outcome, _ = measured(tiny, FakeDevice(slow_samples=range(300, 10**9)), plan)
    assert outcome.redone_visits <= 0.25 * outcome.rounds * len(blocks_of(tiny))


def test_rounds_from_before_are_kept_and_not_measured_again(tiny: Space) -> None:
    before = Samples()
    for key in blocks_of(tiny):
        before.add(key, 0, 7, 123.0)
    samples, outcome, _ = measured(tiny, FakeDevice(), samples=before)
    assert outcome.rounds >= QUICK.min_rounds
    for key in blocks_of(tiny):
        assert samples.measurement(key).rounds_ns[0] == 123.0


def test_on_sample_is_called_with_each_as_it_is_finished(tiny: Space) -> None:
    finished: list[tuple[str, int]] = []
    samples = Samples(on_sample=lambda key, number, runs, run_ns: finished.append((key, number)))
    measured(tiny, FakeDevice(), samples=samples)
    assert len(finished) == QUICK.min_rounds * len(blocks_of(tiny))
    first, second = ([key for key, number in finished if number == wanted] for wanted in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != second, "each round has an order of its own"


def test_the_same_seed_gives_the_same_measurement(tiny: Space) -> None:
    device = FakeDevice(noise_pct=5, seed=11)
    assert measured(tiny, device)[0].rounds == measured(tiny, device)[0].rounds


def test_an_interrupted_sample_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clumsy:
        times = iter([1, 50, 40, 60, 999])

        def time_ns(self, runs: int) -> int:
            return next(self.times)

    counts = iter([0, 1, 1, 2, 2, 2])
    monkeypatch.setattr(protocol, "_interruptions", lambda: next(counts))
    assert protocol.take_sample(Clumsy(), 1, Plan(retakes=3)) == 60  # type: ignore[arg-type]
    always = iter(range(100))
    monkeypatch.setattr(protocol, "_interruptions", lambda: next(always))
    Clumsy.times = iter([1, 50, 40, 60, 70])
    assert protocol.take_sample(Clumsy(), 1, Plan(retakes=3)) == 40  # type: ignore[arg-type]


def test_a_sample_that_was_held_up_is_taken_again_but_not_for_ever() -> None:
    class Stopped:
        """Runs of 1 ms; a sample took 2 s now and then."""

        def __init__(self, *samples_ns: float) -> None:
            self.times = iter([1e6, *samples_ns])

        def time_ns(self, runs: int) -> float:
            return next(self.times)

    plan = Plan(retakes=0)
    assert protocol.take_sample(Stopped(2e9, 3e9, 4e6), 4, plan) == 1e6  # type: ignore[arg-type]
    assert protocol.take_sample(Stopped(2e8), 4, plan) == 5e7, "slow, not held up"  # type: ignore[arg-type]
    assert protocol.take_sample(Stopped(*[2e9] * 4), 4, plan) == 5e8  # type: ignore[arg-type]


class PlannedRedos:
    """Has some rounds taken again; remembers all."""

    def __init__(self, *again: int) -> None:
        self.again, self.ended, self.begun = list(again), list[tuple[int, bool]](), 0

    def begin(self) -> None:
        self.begun += 1

    def end(self, number: int, *, may_redo: bool, seen: object = None) -> bool:
        self.ended.append((number, may_redo))
        if may_redo and number in self.again:
            self.again.remove(number)
            return True
        return False


def test_a_round_under_wrong_conditions_is_measured_again(tiny: Space) -> None:
    finished: list[tuple[str, int]] = []
    samples = Samples(on_sample=lambda key, number, runs, run_ns: finished.append((key, number)))
    redos, visited = PlannedRedos(0, 4, 4), list[str]()
    _, outcome, _ = measured(tiny, FakeDevice(), samples=samples, interference=redos, on_visit=visited.append)
    assert (outcome.rounds, outcome.reason) == (QUICK.min_rounds, "settled")
    assert [number for number, _ in redos.ended] == [0, 0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9]
    assert redos.begun == len(redos.ended)
    for key in blocks_of(tiny):
        assert [number for name, number in finished if name == key].count(4) == 3
        assert len(samples.measurement(key).rounds_ns) == QUICK.min_rounds, "the last one counts"
    watched = iter(visited)
    assert all(key in watched for key, _ in finished), "each is announced, in this order, before it is run"
    assert len(visited) > len(finished), "the sentinel too"


def test_no_round_is_taken_again_after_the_deadline(tiny: Space) -> None:
    redos = PlannedRedos(*range(40))
    _, outcome, _ = measured(tiny, FakeDevice(), seconds=0.0, interference=redos)
    assert (outcome.rounds, outcome.reason) == (QUICK.floor_rounds, "time")
    assert redos.ended == [(number, False) for number in range(QUICK.floor_rounds)]


def test_rounds_that_are_there_already_are_not_judged(tiny: Space) -> None:
    first, _, _ = measured(tiny, FakeDevice())
    redos = PlannedRedos(*range(40))
    measured(tiny, FakeDevice(), samples=first, interference=redos)
    assert redos.ended == []


def test_garbage_collection_is_off_while_timing_and_back_afterwards() -> None:
    assert gc.isenabled()
    with protocol.no_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    with suppress(KeyError), protocol.no_garbage_collection():
        raise KeyError
    assert gc.isenabled()


def test_settled_by_percent_or_by_a_microsecond() -> None:
    plan = Plan()
    wide = [1e6 * (1 + 0.05 * step) for step in range(12)]
    assert not is_settled(Measurement(1, tuple(wide)), plan, "median")
    assert is_settled(Measurement(1, tuple(1e6 + 100 * step for step in range(12))), plan, "median")
    assert is_settled(Measurement(1, tuple(2e3 + 100 * step for step in range(12))), plan, "median")


def test_the_middle_is_chosen_unless_another_statistic_repeats_twice_as_well() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(1e6, 5e6, 30)
    mostly_disturbed = [
        Measurement(1, tuple(t * (1 + np.where(rng.random(40) < 0.6, rng.exponential(0.5, 40), 0))))
        for t in true
    ]
    symmetric = [Measurement(1, tuple(t * (1 + rng.normal(0, 0.02, 40)))) for t in true]
    assert choose_statistic(mostly_disturbed) in ("minimum", "q10", "fastest_quarter", "q25")
    assert choose_statistic(symmetric) in MIDDLE
    coarse = [Measurement(1, (t, t, *(t * (1 + rng.normal(0.02, 0.003, 38))))) for t in true]
    assert (
        repeatability(coarse, "minimum").difference_pct < repeatability(coarse, "median").difference_pct / 2
    )
    assert choose_statistic(coarse) in MIDDLE, "what little is gained would be paid with a bias"
    floor = repeatability(symmetric, "median")
    assert 0.1 < floor.difference_pct < 2
    assert 0.9 < floor.tau <= 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30))
def test_kendall_tau_is_scipys(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert kendall_tau(first, second) == 0
    else:
        assert kendall_tau(first, second) == pytest.approx(kendalltau(first, second).statistic)


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """The packages that these statements import, without those of the standard library."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
    return found - set(sys.stdlib_module_names)


def test_the_room_is_written_in_the_standard_library_numpy_and_ours() -> None:
    files = sorted(Path(protocol.__file__).parent.glob("*.py"))
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    assert imported(node for tree in trees for node in tree.body) == {"numpy", "ponas_deploy"}
    anywhere = imported(node for tree in trees for node in ast.walk(tree))
    assert anywhere == {"numpy", "ponas_deploy", "psutil"}, "psutil where there is no /proc, as on no board"


_ON_A_BOARD = """
    import sys

    allowed = {*sys.stdlib_module_names, "numpy", "ponas_deploy", "searchspace"}

    class NothingElse:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] not in allowed or name.startswith("ponas_deploy.files."):
                raise ImportError(f"{name} is not on a board")

    sys.meta_path.insert(0, NothingElse())
    from ponas_deploy.measuring import contention, detrend, interference, launches, plans, protocol, retries

    allowed |= {"onnx", "google", "ml_dtypes", "typing_extensions"}  # what this backend reads its models with
    from ponas_deploy.backends import RunSettings
    from ponas_deploy.backends.fake import FakeBackend

    backend = FakeBackend()
    models = {key: open(file, "rb").read() for key, file in zip("ab", sys.argv[1:])}
    sessions = {key: backend.load(model, RunSettings()) for key, model in models.items()}
    plan = protocol.Plan(pause_s=0.0, min_rounds=3, max_rounds=3)
    samples = protocol.Samples()
    probe = contention.ContentionProbe()
    rounds = interference.Interference(plan, lambda: interference.take_snapshot(core=probe.reading))
    runs = {key: protocol.first_estimate(session, plan)[0] for key, session in sessions.items()}
    forever = float("inf")
    more = {"interference": rounds, "probe": probe, "sentinel": "a"}
    protocol.measure(sessions, runs, samples, plan, seed=0, deadline=forever, **more)
    rounds.summary()
    print({key: len(found.rounds_ns) for key, found in detrend.measurements(samples).items()})
"""


def test_the_room_measures_on_a_board_with_nothing_but_numpy_and_a_backend(
    tiny: Space, tmp_path: Path
) -> None:
    """From the first import to the level at each round: no psutil, no msgspec, no file of ours is loaded."""
    blocks = list(blocks_of(tiny).items())[:2]
    files = [tmp_path / f"{number}.onnx" for number in range(2)]
    for file, (key, block) in zip(files, blocks, strict=True):
        file.write_bytes(block_model(key, block, 1))
    command = [sys.executable, "-c", textwrap.dedent(_ON_A_BOARD), *map(str, files)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert found.stdout == "{'a': 3, 'b': 3}\n", found.stderr
