"""Runtimes that take models in the precision of their types, on a board without onnx and msgspec."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import venv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from local_board import archive_with
from onnx.reference import ReferenceEvaluator

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.onnx_calibration import Calibration
from ponas_deploy.backends.onnx_prepared import prepared_for_board
from ponas_deploy.backends.trtexec import VARIABLE
from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.boards.link import BoardError
from ponas_deploy.errors import BackendError
from ponas_deploy.remote.place import BoardPlace, place_on
from searchspace import Architecture, Space
from searchspace.graph import network_model
from searchspace.weights import random_weights

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = ROOT / "tests" / "backends"
GPU = "ponas_deploy/machines/gpu.py"
HERE = Entry("here", Board(command=(), python=sys.executable))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="boards run Linux")

BLOCKED = """
    import json, os, sys
    from importlib.abc import MetaPathFinder

    class Absent(MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("onnx", "msgspec", "psutil", "pynvml", "platformdirs"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Absent())
    sys.path[:0] = json.loads(sys.argv[1])
    from pathlib import Path
    import numpy as np
    from ponas_deploy.backends import RunSettings, get_backend
    from ponas_deploy.errors import BackendError

    from ponas_deploy.machines import gpu
    gpu.first_gpu = lambda: gpu.DriverGpu("Orin (nvgpu)", cuda="12.6")

    def images_of(precision):
        return np.load("images.npy"), Path(precision + ".onnx").read_bytes(), RunSettings(precision)
"""


@pytest.fixture
def model(tiny: Space) -> bytes:
    architecture = Architecture.from_indices(tiny, (3, 0, 1))
    return bytes(network_model(architecture, random_weights(architecture), batch=2).SerializeToString())


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((2, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def expected(model: bytes, images: np.ndarray) -> np.ndarray:
    return np.asarray(ReferenceEvaluator(onnx.load_model_from_string(model)).run(None, {"input": images})[0])


@pytest.fixture
def trtexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that its command lines go into."""
    program = tmp_path / "bin" / "trtexec"
    program.parent.mkdir()
    source = (STAND_INS / "stand_in_trtexec.py").read_text(encoding="utf-8")
    program.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(program))
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def run_there(folder: Path, code: str, model: bytes, images: np.ndarray, *precisions: str) -> Any:
    """What a process prints that lacks what boards lack, after models of these precisions came there."""
    np.save(folder / "images.npy", images)
    for precision in precisions:
        made = prepared_for_board("test", model, precision, Calibration())
        (folder / f"{precision}.onnx").write_bytes(made)
    paths = json.dumps([str(ROOT), str(STAND_INS)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BLOCKED) + textwrap.dedent(code), paths],
        cwd=folder,
        env={**os.environ, "PONAS_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def is_near(found: object, expected: np.ndarray, error: float) -> bool:
    return bool(np.abs(np.asarray(found) - expected).max() <= error * np.abs(expected).max())


TENSORRT = """
    import pytest, tensorrt_standin
    with pytest.MonkeyPatch.context() as patch:
        machine, found = tensorrt_standin.install(patch), {}
        for precision in ("fp32", "fp16", "int8"):
            images, model, settings = images_of(precision)
            backend = get_backend("tensorrt")
            with backend.load(model, settings) as session:
                found[precision] = [session.run(images).tolist(), session.time_ns(4)]
            files = backend.save(model, settings, Path(precision))
            with backend.open(files[0], settings) as session:
                found[precision].append(session.run(images).tolist())
            found[precision].append([file.name for file in files])
        found["builds"] = machine.builds
        record = Path("fp16", "engine.tensorrt.json")
        data = json.loads(record.read_text())
        found["refused"] = []
        texts = ({"precision": 1}, {"sha256": None}, {"build": 3})
        for change in (*texts, {"built_for": []}, {"built_for": {"gpu": 1}}):
            record.write_text(json.dumps({**data, **change}))
            try:
                get_backend("tensorrt").open(Path("fp16", "engine.plan"), RunSettings("fp16"))
            except BackendError as error:
                found["refused"].append(str(error))
    print(json.dumps(found))
"""


def test_tensorrt_loads_saves_and_opens_there(
    tmp_path: Path, model: bytes, images: np.ndarray, expected: np.ndarray
) -> None:
    found = run_there(tmp_path, TENSORRT, model, images, "fp32", "fp16", "int8")
    for precision, error in (("fp32", 1e-4), ("fp16", 0.02), ("int8", 0.3)):
        run, ns, opened, files = found[precision]
        assert is_near(run, expected, error), precision
        assert run == opened
        assert ns == 4 * 250_000
        assert files == ["engine.plan", "engine.onnx", "engine.tensorrt.json"]
    assert found["builds"] == 3, "each engine is built once"
    wrong = ("precision: is 1, expected text", "sha256: is null, expected text", "build: is 3, expected")
    wrong += ("built_for: is a list, expected an object", "built_for.gpu: is 1, expected text")
    assert len(found["refused"]) == len(wrong)
    assert all(words in said for words, said in zip(wrong, found["refused"], strict=True)), found["refused"]


TRTEXEC = """
    found = {}
    for precision in ("fp32", "fp16"):
        images, model, settings = images_of(precision)
        backend = get_backend("trtexec")
        with backend.load(model, settings) as session:
            found[precision] = [session.run(images).tolist(), session.time_ns(4)]
        engine, record = backend.save(model, settings, Path(precision))
        with backend.open(engine, settings) as session:
            found[precision].append(session.run(images).tolist())
    data = json.loads(record.read_text())
    found["refused"] = []
    for change in ({"dtype": "int8"}, {"input_shape": [1, "3"]}, {"output_shape": [0]}, {"input": 2}):
        record.write_text(json.dumps({**data, **change}))
        try:
            get_backend("trtexec").open(engine, RunSettings("fp16"))
        except BackendError as error:
            found["refused"].append(str(error))
    print(json.dumps(found))
"""


def test_trtexec_loads_saves_and_opens_there(
    tmp_path: Path, model: bytes, images: np.ndarray, expected: np.ndarray, trtexec: Path
) -> None:
    found = run_there(tmp_path, TRTEXEC, model, images, "fp32", "fp16")
    for precision, error in (("fp32", 1e-4), ("fp16", 0.02)):
        run, ns, opened = found[precision]
        assert is_near(run, expected, error), precision
        assert run == opened
        assert ns == 20_000 * 3 + 30_000, "of one process"
    wrong = (
        "dtype: is 'int8', expected",
        "input_shape: is no shape",
        "output_shape: is no shape",
        "input: is 2",
    )
    assert all(words in said for words, said in zip(wrong, found["refused"], strict=True)), found["refused"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BoardPlace]:
    """A process of this machine as a board, with a home of its own and a GPU that its driver names."""
    source = (ROOT / GPU).read_text(encoding="utf-8")
    source += '\n\ndef first_gpu() -> DriverGpu:\n    return DriverGpu("Orin (nvgpu)", cuda="12.6")\n'
    archive = archive_with(GPU, source.encode())
    monkeypatch.setattr("ponas_deploy.remote.job.pack", lambda: archive)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with place_on(HERE, "test") as place:
        yield place


def test_the_host_prepares_what_it_sends(
    trtexec: Path, place: BoardPlace, model: bytes, images: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    """Through the whole link: a model in half precision is written here, and built, run and timed there."""
    backend, settings = place.backend("trtexec"), RunSettings("fp16")
    with backend.load(model, settings) as session:
        assert is_near(session.run(images), expected, 0.02)
        for _ in range(2):
            assert session.time_ns(4) == 20_000 * 3 + 30_000
            session.begin_visit()
    engine, record = backend.save(model, settings, tmp_path / "engine")
    assert json.loads(record.read_text())["precision"] == "fp16"
    assert b"ponas.prepared_for" in engine.read_bytes()
    with backend.open(engine, settings) as session:
        assert is_near(session.run(images), expected, 0.02)


def test_a_python_without_numpy_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    venv.create(tmp_path / "bare")
    python = str(tmp_path / "bare" / "bin" / "python")
    words = f"bare: its Python, {python}, has no NumPy, which measuring takes: install it there"
    entry = Entry("bare", Board(command=(), python=python))
    with pytest.raises(BoardError, match=re.escape(words)), place_on(entry, "test"):
        pass


class NoJob:
    """A job that takes files."""

    def put(self, contents: Iterable[bytes]) -> tuple[str, ...]:
        """As of `Job`."""
        return tuple(str(number) for number, _ in enumerate(contents))


def test_int8_scales_come_from_images_here(model: bytes) -> None:
    shown = np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    job: Any = NoJob()
    place = BoardPlace("board", job, lambda: job, lambda: None)
    with pytest.raises(BackendError, match="benchmark_app: takes no images for INT8 scales"):
        place.backend("benchmark_app").calibrate(shown)
    backend = place.backend("tensorrt")
    backend.calibrate(shown)
    other = prepared_for_board("tensorrt", model, "int8", Calibration(shown))
    assert other != prepared_for_board("tensorrt", model, "int8", Calibration())
    sent: list[bytes] = []

    def parcels(models: Mapping[str, bytes]) -> tuple[dict[str, bytes], tuple[bytes, ...]]:
        sent.extend(models.values())
        return {}, ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ponas_deploy.remote.place.parcels", parcels)
        place.send({"model": model}, "tensorrt", RunSettings("int8"), Calibration(shown))
        place.send({"model": model}, "onnxruntime", RunSettings("fp32"))
    assert sent == [other, model]
