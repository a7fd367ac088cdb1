"""Any ONNX model is timed as engines are: open sizes, several inputs, whatever types, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from ponas_deploy.commands.reports.measured_model import measured_model_report
from ponas_deploy.engines.measured_model import (
    MeasuredModel,
    ModelTiming,
    NetworkBeside,
    measure_model,
    measured_model_document,
)
from ponas_deploy.engines.onnx_files import fixed_model
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.documents import encoded
from ponas_deploy.profiling.inventory import Target
from ponas_deploy.search.pareto import FrontPoint
from ponas_deploy.tables.latency import Conditions
from rendered import shown


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
    with pytest.raises(PonasError, match="takes a batch of 1, not 4"):
        fixed_model(tmp_path / "fixed.onnx", {}, batch=4)


@pytest.mark.parametrize("content", [b"", b"layer,candidate\n", b"\xff" * 40])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(FileFormatError, match="is no ONNX model"):
        fixed_model(tmp_path / "m.onnx", {})


def test_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PonasError, match="'jetson' is not this machine: run `ponas measure` on it"):
        measure_model(model(tmp_path / "m.onnx"), Target("jetson"))


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
