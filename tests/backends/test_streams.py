"""Several runs at once: what a session on streams takes, which runtimes have them, and their tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import tiny_space
from planted_search import device_ms, tables
from ponas_deploy.backends import RunSettings, get_backend, registry
from ponas_deploy.backends.protocol import SharesModel
from ponas_deploy.backends.streams import StreamsSession, loaded, opened
from ponas_deploy.commands.app import app
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.engine_process import Timed, take_in_fresh_process
from ponas_deploy.profiling.making import missing
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.serving_tables import mismatch
from ponas_deploy.profiling.target import Target
from ponas_deploy.profiling.trial import middle
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.store import latency_path
from searchspace.space import Space

TWO = RunSettings(streams=2)
REAL = [name for name in ("onnxruntime", "openvino") if registry.entry_of(name).streams]
two_cores = pytest.mark.skipif(this_machine().cores < 2, reason="there is one core")


class Waiting:
    """A session that runs only while the others do."""

    def __init__(self, run_ns: int, others: Barrier) -> None:
        self.run_ns, self.others, self.closed, self.asked = run_ns, others, False, list[int]()

    def time_ns(self, runs: int) -> int:
        self.others.wait(60)
        self.asked.append(runs)
        return self.run_ns * runs

    def close(self) -> None:
        self.closed = True


def test_streams_run_at_once_and_take_as_long_as_the_last_of_them() -> None:
    others = Barrier(2)
    sessions = [Waiting(10**12, others), Waiting(3 * 10**12, others)]
    with StreamsSession(sessions) as session:  # type: ignore[arg-type]
        taken_ns = session.time_ns(2)
    assert [one.asked for one in sessions] == [[2], [2]]
    assert 6e12 <= taken_ns < 7e12, "the slower one, and what it began later"
    assert all(one.closed for one in sessions)


def test_one_stream_is_the_session_itself() -> None:
    model = network_bytes(middle(tiny_space()), 1)
    with loaded(get_backend("fake"), model, RunSettings()) as session:
        assert not isinstance(session, StreamsSession)


@pytest.mark.parametrize("name", REAL)
def test_a_runtime_on_two_streams(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    backend, model = get_backend(name), network_bytes(middle(tiny_space()), 1)
    engine = backend.save(model, TWO, tmp_path)[0]
    images = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)
    with backend.load(model, RunSettings()) as plain:
        expected = plain.run(images)
    for session in (loaded(backend, model, TWO), opened(backend, engine, TWO)):
        with session:
            assert session.settings() == TWO
            assert session.time_ns(3) > 0
            assert np.allclose(session.run(images), expected, atol=1e-4)
    with backend.load(model, TWO) as one:
        assert isinstance(one, SharesModel) == (name == "openvino"), "the others are opened once a stream"
    with pytest.raises(BackendError):
        opened(backend, tmp_path / "nothing", TWO)


@two_cores
@pytest.mark.parametrize("name", REAL)
def test_an_engine_is_timed_on_two_streams_in_a_fresh_process(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    engine = get_backend(name).save(network_bytes(middle(tiny_space()), 1), TWO, tmp_path)[0]
    taken = take_in_fresh_process(Timed(engine, name, TWO, 0.01, back_to_back=True), tmp_path)
    assert len(taken.runs_ns) >= 30
    assert min(taken.runs_ns) > 0


def test_runtimes_without_streams_are_left_out_or_refused() -> None:
    both = ("onnxruntime", "tensorrt")
    assert registry.with_streams(both, 1, named=True) == both
    assert registry.with_streams(both, 2, named=False) == ("onnxruntime",)
    for names, named in ((both, True), (("tensorrt",), False)):
        with pytest.raises(BackendError, match="one stream only: onnxruntime and openvino run on several"):
            registry.with_streams(names, 2, named=named)


@two_cores
def test_a_table_of_two_streams_serves_two_streams_alone(tiny: Space, tmp_path: Path) -> None:
    stored = tables(tiny, tmp_path)
    conditions = replace(stored.conditions, streams=2)
    key = SpaceKey.of(tiny)
    paths = [latency_path(one, key, folder=tmp_path) for one in (stored.conditions, conditions)]
    assert [path.name.count("-s2-") for path in paths] == [0, 1]
    of_two = replace(stored, table=replace(stored.table, conditions=conditions))
    assert mismatch(Target("cpu", streams=2), tiny, of_two) == ""
    assert "is of streams 2, not 1" in mismatch(Target("cpu"), tiny, of_two)
    assert "is of streams 1, not 2" in mismatch(Target("cpu", streams=2), tiny, stored)
    (wanted,) = missing(Target("cpu", ["onnxruntime"], streams=2), ())
    assert wanted.streams == 2


def test_more_streams_than_cores_are_refused() -> None:
    with pytest.raises(PonasError, match="threads were asked for"):
        Target("cpu", threads=2, streams=this_machine().cores)
    with pytest.raises(PonasError, match="streams is 0"):
        Target("cpu", streams=0)
    many = str(10 * this_machine().cores)
    done = CliRunner().invoke(app, ["measure", "x.onnx", "--streams", many])
    assert done.exit_code == 2


@two_cores
def test_a_profile_on_two_streams_is_of_two_streams_and_certified(tiny: Space) -> None:
    table = profile(tiny, get_backend("fake"), TWO, time_budget_s=3.0)
    assert table.conditions is not None
    assert table.conditions.streams == 2
    assert table.certificate is not None
    choices = tuple(labels[0] for labels in tiny.labels)
    # The streams do not begin at the very same moment, which counts; the device's own clock is arithmetic.
    assert table.predict_ms(choices) > 0.9 * device_ms(tiny, choices)
