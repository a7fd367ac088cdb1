"""Engines timed in the same rounds, in real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ponas_deploy.engines import reference
from ponas_deploy.engines.building import build_model
from ponas_deploy.engines.interleaved import time_interleaved
from ponas_deploy.engines.timing import PROCESSES
from ponas_deploy.errors import BackendError
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.progress import ProfilingProgress
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


def test_an_engine_that_cannot_be_opened_is_a_runtime_s_error(tmp_path: Path) -> None:
    broken = tmp_path / "engine.onnx"
    broken.write_bytes(b"no engine")
    with pytest.raises(BackendError, match="cannot open"):
        time_interleaved({"broken": broken}, CONDITIONS, 0.1)
