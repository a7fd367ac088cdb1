"""NVIDIA's own parser and builder, of TensorRT for RTX, which need no GPU: our graphs, builds and messages.

    pip install -e '.[tensorrt-rtx]' && pytest -m tensorrt_rtx

Nothing is run here: an engine is opened on an RTX GPU alone.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

import ponas_deploy as ponas
from ponas_deploy.backends import RunSettings, registry
from ponas_deploy.backends._tensorrt_build import BuildPlan, Built, build_engine, make_log
from ponas_deploy.backends._tensorrt_library import TENSORRT_RTX
from ponas_deploy.backends.onnx_calibration import Calibration
from ponas_deploy.backends.onnx_prepared import prepared
from ponas_deploy.backends.progress import BuildProgress
from ponas_deploy.commands import app
from ponas_deploy.errors import BackendError, UnknownNameError
from ponas_deploy.profiling.models import block_model
from searchspace import Architecture, Space, build_space

if not any(map(find_spec, TENSORRT_RTX.modules)):
    pytest.skip(
        "TensorRT for RTX is not installed: pip install -e '.[tensorrt-rtx]', on x86-64",
        allow_module_level=True,
    )

pytestmark = pytest.mark.tensorrt_rtx

PRECISIONS = ("fp32", "tf32", "fp16", "int8")
SMALL = ("--resolution", "32", "--classes", "10")
CAPABILITY = "8.9"


@pytest.fixture(scope="module")
def log() -> Any:
    return make_log(TENSORRT_RTX)


def built(log: Any, model: bytes, precision: str = "fp32", **more: Any) -> Built:
    fed = prepared("tensorrt-rtx", model, precision, Calibration())
    plan = BuildPlan(tf32=precision == "tf32", compute_capability=CAPABILITY)
    return build_engine(TENSORRT_RTX, fed, more.pop("plan", plan), log, **more)


def graph(
    node: onnx.NodeProto, types: tuple[int, int], shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> bytes:
    """A model of one node with two inputs."""
    inputs = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in zip("xz", types, shapes, strict=True)
    ]
    output = helper.make_tensor_value_info("y", types[0], shapes[0])
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("nobody", 1)]
    made = helper.make_model(helper.make_graph([node], "g", inputs, [output]), opset_imports=opsets)
    made.ir_version = 9
    return bytes(made.SerializeToString())


def with_float_scales(int8: bytes) -> bytes:
    """The same INT8 model, its scales in float32 where the network is in half precision."""
    made = onnx.load_model_from_string(int8)
    scales = {node.input[1] for node in made.graph.node if node.op_type.endswith("QuantizeLinear")}
    scales |= {node.input[1] for node in made.graph.node if node.op_type == "DequantizeLinear"}
    for tensor in made.graph.initializer:
        if tensor.name in scales:
            changed = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    return bytes(made.SerializeToString())


def test_blocks_are_built_in_every_precision(log: Any) -> None:
    """Six of PONAS at 64 px, with each kernel size and with squeeze-and-excite."""
    space = build_space("ponas", 64, 10)
    layers = range(0, len(space.layers), len(space.layers) // 5)
    cells = [space.cells()[layer][-1 - number] for number, layer in enumerate(layers)][:6]
    assert len({cell.key for cell in cells}) == 6
    for cell in cells:
        model = block_model(cell.key, (cell.ops, cell.input_shape), 1)
        for precision in PRECISIONS:
            assert len(built(log, model, precision).engine) > 1000, (cell.key, precision)


def test_a_network_is_built_in_every_precision_and_int8_is_another_engine(log: Any, model: bytes) -> None:
    engines = {precision: built(log, model, precision) for precision in PRECISIONS}
    assert len({made.engine for made in engines.values()}) == len(PRECISIONS)


@pytest.mark.filterwarnings("ignore:.*Timing cache:DeprecationWarning")
def test_a_timing_cache_that_is_none_is_left_out(log: Any, model: bytes) -> None:
    """By the calls that TensorRT is given; TensorRT for RTX has them, and keeps no timings."""
    library = replace(TENSORRT_RTX, keeps_timings=True)
    for broken in (b"garbage" * 20, b"\0"):
        assert build_engine(library, model, BuildPlan(), log, timing_cache=broken).engine
    assert built(log, model, timing_cache=b"none of its own").timing_cache == b"none of its own"


def test_scales_in_float32_of_a_network_in_half_precision_are_refused(log: Any, model: bytes) -> None:
    int8 = prepared("tensorrt-rtx", model, "int8", Calibration())
    with pytest.raises(
        BackendError, match=r"node 'stem\.conv' \(Conv\): .*same type.* give the inputs"
    ) as got:
        built(log, with_float_scales(int8))
    assert "\n" not in str(got.value)


@pytest.mark.parametrize(
    ("node", "types", "shapes", "words"),
    [
        (
            helper.make_node("Add", ["x", "z"], ["y"], "n1"),
            (TensorProto.FLOAT, TensorProto.FLOAT16),
            ((1, 3), (1, 3)),
            r"cannot be read at node 'n1' \(Add\): .*Float and Half.* give the inputs of each node one t",
        ),
        (
            helper.make_node("Add", ["x", "z"], ["y"], "n1"),
            (TensorProto.FLOAT, TensorProto.FLOAT),
            ((1, 3), (1, 4)),
            r"cannot be read at node 'n1' \(Add\): .*broadcast.* Check it with `onnx.checker.check_model`\.$",
        ),
        (
            helper.make_node("Nowhere", ["x", "z"], ["y"], "n1", domain="nobody"),
            (TensorProto.FLOAT, TensorProto.FLOAT),
            ((1, 3), (1, 3)),
            r"TensorRT for RTX \d.* does not run node 'n1' \(Nowhere\): .* Take another operator",
        ),
        (
            helper.make_node("NoSuchOperator", ["x", "z"], ["y"], "n1"),
            (TensorProto.FLOAT, TensorProto.FLOAT),
            ((1, 3), (1, 3)),
            r"TensorRT for RTX \d.* does not run node 'n1' \(NoSuchOperator\): .* Take another operator",
        ),
    ],
)
def test_what_it_does_not_take_is_refused_in_our_words(
    log: Any, node: onnx.NodeProto, types: Any, shapes: Any, words: str
) -> None:
    with pytest.raises(BackendError, match=words) as got:
        build_engine(TENSORRT_RTX, graph(node, types, shapes), BuildPlan(), log)
    assert "\n" not in str(got.value)


def test_a_workspace_that_is_too_small_is_to_be_larger(log: Any, model: bytes) -> None:
    for mib in (0, 1):
        with pytest.raises(BackendError, match=rf"cannot be built: .*Allow more workspace than {mib} MiB"):
            built(log, model, plan=BuildPlan(mib))


def test_ctrl_c_ends_a_build_and_the_next_one_goes_through(log: Any, model: bytes) -> None:
    told: list[BuildProgress] = []

    def interrupt(progress: BuildProgress) -> None:
        told.append(progress)
        if len(told) == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        built(log, model, on_progress=interrupt)
    assert len(told) == 4
    told.clear()
    assert built(log, model, on_progress=lambda progress: told.append(progress)).engine
    ends = [(one.done, one.steps) for one in told]
    assert ends == sorted(ends)
    assert ends[-1][0] == ends[-1][1] > 1
    inside = [one for one in told if one.next_pct]
    assert len(inside) > 4, "the phases in it are told too"
    assert max(one.next_pct for one in inside) <= 100


def test_what_is_raised_in_a_build_comes_out(log: Any, model: bytes) -> None:
    def broken(progress: BuildProgress) -> None:
        raise ValueError("of whoever shows it")

    with pytest.raises(ValueError, match="of whoever shows it"):
        built(log, model, on_progress=broken)


def test_a_gpu_that_is_older_has_other_precisions(model: bytes) -> None:
    turing, ada = (registry.ahead_of_time("tensorrt-rtx", one) for one in ("7.5", CAPABILITY))
    assert (turing.precisions(), ada.precisions()) == (PRECISIONS[2:], PRECISIONS)


def test_turing_does_not_build_float32_which_is_why(log: Any, model: bytes) -> None:
    with pytest.raises(BackendError, match=r"FP32 GEMM is not supported.* Take another precision"):
        built(log, model, plan=BuildPlan(compute_capability="7.5"))
    assert built(log, model, "fp16", plan=BuildPlan(compute_capability="7.5")).engine


def test_what_was_built_is_kept_and_written_as_it_is(model: bytes, tmp_path: Path) -> None:
    ahead = registry.ahead_of_time("tensorrt-rtx", CAPABILITY)
    first = ahead.save(model, RunSettings("fp16"), tmp_path / "a")[0]
    again = registry.ahead_of_time("tensorrt-rtx", CAPABILITY)
    told: list[BuildProgress] = []
    again.on_progress = told.append
    second = again.save(model, RunSettings("fp16"), tmp_path / "b")
    assert first.read_bytes() == second[0].read_bytes()
    assert told == [], "nothing is built again"
    assert [file.name for file in second] == ["engine.plan", "engine.onnx", "engine.tensorrt-rtx.json"]
    record = json.loads(second[2].read_text())
    assert record["built_for"] == {
        "compute_capability": CAPABILITY,
        "tensorrt_rtx": TENSORRT_RTX.checked_version(),
    }


def test_the_bindings_of_tensorrt_in_the_same_process_do_not_disturb_it(model: bytes, tmp_path: Path) -> None:
    """Whether they find their own library or not."""
    (tmp_path / "model.onnx").write_bytes(model)
    code = f"""
