"""Memory is counted before it is taken: a GPU's too, and half as much is tried where it was too much."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ponas_deploy.backends import RunSettings, Session
from ponas_deploy.backends._trtexec_output import failure
from ponas_deploy.backends.fake import FakeBackend, FakeSession
from ponas_deploy.errors import BackendError, MeasurementError
from ponas_deploy.machines.processes import failure_of, lacks_memory
from ponas_deploy.measuring.affordable import NetworkTrial, smaller_after
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling import worker
from ponas_deploy.profiling.models import blocks_of, least_bytes, network_bytes, working_bytes
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.trial import middle
from ponas_deploy.profiling.worker import Request
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.remote.rounds import Models
from ponas_deploy.remote.state import State
from ponas_deploy.remote.steps import STEPS
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from searchspace import Space, build_space
from searchspace.ops import Conv

QUICK = Plan(max_rounds=6, floor_rounds=5, pause_s=0.0, retakes=0, redone_pct=0)
FULL = "no buffer can be made: the GPU's memory is full. Take a smaller batch, or end what else uses it."


class SmallGpu(FakeBackend):
    """Arithmetic whose networks, not its blocks, take a GPU's memory: `room` of them at once."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.open, self.most, self.refused = room, 0, 0, 0

    def load(self, model: bytes, settings: RunSettings) -> FakeSession:
        session = super().load(model, settings)
        if len(model) < _NETWORK:
            return session
        if self.open == self.room:
            self.refused += 1
            raise BackendError("fake", FULL)
        self.open += 1
        self.most = max(self.most, self.open)
        session.close = self._closes(session.close)  # type: ignore[method-assign]
        return session

    def _closes(self, close: Callable[[], None]) -> Callable[[], None]:
        def closed() -> None:
            self.open -= 1
            close()

        return closed


class Telling(SmallGpu):
    """One that says how much is free: 1000 bytes a network, twice as many as are planned with."""

    def free_gpu_bytes(self) -> int:
        return 1000 * (self.room - self.open)


_NETWORK = 0
"""Bytes from which on a model is a whole network, see `tiny_networks`."""


@pytest.fixture(autouse=True)
def _tiny_networks(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}._NETWORK", len(network_bytes(middle(tiny), 1)) // 2)


