"""Several runs at once on a board: on its streams, in tables, searches, engines and their verification."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import tiny_space
from faulty_worker import quick_request
from planted_search import accuracy
from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.streams import loaded, opened
from ponas_deploy.boards.book import Entry
from ponas_deploy.boards.link import BoardError
from ponas_deploy.checks.engine import verify
from ponas_deploy.engines.deployment import deploy
from ponas_deploy.engines.manifest import MANIFEST
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.making import missing
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.on_board import profile_on_board
from ponas_deploy.profiling.places import conditions_at, reached
from ponas_deploy.profiling.target import Target, device_of
from ponas_deploy.profiling.trial import middle, trial
from ponas_deploy.remote.job import Job
from ponas_deploy.remote.place import place_on
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.store import StoredTable
from searchspace import SPACES
from searchspace.space import Space

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="boards run Linux"),
    pytest.mark.skipif(this_machine().cores < 2, reason="there is one core"),
]
TWO = RunSettings(streams=2)
CONDITIONS = Conditions("box", "fake", "fp32", 1, 1, 2)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    monkeypatch.setattr("ponas_deploy.engines.timing.PROCESSES", 1)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the board was asked for."""
    asked, do = list[tuple[str, dict[str, Any]]](), Job.do

    def noted(job: Job, name: str, *on_line: Any, **details: Any) -> Any:
        asked.append((name, details))
        return do(job, name, *on_line, **details)

    monkeypatch.setattr(Job, "do", noted)
    return asked


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_session_of_a_board_is_one_of_all_its_streams(
    board: Entry, name: str, tmp_path: Path, steps: list[tuple[str, dict[str, Any]]]
) -> None:
    pytest.importorskip(name)
    model = network_bytes(middle(tiny_space()), 1)
    images = np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)
    with place_on(board, "test") as place:
        backend = place.backend(name)
        engine = backend.save(model, TWO, tmp_path)[0]
        with backend.load(model, RunSettings()) as plain:
            expected = plain.run(images)
        steps.clear()
        for session in (loaded(backend, model, TWO), opened(backend, engine, TWO)):
            with session:
                assert session.settings() == TWO, "the board says so of what it opened"
                assert session.time_ns(3) > 0
                assert np.allclose(session.run(images), expected, atol=1e-4)
    asked = Counter(step for step, _ in steps)
    assert (asked["open_engine"], asked["time_runs"], asked["close"]) == (2, 2, 2), "not once a stream"


def test_a_board_that_opens_other_streams_than_were_asked_for_is_not_believed(
    board: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    do = Job.do

    def on_one(job: Job, name: str, *on_line: Any, **details: Any) -> Any:
        if name == "open_engine":
            details["settings"] = {**details["settings"], "streams": 1}
        return do(job, name, *on_line, **details)

    monkeypatch.setattr(Job, "do", on_one)
    with (
        pytest.raises(BoardError, match=r"^box: opened 1 streams, and 2 were asked for"),
        place_on(board, "test") as place,
    ):
        loaded(place.backend("fake"), network_bytes(middle(tiny_space()), 1), TWO)


def test_runtimes_of_a_board_without_streams_are_left_out_or_refused() -> None:
    known = {"onnxruntime": ("fp32",), "benchmark_app": ("fp32",)}
    (wanted,) = missing(Target("box", streams=2), (), known=known)
    assert (wanted.backend, wanted.streams) == ("onnxruntime", 2)
    for name in ("benchmark_app", "onnxruntime_perf_test", "trtexec", "tensorrt"):
        with pytest.raises(BackendError, match="one stream only: onnxruntime and openvino run on several"):
            missing(Target("box", name, streams=2), (), known={name: ("fp32",)})


def test_threads_of_all_streams_are_held_against_the_cores_of_the_board(board: Entry) -> None:
    with (
        pytest.raises(PonasError, match=r"^box: 1000 threads were asked for"),
        reached(Target("box", "onnxruntime", threads=250, streams=4), "test"),
    ):
        pass


def test_a_profile_of_a_board_on_two_streams_and_an_engine_found_by_it(
    board: Entry, tiny: Space, tmp_path: Path
) -> None:
    target = Target("box", "fake", streams=2)
    with reached(target, "test") as place:
        assert conditions_at(place, target) == (CONDITIONS,)
        assert trial(CONDITIONS, tiny, place=place).run_ms > 0
        request = replace(quick_request(tiny, tmp_path), conditions=CONDITIONS)
        profile_on_board(request, place)  # type: ignore[arg-type]
    table = load_latency_table(request.table)
    assert table.conditions == CONDITIONS
    assert table.certificate is not None
    stored = StoredTable(request.table, table)
    assert device_of(stored) == target

    out, losses = tmp_path / "engine", accuracy(tiny, tmp_path).table
    engine = deploy(tiny, target, losses, throughput=1.0, out=out, latency_table=str(request.table))
    assert engine.manifest.conditions == CONDITIONS
    assert engine.manifest.measured is not None
    assert verify(out).timing is not None
    document = json.loads((out / MANIFEST).read_text())
    document["conditions"]["streams"] = 1000
    (out / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(PonasError, match=r"^box: 1000 threads were asked for"):
        verify(out)
    with pytest.raises(PonasError, match="cannot be verified here: 1000 threads were asked for"):
        verify(out, here=True)
