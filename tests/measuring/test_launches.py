"""Launch-bound blocks and models without a CUDA graph: counted from what sessions and backends say."""

from __future__ import annotations

from types import SimpleNamespace

from ponas_deploy.backends import FakeBackend
from ponas_deploy.measuring.launches import capture_protocol, launch_notes, launch_protocol


def test_launch_bound_blocks_are_counted_and_reported() -> None:
    sessions = {
        "a": SimpleNamespace(launch_ns=8_000),
        "b": SimpleNamespace(launch_ns=8_400),
        "c": SimpleNamespace(launch_ns=0),
        "d": SimpleNamespace(),
    }
    run_ns = dict.fromkeys("acd", 5_000.0) | {"b": 20_000.0}
    found = dict(launch_protocol(sessions, run_ns))  # type: ignore[arg-type]
    assert found == {"launch_us": "8.2", "launch_bound": "1 of 2"}
    assert launch_notes(found)[0].startswith("1 of 2 blocks take the GPU less than the 8.2 us")
    assert launch_protocol({"d": sessions["d"]}, run_ns) == ()  # type: ignore[dict-item]
    assert launch_notes({}) == launch_notes({"launch_us": "8.2", "launch_bound": "0 of 2"}) == ()


def test_models_that_could_not_be_captured_are_counted_and_reported() -> None:
    assert capture_protocol(FakeBackend()) == ()
    backend = FakeBackend()
    backend.uncaptured = ("operation not permitted.", "out of space.")  # type: ignore[attr-defined]
    found = dict(capture_protocol(backend))
    assert found == {
        "not_captured": "2 models run without a CUDA graph, the first one: operation not permitted."
    }
    (note,) = launch_notes(found)
    assert note.startswith(found["not_captured"])