def test_networks_are_held_at_once_as_a_gpu_has_room_for(
    tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.profiling.bench.Bench._refuse_too_large", lambda self, blocks: None)
    gpu = Telling(room=10)
    table = profile(tiny, gpu, plan=QUICK, time_budget_s=0.0)
    assert table.certificate is not None
    assert (gpu.refused, gpu.open) == (0, 0)
    assert gpu.most == 6, "0.6 of what is free"
    assert len(table.protocol.rounds) > 1


@pytest.mark.parametrize("room", [3, 1])
def test_where_the_memory_is_full_half_as_many_are_tried(tiny: Space, room: int) -> None:
    gpu = SmallGpu(room)
    notes: list[str] = []
    if room == 1:  # the one that is built twice to see what networks take
        with pytest.raises(BackendError, match=r"was refused .*memory is full"):
            profile(tiny, gpu, plan=QUICK, time_budget_s=0.0)
        return
    table = profile(
        tiny, gpu, plan=QUICK, time_budget_s=0.0, on_progress=lambda progress: notes.append(progress.text)
    )
    assert table.certificate is not None
    assert table.certificate.worst_error_pct < 0.01
    assert gpu.refused > 0
    assert any("no memory for so many networks: now " in note for note in notes)


def test_a_wave_that_cannot_be_halved_and_another_error_are_raised() -> None:
    waves = (("a", "b"), ("c", "d", "e"), ("f",))
    full = BackendError("tensorrt", FULL)
    assert smaller_after(full, waves, 1) == (("a", "b"), ("c", "e"), ("d",), ("f",))
    with pytest.raises(BackendError, match="memory is full"):
        smaller_after(full, waves, 2)
    with pytest.raises(BackendError, match="no such kernel"):
        smaller_after(BackendError("tensorrt", "no such kernel."), waves, 0)


def test_how_many_networks_fit() -> None:
    trial = NetworkTrial(10 << 20, 1.0, 0.01, working_bytes=150 << 20)
    assert NetworkTrial(10 << 20, 1.0, 0.01).wave_size(8000) == 96, "as at batch 1, where it hardly counts"
    assert trial.wave_size(8000) == 24
    assert replace(trial, streams=2).wave_size(8000) == 12, "a session for each stream"
    assert trial.wave_size(80_000, 8 << 30) == 30, "weights and activations, where nothing was measured"
    measured = replace(trial, gpu_bytes=400 << 20)
    assert measured.wave_size(80_000, 8 << 30) == 12
    assert [measured.wave_size(80_000, 8 << 30, failures) for failures in (1, 2, 9)] == [6, 3, 1]
    assert measured.wave_size(80_000, 0) == 4


def test_blocks_that_cannot_fit_are_refused_before_any_is_built(tiny: Space) -> None:
    class Tight(FakeBackend):
        def free_gpu_bytes(self) -> int:
            return 1 << 20

        def load(self, model: bytes, settings: RunSettings) -> Session:
            raise AssertionError("something was built")

    with pytest.raises(
        MeasurementError, match=r"blocks take .* GiB of the GPU's memory at batch 512, at least, and 0\.0 GiB"
    ):
        profile(tiny, Tight(), batch=512, plan=QUICK, time_budget_s=0.0)


def test_what_blocks_and_networks_take_at_least() -> None:
    """A 3 x 3 convolution by hand; the space of the paper as its ONNX models were counted."""
    conv = (Conv("c", 8, 16, 3),)
    assert least_bytes(conv, (8, 10, 10), 4) == 4 * (8 * 16 * 9 + 16 + 4 * (800 + 1600))
    space = build_space("ponas")
    for batch, mib in ((1, 376), (8, 2458), (32, 9318)):
        blocks = blocks_of(space).values()
        found = sum(least_bytes(ops, shape, batch) for ops, shape in blocks) / (1 << 20)
        assert mib / 2 < found < mib, "less than all activations of the models, of which not all live at once"
    assert working_bytes(middle(space), 8) == 8 * working_bytes(middle(space), 1)


def test_a_full_gpu_is_a_lack_of_memory_whoever_says_it() -> None:
    """So its process is started again, with half as many networks at once."""
    for said in (
        FULL,
        failure("[E] Error[1]: CUDA out of memory", 1),
        "was killed (SIGKILL), as the system does when it is out of memory while building network 3",
    ):
        assert lacks_memory(said)
    assert failure_of({"refused": FULL}).startswith("got no memory")
    assert not lacks_memory("the processor is full of errors")


def test_a_process_that_follows_others_without_memory_holds_fewer_networks(
    tiny: Space, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, object] = {}

    def stop(*positional: object, **named: object) -> None:
        given.update(named)
        raise MeasurementError("enough")

    monkeypatch.setattr(worker, "profile", stop)
    monkeypatch.setattr(worker, "build_space", lambda *key: tiny)
    request = Request(
        Conditions("gpu", "fake", "fp32", 1, 1),
        SpaceKey.of(tiny),
        tmp_path / "t.json",
        tmp_path / "t.journal",
        1.0,
        failures=("gave no output for 60 s while running a block", f"got no memory ({FULL}) while building"),
    )
    assert json.loads(request.text())["failures"]
    with pytest.raises(MeasurementError, match="enough"):
        worker.make(request, lambda step: None, lambda progress: None)
    assert (given["memory_failures"], given["one_at_a_time"]) == (1, True)


class DoneHere:
    """What a board is asked through, where the board is this process."""

    def __init__(self, state: State) -> None:
        self._state = state

    def do(self, step: str, **details: Any) -> Any:
        done = STEPS[step](self._state, details, lambda line: None)
        return json.loads(json.dumps(done))


def test_a_board_tells_its_gpus_memory_and_frees_what_was_opened_in_vain(tiny: Space, tmp_path: Path) -> None:
    state, network = State(tmp_path, tmp_path), network_bytes(middle(tiny), 1)
    for gpu, free in ((Telling(room=3), 3000), (SmallGpu(room=3), None)):
        session = gpu.load(network, RunSettings())
        state.values.update(backends={"fake": gpu}, sessions={"a": session})
        place = BoardPlace("box", DoneHere(state), lambda: pytest.fail("begun"), lambda: None)  # type: ignore[arg-type]
        models = Models(place, "fake", RunSettings(), QUICK)
        assert models.free_gpu_bytes() == (free and free - 1000)
        models.drop(["a", "never opened"])
        assert models.free_gpu_bytes() == free
        assert gpu.open == 0