from contextlib import suppress
from pathlib import Path
with suppress(Exception):
    import tensorrt_bindings
from ponas_deploy.backends import RunSettings, registry
ahead = registry.ahead_of_time('tensorrt-rtx', '{CAPABILITY}')
folder = Path({str(tmp_path)!r})
print(ahead.save((folder / 'model.onnx').read_bytes(), RunSettings('fp16'), folder)[0].name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "engine.plan\n"), done.stderr


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def export(out: Path, *more: str) -> Result:
    ahead = ("--backend", "tensorrt-rtx", "--compute-capability", CAPABILITY)
    return run("export", "MobileNetV3-Large", *ahead, *SMALL, "--out", out, *more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine as the command builds it, in a process of its own."""
    place = tmp_path_factory.mktemp("rtx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PONAS_HOME", str(place / "home"))
        done = export(place / "engine", "--precision", "int8", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["measured"] is None
    assert "compute capability 8.9, not run: still to be measured on one" in document["status"]
    assert "`ponas export MobileNetV3-Large --device gpu --backend tensorrt-rtx --prec" in document["status"]
    assert document["warnings"] == ["the weights are random: the answers to images mean nothing."]
    return place / "engine"


def test_export_for_a_compute_capability_writes_a_folder_that_is_still_to_be_measured(folder: Path) -> None:
    engine = ponas.Engine.read(folder)
    assert engine.measured is None
    assert (engine.conditions.device, engine.conditions.precision) == ("compute-capability-8.9", "int8")
    assert engine.manifest.compute_capability == CAPABILITY
    assert {file.name for file in engine.manifest.files} == {
        "model.onnx",
        "engine.plan",
        "engine.onnx",
        "engine.tensorrt-rtx.json",
    }
    assert dict(engine.manifest.environment)["compute_capability"] == CAPABILITY


def test_verify_checks_the_files_and_says_where_the_rest_is_done(folder: Path) -> None:
    done = run("verify", folder, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 3
    assert (found["changed_files"], found["architecture_agrees"], found["measured"]) == ([], True, None)
    assert "any GPU of compute capability 8.9, and `ponas verify --here` runs it" in found["warnings"][-1]


def test_without_a_gpu_it_is_not_opened(folder: Path) -> None:
    with pytest.warns(UserWarning, match="random"), pytest.raises(BackendError) as got:
        ponas.load_engine(folder)
    assert f"{folder} is for GPUs of compute capability 8.9 and runs on one alone: " in str(got.value)
    here = run("verify", folder, "--here")
    assert here.exit_code == 1
    assert here.stderr.count("error: tensorrt-rtx: ") == 1


def test_a_folder_that_is_there_is_kept(folder: Path) -> None:
    before = (folder / "engine.plan").read_bytes()
    done = export(folder)
    assert done.exit_code == 1
    assert "exists" in done.stderr
    assert (folder / "engine.plan").read_bytes() == before


@pytest.mark.parametrize("given", ["8,9", "abc", "", "-8.9", "8.9.0", "89"])
def test_what_is_no_compute_capability_is_refused(given: str, tmp_path: Path) -> None:
    done = run("export", "PONAS-A", "--backend", "tensorrt-rtx", f"--compute-capability={given}", *SMALL)
    assert done.exit_code == 1
    assert f"'{given}' is no compute capability: give two numbers with a point, as in 8.9" in done.stderr


@pytest.mark.parametrize("given", ["0.1", "6.1", "9.0", "99.9"])
def test_a_compute_capability_without_engines_lists_those_with(given: str) -> None:
    done = run("export", "PONAS-A", "--backend", "tensorrt-rtx", f"--compute-capability={given}", *SMALL)
    assert done.exit_code == 1
    assert f"has no engines for compute capability {given}, only for 7.5, 8.0, " in done.stderr


def test_a_precision_that_such_gpus_lack_is_refused(tiny: Space, tmp_path: Path) -> None:
    architecture = Architecture.from_indices(tiny, (3, 0, 1))
    for capability, precision in ((CAPABILITY, "bf16"), ("7.5", "fp32")):
        with pytest.raises(UnknownNameError, match=f"of tensorrt-rtx on compute capability {capability}"):
            ponas.export_ahead(
                architecture, capability, backend="tensorrt-rtx", precision=precision, out=tmp_path / "e"
            )
    assert list(tmp_path.iterdir()) == []
