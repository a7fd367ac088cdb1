"""Launch-bound blocks and models without a CUDA graph: counted from what sessions and backends say."""

from __future__ import annotations

from types import SimpleNamespace

from ponas_deploy.backends import FakeBackend
from ponas_deploy.measuring.launches import launch_notes, launch_summary, not_captured
from ponas_deploy.tables.measured_how import LaunchSummary, MeasurementProtocol


def test_launch_bound_blocks_are_counted_and_reported() -> None:
    sessions = {
        "a": SimpleNamespace(launch_ns=8_000),
        "b": SimpleNamespace(launch_ns=8_400),
        "c": SimpleNamespace(launch_ns=0),
        "d": SimpleNamespace(),
    }
    run_ns = dict.fromkeys("acd", 5_000.0) | {"b": 20_000.0}
    found = launch_summary(sessions, run_ns)  # type: ignore[arg-type]
    assert found == LaunchSummary(8.2, 1, 2)
    said = launch_notes(MeasurementProtocol(launches=found))
    assert said[0].startswith("1 of 2 blocks take the GPU less than the 8.2 us")
    assert launch_summary({"d": sessions["d"]}, run_ns) is None  # type: ignore[dict-item]
    none = MeasurementProtocol(launches=LaunchSummary(8.2, 0, 2))
    assert launch_notes(MeasurementProtocol()) == launch_notes(none) == ()


def test_models_that_could_not_be_captured_are_counted_and_reported() -> None:
    assert not_captured(FakeBackend()) == ""
    backend = FakeBackend()
    backend.uncaptured = ("operation not permitted.", "out of space.")  # type: ignore[attr-defined]
    found = not_captured(backend)
    assert found == "2 models run without a CUDA graph, the first one: operation not permitted."
    (note,) = launch_notes(MeasurementProtocol(not_captured=found))
    assert note.startswith(found)
