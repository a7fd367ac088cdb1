"""One contract for every runtime: what the rest of the project relies on."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.backends import Backend, RunSettings, get_backend
from ponas_deploy.errors import BackendError, PonasError, UnknownNameError

NAMES = ("fake", "onnxruntime", "openvino")
SHAPE = (2, 3, 32, 32)


@pytest.fixture(params=NAMES, scope="module")
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param in ("onnxruntime", "openvino") and find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return get_backend(request.param)


@pytest.fixture
def expected(model: bytes, images: np.ndarray) -> np.ndarray:
    """By ONNX's own reference implementation, which no runtime here shares code with."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    outputs = ReferenceEvaluator(onnx.load_model_from_string(model)).run(None, {"input": images})
    return np.asarray(outputs[0])


def test_outputs_are_those_of_the_reference(
    backend: Backend, model: bytes, images: np.ndarray, expected: np.ndarray
) -> None:
    with backend.load(model, RunSettings("fp32", 1)) as session:
        found = session.run(images)
    assert found.shape == (2, 10)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_an_output_is_not_changed_by_the_next_run(backend: Backend, model: bytes, images: np.ndarray) -> None:
    with backend.load(model, RunSettings()) as session:
        first = session.run(images)
        kept = first.copy()
        session.run(-images)
        session.time_ns(2)
        assert np.array_equal(first, kept)
        assert np.array_equal(session.run(images), kept)


def test_every_precision_runs_and_comes_close(
    backend: Backend, model: bytes, images: np.ndarray, expected: np.ndarray
) -> None:
    assert backend.precisions()[0] == "fp32"
    for precision in backend.precisions():
        with backend.load(model, RunSettings(precision, 1)) as session:
            assert session.settings().precision == precision
            error = np.abs(session.run(images) - expected).max() / np.abs(expected).max()
            assert error <= (1e-4 if precision == "fp32" else 0.1), precision


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_what_the_runtime_says_it_got(backend: Backend, model: bytes, threads: int) -> None:
    with backend.load(model, RunSettings("fp32", threads)) as session:
        assert session.settings() == RunSettings("fp32", threads)


def test_time_grows_with_runs_and_is_a_whole_number(backend: Backend, model: bytes) -> None:
    with backend.load(model, RunSettings()) as session:
        session.time_ns(3)
        few = min(session.time_ns(2) for _ in range(5))
        many = min(session.time_ns(200) for _ in range(5))
    assert isinstance(few, int)
    assert 0 < few < many


def test_a_saved_engine_gives_the_same_outputs(
    backend: Backend, model: bytes, images: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    files = backend.save(model, RunSettings(), tmp_path / "engine")
    assert sorted(files) == sorted((tmp_path / "engine").iterdir())
    with backend.open(files[0], RunSettings()) as session:
        found = session.run(images)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_saving_again_replaces_the_engine(backend: Backend, model: bytes, tmp_path: Path) -> None:
    first = backend.save(model, RunSettings(), tmp_path)
    assert backend.save(model, RunSettings(), tmp_path) == first


def test_an_unknown_precision_lists_those_that_exist(backend: Backend, model: bytes, tmp_path: Path) -> None:
    wrong = RunSettings("int3", 1)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: backend.load(model, wrong),
        lambda: backend.save(model, wrong, tmp_path),
        lambda: backend.open(tmp_path / "engine", wrong),
    )
    for attempt in attempts:
        with pytest.raises(UnknownNameError, match="unknown precision") as caught:
            attempt()
        assert caught.value.known == tuple(sorted(backend.precisions()))


def test_no_threads_are_refused(backend: Backend, model: bytes) -> None:
    with pytest.raises(BackendError, match="0 threads"):
        backend.load(model, RunSettings("fp32", 0))


@pytest.mark.parametrize(
    "broken", [b"", b"not a model", b"\x08\x08\x12\x00"], ids=["empty", "text", "hollow"]
)
def test_a_model_that_is_none_is_a_backend_error(backend: Backend, broken: bytes, tmp_path: Path) -> None:
    for attempt in (
        lambda: backend.load(broken, RunSettings()),
        lambda: backend.save(broken, RunSettings(), tmp_path),
    ):
        with pytest.raises(BackendError) as caught:
            attempt()
        assert caught.value.backend == backend.name
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_is_missing_or_cut_short_is_a_backend_error(
    backend: Backend, model: bytes, tmp_path: Path
) -> None:
    engine = backend.save(model, RunSettings(), tmp_path)[0]
    with pytest.raises(BackendError):
        backend.open(tmp_path / "nowhere", RunSettings())
    engine.write_bytes(engine.read_bytes()[:100])
    with pytest.raises(BackendError):
        backend.open(engine, RunSettings())


def test_an_open_shape_is_refused(backend: Backend, model: bytes) -> None:
    import onnx

    proto = onnx.load_model_from_string(model)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(BackendError, match="open shape"):
        backend.load(proto.SerializeToString(), RunSettings())


def test_images_of_another_shape_are_refused(backend: Backend, model: bytes, images: np.ndarray) -> None:
    with backend.load(model, RunSettings()) as session, pytest.raises(BackendError, match="shape"):
        session.run(images[:1])


def test_a_closed_session_says_so(backend: Backend, model: bytes, images: np.ndarray) -> None:
    session = backend.load(model, RunSettings())
    session.close()
    session.close()
    uses: tuple[Callable[[], object], ...] = (
        lambda: session.run(images),
        lambda: session.time_ns(1),
        session.settings,
    )
    for use in uses:
        with pytest.raises(BackendError, match="closed"):
            use()


def test_the_environment_names_the_runtime(backend: Backend) -> None:
    environment = dict(backend.environment())
    assert backend.name in environment["runtime"]
    assert all(isinstance(value, str) and value for value in environment.values())


def test_a_runtime_that_is_not_installed_comes_with_the_install_line(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend.name == "fake":
        pytest.skip("the fake needs no package")
    monkeypatch.setitem(__import__("sys").modules, backend.name, None)
    with pytest.raises(PonasError, match=f"pip install {backend.name}"):
        get_backend(backend.name)


def test_an_unknown_backend_lists_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"onnxruntime, .*openvino, "):
        get_backend("tflite")
