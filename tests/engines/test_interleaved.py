"""Engines timed in the same rounds, in real processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ponas_deploy.boards.book import Entry
from ponas_deploy.engines import reference
from ponas_deploy.engines.building import build_model
from ponas_deploy.engines.interleaved import time_interleaved
from ponas_deploy.engines.timing import PROCESSES
from ponas_deploy.errors import BackendError
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.places import conditions_at, reached
from ponas_deploy.profiling.progress import ProfilingProgress
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables.latency import Conditions
from searchspace import Architecture
from searchspace.space import Space

CONDITIONS = Conditions("here", "onnxruntime", "fp32", 1, 1)


def test_all_engines_are_timed_in_every_process(tiny: Space, tmp_path: Path) -> None:
    engines = {}
    for place in (0, -1):
        architecture = Architecture(tiny, tuple(row[place] for row in tiny.labels))
        folder = tmp_path / str(place)
        folder.mkdir()
        engines[architecture.text] = build_model(network_bytes(architecture, 1), CONDITIONS, folder)
    seen = list[ProfilingProgress]()
    found = time_interleaved(engines, CONDITIONS, 0.3, seen.append)
    assert set(found.processes_ms) == {*engines, reference.NAME}
    for key, row in found.processes_ms.items():
        assert len(row) == PROCESSES
        assert min(row) <= found.measured_ms(key) * 1.5
        assert found.noise_pct(key) >= 0
    assert found.rounds >= PROCESSES
    assert seen[-1].done <= seen[-1].total
    assert [one.done for one in seen] == sorted(one.done for one in seen)


@pytest.mark.skipif(sys.platform != "linux", reason="boards run Linux")
def test_engines_of_a_board_are_timed_there_in_every_process(
    board: Entry, tiny: Space, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    target, seen, engines = Target(board.name, "onnxruntime"), list[ProfilingProgress](), {}
    with reached(target, "test") as place:
        (conditions,) = conditions_at(place, target)
        for number in (0, -1):
            architecture = Architecture(tiny, tuple(row[number] for row in tiny.labels))
            folder = tmp_path / str(number)
            folder.mkdir()
            model = network_bytes(architecture, 1)
            engines[architecture.text] = build_model(model, conditions, folder, place=place)
        found = time_interleaved(engines, conditions, 0.3, seen.append, place)
    assert set(found.processes_ms) == {*engines, reference.NAME}
    assert {len(row) for row in found.processes_ms.values()} == {PROCESSES}
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert len(seen) >= PROCESSES


def test_an_engine_that_cannot_be_opened_is_a_runtime_s_error(tmp_path: Path) -> None:
    broken = tmp_path / "engine.onnx"
    broken.write_bytes(b"no engine")
    with pytest.raises(BackendError, match="cannot open"):
        time_interleaved({"broken": broken}, CONDITIONS, 0.1)
