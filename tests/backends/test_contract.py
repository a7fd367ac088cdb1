"""The contract that ships (`ponas_deploy.testing`), over every runtime of the processor that is here."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from ponas_deploy.backends import Backend, FakeBackend, RunSettings, Session, get_backend
from ponas_deploy.testing import BackendContract


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


class TestFake(BackendContract):
    def backend(self) -> Backend:
        return FakeBackend()


@needs("onnxruntime")
class TestOnnxRuntime(BackendContract):
    package = "onnxruntime"

    def backend(self) -> Backend:
        return get_backend("onnxruntime")


@needs("openvino")
class TestOpenVino(BackendContract):
    package = "openvino"

    def backend(self) -> Backend:
        return get_backend("openvino")


@needs("torch")
class TestTorch(BackendContract):
    """On the CPU; the three names run one module, and two of them the same way there."""

    package = "torch"

    def backend(self) -> Backend:
        from ponas_deploy.backends.torch import TorchBackend

        return TorchBackend(device="cpu")


class _Wrong(FakeBackend):
    """A runtime with a fault, one for each check that must see it."""

    fault = ""

    def environment(self) -> tuple[tuple[str, str], ...]:
        return (("runtime", ""),) if self.fault == "nameless" else super().environment()

    def precisions(self) -> tuple[str, ...]:
        return ("bf16", "fp32") if self.fault == "half first" else super().precisions()

    def load(self, model: bytes, settings: RunSettings) -> Session:  # type: ignore[override]
        session = super().load(model, settings)
        if self.fault == "wrong outputs":
            right = session.run
            session.run = lambda images: right(images) * np.float32(1.01)  # type: ignore[method-assign]
        if self.fault == "one time":
            session.time_ns = lambda runs: 1000  # type: ignore[method-assign]
        return session


class _ContractOfWrong(BackendContract):
    def __init__(self, fault: str) -> None:
        self.fault = fault

    def backend(self) -> Backend:
        wrong = _Wrong()
        wrong.fault = self.fault
        return wrong


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("nameless", "test_the_environment_names_the_runtime"),
        ("half first", "test_every_precision_runs_and_comes_close"),
        ("wrong outputs", "test_outputs_are_those_of_the_reference"),
        ("one time", "test_time_grows_with_runs_and_is_a_whole_number"),
    ],
)
def test_a_fault_is_seen_by_its_check(fault: str, check: str) -> None:
    getattr(_ContractOfWrong(""), check)()
    with pytest.raises(AssertionError):
        getattr(_ContractOfWrong(fault), check)()


def test_a_contract_without_a_backend_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="BackendContract must define `backend"):
        BackendContract().test_no_threads_are_refused()
