"""The doctor's checks of a GPU on recorded states."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from test_doctor import QUIET, RUNTIMES, STEADY

from ponas_deploy.checks.machine import examine
from ponas_deploy.files.findings import Finding
from ponas_deploy.machines.gpu_state import GpuProcess, GpuState

LOCKED = GpuState("NVIDIA H200", 1980, 1980, persistent=True, display=False)


def found(state: GpuState | None) -> dict[str, Finding]:
    everything = examine(replace(QUIET, gpu=state), STEADY, RUNTIMES)
    return {one.about: one for one in everything if one.about.startswith("GPU")}


def test_a_gpu_to_oneself_with_locked_clocks_has_nothing_wrong() -> None:
    checks = found(LOCKED)
    assert list(checks) == ["GPU clock", "GPU processes", "GPU display", "GPU persistence"]
    assert {one.severity for one in checks.values()} == {"ok"}
    assert found(None) == {}


@pytest.mark.parametrize(
    ("about", "changes", "message", "advice"),
    [
        (
            "GPU clock",
            {"sm_clock_mhz": 345},
            "345 MHz at rest, 1980 MHz at most: .* follows",
            "nvidia-smi -lgc",
        ),
        (
            "GPU processes",
            {"processes": (GpuProcess(4711, "python", 900), GpuProcess(12))},
            r"2 on NVIDIA H200: python \(4711, 900 MiB\), a process \(12\)$",
            "stop what computes",
        ),
        ("GPU display", {"display": True}, "a screen is driven by it", "multi-user.target"),
        ("GPU persistence", {"persistent": False}, "off: each process may load", "nvidia-smi -pm 1"),
    ],
)
def test_what_is_said_of_a_gpu(about: str, changes: dict[str, object], message: str, advice: str) -> None:
    checks = found(replace(LOCKED, **changes))  # type: ignore[arg-type]
    assert [one.about for one in checks.values() if one.severity == "warning"] == [about]
    assert advice in checks[about].advice
    assert re.search(message, checks[about].message)


def test_what_a_board_does_not_tell_is_not_checked() -> None:
    assert list(found(GpuState("Orin (nvgpu)"))) == ["GPU processes"]
