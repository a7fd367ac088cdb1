"""The GPU protocol on a stand-in for `torch.cuda` that writes down every call: order, fall-backs, memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ponas_deploy.backends import RunSettings
from ponas_deploy.errors import BackendError
from searchspace import build_space, parse_architecture
from searchspace.graph import network_model
from searchspace.weights import random_weights

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

MS_A_RUN = 0.25


class Cuda:
    """A GPU that runs on the CPU and whose clock is arithmetic: each launch takes MS_A_RUN."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.now_ms = 0.0
        self.refuse_capture: Exception | None = None

    def launched(self, what: str) -> None:
        self.calls.append(what)
        self.now_ms += MS_A_RUN

    def spin(self, cycles: int) -> None:
        self.calls.append("spin")
        self.now_ms += cycles / 2e6  # two cycles a nanosecond

    def event(self, enable_timing: bool = False) -> Any:
        moment = SimpleNamespace(at=0.0)

        def record(stream: object = None) -> None:
            self.calls.append("event")
            moment.at = self.now_ms

        moment.record, moment.synchronize = record, lambda: self.calls.append("wait")
        moment.elapsed_time = lambda end: end.at - moment.at
        return moment

    @contextmanager
    def graph(self, graph: Any, pool: object = None, stream: object = None) -> Iterator[None]:
        if self.refuse_capture:
            raise self.refuse_capture
        assert (pool, stream.name) == ("pool", "side")  # type: ignore[attr-defined]
        self.calls.append("capture")
        yield


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    fake = Cuda()
    replaced = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "device": lambda device: nullcontext(),
        "stream": lambda stream: nullcontext(),
        "Stream": lambda device: SimpleNamespace(name="side", synchronize=lambda: None),
        "Event": fake.event,
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: fake.launched("replay")),
        "graph": fake.graph,
        "graph_pool_handle": lambda: "pool",
        "synchronize": lambda device=None: None,
        "_sleep": fake.spin,
        "get_device_name": lambda device: "NVIDIA Stand-in",
        "get_device_capability": lambda device: (9, 0),
        "get_device_properties": lambda device: SimpleNamespace(uuid="0"),
    }
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return fake


@pytest.fixture
def model() -> bytes:
    architecture = parse_architecture("PONAS-A", build_space("ponas", 32, 10))
    return network_model(architecture, random_weights(architecture)).SerializeToString()


def backend(name: str = "torch") -> Any:
    """A backend that believes in the stand-in; its tensors stay on the CPU."""
    from ponas_deploy.backends.torch import TorchBackend

    built = TorchBackend(name, device="cuda")
    built._device = torch.device("cpu")
    return built


def test_replays_are_timed_behind_a_filled_queue(cuda: Cuda, model: bytes) -> None:
    with backend().load(model, RunSettings("fp32")) as session:
        assert session.captured
        cuda.calls.clear()
        assert session.time_ns(4) == 4 * MS_A_RUN * 1e6
        assert cuda.calls == ["spin", "event", *["replay"] * 4, "event", "wait"]


def test_eager_launches_count_the_host(cuda: Cuda, model: bytes) -> None:
    with backend("torch-eager").load(model, RunSettings("fp32")) as session:
        cuda.calls.clear()
        session.time_ns(2)
        assert cuda.calls == ["event", "event", "wait"]
        assert not session.captured
        assert session.launch_ns > 0


def test_a_failed_capture_runs_eagerly_and_is_said(cuda: Cuda, model: bytes) -> None:
    cuda.refuse_capture = RuntimeError("operation not permitted when stream is capturing\nmore")
    there = backend()
    given = np.ones((1, 3, 32, 32), np.float32)
    with there.load(model, RunSettings("fp32")) as session:
        assert not session.captured
        assert session.run(given).shape == (1, 10)
    assert there.uncaptured == ("operation not permitted when stream is capturing.",)
    assert dict(there.environment())["execution"] == "CUDA graph"


def test_a_full_memory_says_what_to_do(cuda: Cuda, model: bytes) -> None:
    cuda.refuse_capture = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    with pytest.raises(BackendError, match=r"memory is full\. Take a smaller batch"):
        backend().load(model, RunSettings("fp32"))


def test_what_the_environment_of_a_gpu_holds(cuda: Cuda) -> None:
    there = backend()
    environment = dict(there.environment())
    assert environment["execution"] == "CUDA graph"
    assert environment["streams"] == "1"
    assert environment["queue"] == "filled before the clock starts"
    assert environment["gpu"] == "NVIDIA Stand-in"
    assert environment["layout"] == (
        "fp32 contiguous, tf32 channels_last, fp16 channels_last, bf16 channels_last"
    )
    assert there.precisions() == ("fp32", "tf32", "fp16", "bf16")


def test_switches_are_set_back(cuda: Cuda, model: bytes) -> None:
    def switches() -> tuple[bool, ...]:
        return torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32

    before = switches()
    with backend().load(model, RunSettings("tf32")) as session:
        session.time_ns(1)
    assert switches() == before
