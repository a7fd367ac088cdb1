"""The registry: every runtime has one row, nobody else names it, and a new one needs a file and a row."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
from waits import python_path

from ponas_deploy.backends import FakeBackend, RunSettings, get_backend, registry
from ponas_deploy.errors import BackendError, UnknownNameError
from ponas_deploy.machines import gpu
from ponas_deploy.measuring.plans import GPU_PLAN, plan_for
from ponas_deploy.measuring.protocol import Plan

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ponas_deploy"
NAMES = {entry.name for entry in registry.ENTRIES}

# Whose first argument names a package of Python, which may be called like a runtime.
_IMPORTS = ("find_spec", "import_module")
# What an engine file was built for, and what a board has, by name: libraries, not runtimes of ours.
_OTHER_KEYS = ("backends/_engine_record.py", "boards/runner.py")


def test_every_row_is_of_one_runtime_and_its_factory_is_there() -> None:
    assert len(NAMES) == len(registry.ENTRIES)
    for entry in registry.ENTRIES:
        module, _, attribute = entry.factory.partition(":")
        assert callable(getattr(import_module(module), attribute))
        assert set(entry.default_on) <= set(entry.runs_on)
    assert sum(entry.reference for entry in registry.ENTRIES) == 1


def test_an_unknown_backend_lists_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"onnxruntime, .*openvino, ") as caught:
        get_backend("tflite")
    assert caught.value.known == tuple(sorted(registry.known_backends()))
    assert "fake" not in caught.value.known


def test_the_fake_is_no_runtime_of_a_machine() -> None:
    assert isinstance(get_backend("fake"), FakeBackend)
    with pytest.raises(UnknownNameError, match="unknown backend 'fake'"):
        registry.real_backend("fake")
    assert not registry.on_cores_only("fake")


def test_the_fake_refuses_an_operator_of_another_runtime() -> None:
    """As in an engine that ONNX Runtime optimised, whose manifest says it were one of the fake."""
    value = onnx.helper.make_tensor_value_info
    given, came = (value(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("given", "came"))
    node = onnx.helper.make_node("Conv", ["given"], ["came"], domain="com.microsoft.nchwc")
    opsets = [onnx.helper.make_opsetid("", 13), onnx.helper.make_opsetid("com.microsoft.nchwc", 1)]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [given], [came]), opset_imports=opsets)
    with FakeBackend().load(model.SerializeToString(), RunSettings()) as session:
        images = np.zeros((1, 2), np.float32)
        with pytest.raises(BackendError, match=r"fake: cannot run the model: .*Conv"):
            session.run(images)


def test_what_a_processor_is_profiled_with() -> None:
    assert registry.default_backends("cpu") == ("onnxruntime", "openvino")
    assert registry.default_backends("gpu") == ("tensorrt", "onnxruntime-cuda", "torch")
    assert [registry.stand_in_for(name) for name in ("tensorrt", "torch", "")] == ["trtexec", "", ""]
    assert registry.install_line() == "pip install onnxruntime openvino"
    only_time = [entry.name for entry in registry.ENTRIES if not entry.makes_engines]
    assert only_time == ["onnxruntime_perf_test", "benchmark_app"]
    assert registry.install_line("gpu").startswith("pip install tensorrt cuda-bindings ")


def test_a_plan_follows_from_the_processor_and_from_what_a_visit_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, present, sample_ns in (("torch", True, 2_000_000), ("torch", False, 1_000_000)):
        monkeypatch.setattr(gpu, "this_gpu", lambda present=present: "nvidia-h200" if present else "")
        assert plan_for(name).sample_ns == sample_ns
        assert plan_for("openvino") == Plan()
        assert plan_for("tensorrt") == GPU_PLAN
        assert (plan_for("trtexec").sample_ns, plan_for("trtexec").sentinel_visits) == (2_000_000, 200)
    with pytest.raises(UnknownNameError, match="unknown backend 'tflite'"):
        plan_for("tflite")


def test_no_other_file_names_a_runtime() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} names {node.value}"
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "backends" / "registry.py"
        for node in _texts(ast.parse(path.read_text(encoding="utf-8")))
        if node.value in NAMES and not _own(path.relative_to(PACKAGE).as_posix(), node.value)
    ]
    assert not found, "\n".join(found)


def _own(file: str, name: str) -> bool:
    """Whether a file is of the runtime or of the library below it: `_trtexec_session` of `trtexec`."""
    library = name.partition("-")[0]
    return file in _OTHER_KEYS or file.startswith(tuple(_own_files(library)))


def _own_files(library: str) -> Iterator[str]:
    modules = {entry.name.partition("-")[0]: entry.factory.partition(":")[0] for entry in registry.ENTRIES}
    own = modules[library].rpartition(".")[2].partition("_gpu")[0]
    yield from (f"backends/{own}", f"backends/_{own}")
    if library == "tensorrt":
        yield "backends/trtexec"  # engines of the same library, by its program


def _texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """The texts of a file, without the packages that it looks for or imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _IMPORTS:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node
        yield from _texts(node)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the source, with the fake under another name: one file more, and one row."""
    for room in ("ponas_deploy", "searchspace", "profiles"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    backends = tmp_path / "ponas_deploy" / "backends"
    source = (backends / "fake.py").read_text(encoding="utf-8")
    for old, new in (('"fake"', '"copied"'), ("FakeBackend", "CopiedBackend"), ("fake 1", "copied 1")):
        assert old in source
        source = source.replace(old, new)
    (backends / "copied.py").write_text(source, encoding="utf-8")
    rows, mark = (backends / "registry.py").read_text(encoding="utf-8"), "BackendEntry, ...] = (\n"
    assert rows.count(mark) == 1
    row = (
        '    BackendEntry("copied", "ponas_deploy.backends.copied:CopiedBackend",'
        ' runs_on=("cpu",), default_on=("cpu",)),\n'
    )
    (backends / "registry.py").write_text(rows.replace(mark, mark + row), encoding="utf-8")
    return tmp_path


def ponas(house: Path, *arguments: str) -> dict[str, object]:
    """What the command prints, run from the copy in processes of its own."""
    environment = {**os.environ, "PYTHONPATH": python_path(house), "PONAS_HOME": str(house / "home")}
    program = "from ponas_deploy.commands import main; main()"
    command = [sys.executable, "-c", program, *arguments, "--json"]
    done = subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_new_runtime_is_listed_among_those_of_the_processor(house: Path) -> None:
    here = ponas(house, "devices")["this_machine"]
    assert isinstance(here, dict)
    assert here["runtimes"]["copied"] == {"precisions": ["fp32", "bf16"], "problem": ""}


def test_a_new_runtime_is_profiled_searched_and_deployed(house: Path) -> None:
    """Its table is made in a worker, its engine built and timed in processes of their own."""
    found = ponas(
        house,
        *("specialize", "--device", "cpu", "--backend", "copied", "--precision", "fp32", "--latency", "60%"),
        *("--space", "ponas", "--resolution", "32", "--classes", "10", "--out", str(house / "engine")),
        *("--time", "5", "--tries", "1"),
    )
    assert isinstance(found["device"], dict)
    assert found["device"]["backend"] == "copied"
    assert isinstance(found["measured"], dict)
    assert found["measured"]["p50_ms"] > 0
    manifest = json.loads((house / "engine" / "manifest.json").read_text(encoding="utf-8"))
    assert dict(manifest["environment"])["runtime"] == "copied 1"
