"""Any ONNX model is timed as engines are: open sizes, several inputs, whatever types, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from ponas_deploy.commands.app import app
from ponas_deploy.commands.reports.measured_model import measured_model_report
from ponas_deploy.engines.measured_model import (
    MeasuredModel,
    ModelTiming,
    NetworkBeside,
    measure_model,
    measured_model_document,
)
from ponas_deploy.engines.onnx_files import fixed_model, fixed_models
from ponas_deploy.engines.timing import EngineTiming, time_engine
from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.documents import encoded
from ponas_deploy.files.records import sha256
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.engine_process import LEAST_RUNS
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.pareto import FrontPoint
from ponas_deploy.tables.latency import Conditions
from rendered import shown
from searchspace import build_space
from stored_tables import stored


def model(path: Path) -> Path:
    """Picks rows by whole numbers, and says which values are above zero: two inputs, two outputs."""
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 4, "width"])
    which = helper.make_tensor_value_info("which", TensorProto.INT64, ["n"])
    picked = helper.make_tensor_value_info("picked", TensorProto.FLOAT, ["n", "n", "width"])
    above = helper.make_tensor_value_info("above", TensorProto.BOOL, ["n", 4, "width"])
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    nodes = [
        helper.make_node("Gather", ["rows", "which"], ["picked"], axis=1),
        helper.make_node("Greater", ["rows", "zero"], ["above"]),
    ]
    graph = helper.make_graph(nodes, "odd", [rows, which], [picked, above], [zero])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, str(path))
    return path


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_model_with_several_inputs_and_types_is_timed(tmp_path: Path, backend: str) -> None:
    found = measure_model(
        model(tmp_path / "m.onnx"), Target("cpu", backend, "fp32"), sizes={"width": 3}, seconds=0.05
    )
    (one,) = found.timings
    assert found.inputs == ("rows: float32 1 x 4 x 3", "which: int64 1")
    assert (one.conditions.backend, one.conditions.batch) == (backend, 1)
    assert 0 < one.timing.percentile_ms(50) <= one.timing.percentile_ms(99)
    document = json.loads(json.dumps(encoded(measured_model_document(found))))
    assert document["timings"][0]["measured"]["p50_ms"] == one.timing.percentile_ms(50)


def test_open_sizes_are_asked_for_by_name(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx")
    with pytest.raises(PonasError, match=r"leaves sizes of its inputs open: give them with --size width=N"):
        fixed_model(path, {})
    assert fixed_model(path, {"rows:2": 5}, batch=2).inputs == ("rows: float32 2 x 4 x 5", "which: int64 2")
    with pytest.raises(PonasError, match="has no open size 'depth'"):
        fixed_model(path, {"width": 3, "depth": 2})
    (tmp_path / "fixed.onnx").write_bytes(fixed_model(path, {"width": 3}).data)
    with pytest.raises(PonasError, match="takes a batch of 1, not 4: give --batch 1"):
        fixed_model(tmp_path / "fixed.onnx", {}, batch=4)
    both = [tmp_path / "fixed.onnx", path]
    fixed, opened = fixed_models(both, {"width": 5})
    assert (fixed.inputs[0], opened.inputs[0]) == ("rows: float32 1 x 4 x 3", "rows: float32 1 x 4 x 5")
    with pytest.raises(PonasError, match="none of the models has an open size 'depth'"):
        fixed_models(both, {"width": 5, "depth": 2})


@pytest.mark.parametrize("content", [b"", b"layer,candidate\n", b"\xff" * 40])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(FileFormatError, match="is no ONNX model"):
        fixed_model(tmp_path / "m.onnx", {})


def test_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PonasError, match="'jetson' is not this machine: `ponas devices add jetson"):
        measure_model(model(tmp_path / "m.onnx"), Target("jetson"), sizes={"width": 32})


@pytest.mark.parametrize(
    ("measured_ms", "words"),
    [
        (1.0, "every network takes longer, the fastest one 2.000 ms"),
        (3.0, "within its time is k3e3, predicted 2.500 ms and 1.00 pp loss by accuracy table ponas"),
        (9.0, "none that takes longer loses less than k3e6, predicted 4.000 ms and 0.00 pp loss"),
    ],
)
def test_the_network_beside_is_what_it_is_said_to_be(measured_ms: float, words: str) -> None:
    points = (FrontPoint(2.5, 1.0, ("k3e3",)), FrontPoint(4.0, 0.0, ("k3e6",)))
    within = [point for point in points if point.latency_ms <= measured_ms]
    beside = NetworkBeside("mine", "ponas", 96, 2.0, 4.0, within[-1] if within else None)
    timing = EngineTiming(((int(1e6 * measured_ms),) * 3,))
    one = ModelTiming(Conditions("board", "onnxruntime", "fp32", 1, 1), timing, (beside,))
    text = shown(measured_model_report(MeasuredModel(Path("m.onnx"), "0" * 64, ("x",), (one,))))
    assert f"mine (96 px): {words}" in " ".join(text.split())


def with_weights_beside(folder: Path) -> Path:
    """A convolution whose weights lie in a file of their own, for any number of images."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 16, 16])
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, ["n", 4, 14, 14])
    kernel = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "kernel")
    node = helper.make_node("Conv", ["images", "kernel"], ["found"], kernel_shape=[3, 3])
    graph = helper.make_graph([node], "beside", [images], [found], [kernel])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = folder / "m.onnx"
    onnx.save(made, str(path), save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    assert (folder / "m.onnx.data").stat().st_size >= 4 * 4 * 3 * 3 * 3
    return path


def test_the_command_times_a_model_with_weights_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch is open, a table of this machine serves; --time is that of all processes together."""
    path = with_weights_beside(tmp_path)
    asked = list[float]()

    def timed(*given: object, seconds: float, **more: object) -> EngineTiming:
        asked.append(seconds)
        return time_engine(*given, seconds=seconds, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("ponas_deploy.engines.measured_model.time_engine", timed)
    conditions = Conditions(this_machine().name, "onnxruntime", "fp32", 1, 2)
    table = stored(build_space("ponas"), this_machine().name, conditions=conditions)
    command = ["measure", str(path), "--backend", "onnxruntime", "--batch", "2", "--time", "300ms", "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["inputs"] == ["images: float32 2 x 3 x 16 x 16"]
    assert document["sha256"] == sha256(path)
    (one,) = document["timings"]
    assert one["measured"]["runs"] >= 2 * LEAST_RUNS
    assert 0 < one["measured"]["p50_ms"] <= one["measured"]["p99_ms"]
    (beside,) = one["beside"]
    assert (beside["table"], beside["resolution_px"], beside["within"]) == (table.name, 224, None)
    assert beside["fastest_ms"] == pytest.approx(19.0), "nineteen layers of a millisecond"
    assert asked == [pytest.approx(0.1)]


@pytest.mark.parametrize("fault", ["missing", "short", "pipe", "outside"])
def test_weights_beside_a_model_that_are_not_there_are_named(tmp_path: Path, fault: str) -> None:
    path, beside = with_weights_beside(tmp_path), tmp_path / "m.onnx.data"
    if fault == "outside":
        proto = onnx.load(str(path), load_external_data=False)
        proto.graph.initializer[0].external_data[0].value = "/etc/hostname"
        path.write_bytes(proto.SerializeToString())
    elif fault == "short":
        beside.write_bytes(b"1234")
    else:
        beside.unlink()
    if fault == "pipe":
        os.mkfifo(beside)
    words = {
        "missing": r"m\.onnx\.data: there is no such file",
        "short": "is no ONNX model that can be read",
        "pipe": r"m\.onnx\.data: cannot be read: it is a pipe",
        "outside": "is no ONNX model that can be read",
    }
    with pytest.raises(FileFormatError, match=words[fault]):
        fixed_model(path, {})


def test_wrong_sizes_are_wrong_usage(tmp_path: Path) -> None:
    path = str(with_weights_beside(tmp_path))
    for wrong in ("height", "height=", "=3", "height=0", "height=x"):
        done = CliRunner().invoke(app, ["measure", path, "--size", wrong])
        assert (done.exit_code, "is not NAME=N with a whole number" in " ".join(done.output.split())) == (
            2,
            True,
        )
