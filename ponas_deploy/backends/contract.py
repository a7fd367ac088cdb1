"""The contract of every runtime, as tests: what the rest of the project relies on.

Handed on as `ponas_deploy.testing.BackendContract`; nothing else imports this file, because it needs pytest.
The expected outputs are those of ONNX's own reference implementation, which no runtime shares code with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ponas_deploy.backends import registry
from ponas_deploy.backends.protocol import Backend, RunSettings, StartsProcesses, TimesLayers
from ponas_deploy.errors import BackendError, PonasError, UnknownNameError
from searchspace.blocks import mbconv
from searchspace.graph import model as graph_of
from searchspace.mixed import said_of
from searchspace.ops import Conv, GlobalPool, Linear
from searchspace.weights import random_block

_SHAPE, _CLASSES = (2, 3, 32, 32), 10
_BROKEN = {"empty": b"", "text": b"not a model", "hollow": b"\x08\x08\x12\x00"}


class BackendContract:
    """What a backend must do; a subclass says which one, and pytest runs it.

        class TestMine(BackendContract):
            package = "my_runtime"

            def backend(self) -> Backend:
                return MyBackend()

    `package` is the module without which the backend cannot be made; it must then say how to install it. Left
    empty for a runtime that needs none. `runtime` is what `environment()` calls the runtime, the backend's
    name where it is empty. The tolerances are largest differences from the reference output, relative to the
    largest output: of fp32, and of every other precision.
    """

    package = ""
    runtime = ""
    fp32_tolerance = 1e-4
    reduced_tolerance = 0.1

    def backend(self) -> Backend:
        """The backend to test, made for each test."""
        raise NotImplementedError(f"{type(self).__name__} must define `backend(self)`, which returns one.")

    def test_outputs_are_those_of_the_reference(self) -> None:
        with self.backend().load(_model(), RunSettings("fp32", 1)) as session:
            found = session.run(_images())
        assert found.shape == (_SHAPE[0], _CLASSES)
        assert found.dtype == np.float32
        assert _difference(found) <= self.fp32_tolerance

    def test_an_output_is_not_changed_by_the_next_run(self) -> None:
        with self.backend().load(_model(), RunSettings()) as session:
            first = session.run(_images())
            kept = first.copy()
            session.run(-_images())
            session.time_ns(2)
            assert np.array_equal(first, kept)
            assert np.array_equal(session.run(_images()), kept)

    def test_every_precision_runs_and_comes_close(self) -> None:
        backend = self.backend()
        assert backend.precisions()[0] == "fp32"
        for precision in backend.precisions():
            with backend.load(_model(), RunSettings(precision, 1)) as session:
                assert session.settings().precision == precision
                most = self.fp32_tolerance if precision == "fp32" else self.reduced_tolerance
                assert _difference(session.run(_images())) <= most, precision

    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads_are_what_the_runtime_says_it_got(self, threads: int) -> None:
        with self.backend().load(_model(), RunSettings("fp32", threads)) as session:
            assert session.settings() == RunSettings("fp32", threads)

    def test_time_grows_with_runs_and_is_a_whole_number(self) -> None:
        with self.backend().load(_model(), RunSettings()) as session:
            session.time_ns(3)
            few = min(session.time_ns(2) for _ in range(5))
            many = min(session.time_ns(200) for _ in range(5))
        assert isinstance(few, int)
        assert 0 < few < many

    def test_a_saved_engine_gives_the_same_outputs(self, tmp_path: Path) -> None:
        backend = self.backend()
        files = backend.save(_model(), RunSettings(), tmp_path / "engine")
        assert sorted(files) == sorted((tmp_path / "engine").iterdir())
        with backend.open(files[0], RunSettings()) as session:
            found = session.run(_images())
        assert _difference(found) <= self.fp32_tolerance

    def test_saving_again_replaces_the_engine(self, tmp_path: Path) -> None:
        backend = self.backend()
        first = backend.save(_model(), RunSettings(), tmp_path)
        assert backend.save(_model(), RunSettings(), tmp_path) == first

    def test_an_unknown_precision_lists_those_that_exist(self, tmp_path: Path) -> None:
        backend, wrong = self.backend(), RunSettings("int3", 1)
        attempts: tuple[Callable[[], object], ...] = (
            lambda: backend.load(_model(), wrong),
            lambda: backend.save(_model(), wrong, tmp_path),
            lambda: backend.open(tmp_path / "engine", wrong),
        )
        for attempt in attempts:
            with pytest.raises(UnknownNameError, match="unknown precision") as caught:
                attempt()
            assert caught.value.known == tuple(sorted(backend.precisions()))

    def test_no_threads_are_refused(self) -> None:
        with pytest.raises(BackendError, match="0 threads"):
            self.backend().load(_model(), RunSettings("fp32", 0))

    @pytest.mark.parametrize("broken", _BROKEN.values(), ids=_BROKEN)
    def test_a_model_that_is_none_is_a_backend_error(self, broken: bytes, tmp_path: Path) -> None:
        backend = self.backend()
        attempts: tuple[Callable[[], object], ...] = (
            lambda: backend.load(broken, RunSettings()),
            lambda: backend.save(broken, RunSettings(), tmp_path),
        )
        for attempt in attempts:
            with pytest.raises(BackendError) as caught:
                attempt()
            assert caught.value.backend == backend.name
            assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_an_engine_that_is_missing_or_cut_short_is_a_backend_error(self, tmp_path: Path) -> None:
        backend = self.backend()
        engine = backend.save(_model(), RunSettings(), tmp_path)[0]
        with pytest.raises(BackendError):
            backend.open(tmp_path / "nowhere", RunSettings())
        engine.write_bytes(engine.read_bytes()[:100])
        with pytest.raises(BackendError):
            backend.open(engine, RunSettings())

    def test_an_open_shape_is_refused(self) -> None:
        import onnx

        proto = onnx.load_model_from_string(_model())
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
        del proto.graph.value_info[:]
        proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
        with pytest.raises(BackendError, match="open shape"):
            self.backend().load(proto.SerializeToString(), RunSettings())

    def test_images_of_another_shape_are_refused(self) -> None:
        with (
            self.backend().load(_model(), RunSettings()) as session,
            pytest.raises(BackendError, match="shape"),
        ):
            session.run(_images()[:1])

    def test_a_closed_session_says_so(self) -> None:
        session = self.backend().load(_model(), RunSettings())
        session.close()
        session.close()
        uses: tuple[Callable[[], object], ...] = (
            lambda: session.run(_images()),
            lambda: session.time_ns(1),
            session.settings,
        )
        for use in uses:
            with pytest.raises(BackendError, match="closed"):
                use()

    def test_the_environment_names_the_runtime(self) -> None:
        backend = self.backend()
        environment = dict(backend.environment())
        assert (self.runtime or backend.name) in environment["runtime"]
        assert all(isinstance(value, str) and value for value in environment.values())

    def test_a_runtime_that_is_not_installed_comes_with_the_install_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not self.package:
            pytest.skip("it needs no package")
        monkeypatch.setitem(sys.modules, self.package, None)
        with pytest.raises(PonasError, match=f"pip install {self.package}"):
            self.backend()

    def test_its_row_in_the_registry_is_true(self) -> None:
        backend = self.backend()
        rows = [entry for entry in registry.ENTRIES if entry.name == backend.name]
        if not rows:
            pytest.skip("it has no row in ponas_deploy/backends/registry.py yet")
        assert ("gpu" if registry.runs_on_gpu(backend) else "cpu") in rows[0].runs_on
        with backend.load(_model(), RunSettings()) as session:
            assert isinstance(session, TimesLayers) == rows[0].times_layers
            assert isinstance(session, StartsProcesses) == rows[0].process_a_visit


@cache
def _model() -> bytes:
    """A small network with every kind of operation of the spaces: `_SHAPE` in, (batch, _CLASSES) out."""
    parts = {
        "stem": (Conv("conv", 3, 8, kernel=3, stride=2, activation="relu6"),),
        "1": mbconv(8, 16, 2, 5, 6, True),
        "2": mbconv(16, 16, 1, 3, 3, False),
        "3": mbconv(16, 16, 1, 5, 3, True),
        "head": (
            Conv("conv", 16, 32, activation="relu6"),
            GlobalPool(),
            Linear("classifier", 32, _CLASSES),
        ),
    }
    from onnx.helper import set_model_props

    weights = {
        key: value for name, ops in parts.items() for key, value in random_block(ops, name, seed=0).items()
    }
    made = graph_of(parts.items(), _SHAPE[1:], weights, _SHAPE[0], "contract")
    set_model_props(made, said_of("contract-mixed", ["2"]))
    return bytes(made.SerializeToString())


@cache
def _images() -> NDArray[np.float32]:
    return np.random.default_rng(7).standard_normal(_SHAPE).astype(np.float32)


@cache
def _expected() -> NDArray[np.float32]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    proto = onnx.load_model_from_string(_model())
    outputs: Any = ReferenceEvaluator(proto).run(None, {proto.graph.input[0].name: _images()})
    return np.asarray(outputs[0])


def _difference(found: NDArray[np.float32]) -> float:
    """The largest difference from the reference's outputs, relative to the largest of them."""
    expected = _expected()
    return float(np.abs(found - expected).max() / np.abs(expected).max())
