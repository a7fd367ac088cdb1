"""The PyTorch backend on the CPU against ONNX Runtime; the same on a GPU where there is one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.backends.torch import ENGINE, FORMAT, MODEL, NAMES, TorchBackend
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.files.documents import read_document
from searchspace import Architecture, build_space, parse_architecture, published
from searchspace.graph import model, network_model
from searchspace.space import Space
from searchspace.weights import random_block, random_weights

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible to PyTorch")


@pytest.fixture(scope="module")
def space() -> Space:
    return build_space("ponas", resolution=32, classes=10)


def network(architecture: Architecture, batch: int = 1) -> bytes:
    return network_model(architecture, random_weights(architecture, seed=3), batch).SerializeToString()


def images(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def difference(backend: TorchBackend, proto: bytes, precision: str, shape: tuple[int, ...]) -> float:
    """The largest difference from ONNX Runtime's float32, relative to the largest output."""
    given = images(shape)
    with get_backend("onnxruntime").load(proto, RunSettings()) as session:
        expected = session.run(given)
    with backend.load(proto, RunSettings(precision)) as session:
        found = session.run(given)
        assert np.array_equal(found, session.run(given))
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def published_at_32_px(name: str) -> Architecture:
    return parse_architecture(name, build_space(published()[name], 32, 10))


@pytest.mark.parametrize("name", published())
@pytest.mark.parametrize("batch", [1, 3])
def test_whole_networks_compute_what_onnx_runtime_computes(name: str, batch: int) -> None:
    proto = network(published_at_32_px(name), batch)
    assert difference(TorchBackend(device="cpu"), proto, "fp32", (batch, 3, 32, 32)) < 1e-5


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize("seed", range(6))
def test_random_blocks_compute_what_onnx_runtime_computes(space: Space, seed: int, layout: str) -> None:
    rng = np.random.default_rng(seed)
    cell = space.cell(int(rng.integers(19)), int(rng.integers(12)))
    weights = random_block(cell.ops, "cell", seed)
    proto = model([("cell", cell.ops)], cell.input_shape, weights, 2, "cell").SerializeToString()
    backend = TorchBackend(device="cpu", layout=layout)
    assert difference(backend, proto, "fp32", (2, *cell.input_shape)) < 1e-5


def test_bf16_is_offered_only_where_it_is_native_and_is_close(space: Space) -> None:
    backend = TorchBackend(device="cpu")
    assert backend.precisions()[0] == "fp32"
    if "bf16" not in backend.precisions():
        pytest.skip("this processor has no bf16 instructions")
    assert (
        0 < difference(backend, network(parse_architecture("PONAS-A", space)), "bf16", (1, 3, 32, 32)) < 0.1
    )


def test_a_precision_that_is_not_there_is_refused(space: Space) -> None:
    with pytest.raises(PonasError, match="fp16"):
        TorchBackend(device="cpu").load(network(parse_architecture("PONAS-A", space)), RunSettings("fp16"))


@pytest.mark.parametrize("name", ["torch", "torch-eager"])
def test_every_name_times_and_says_what_it_is(space: Space, name: str) -> None:
    backend = get_backend(name)
    assert backend.name == name
    environment = dict(backend.environment())
    assert environment["runtime"] == f"torch {torch.__version__}"
    assert environment["execution"]
    with backend.load(network(parse_architecture("PONAS-A", space)), RunSettings()) as session:
        one, ten = session.time_ns(1), session.time_ns(10)
        assert isinstance(one, int)
        assert 0 < one < ten * 10
        assert session.settings() == RunSettings("fp32", 1)


def test_threads_are_set_for_each_session(space: Space) -> None:
    proto, backend = network(parse_architecture("PONAS-A", space)), TorchBackend(device="cpu")
    with (
        backend.load(proto, RunSettings(threads=1)) as one,
        backend.load(proto, RunSettings(threads=2)) as two,
    ):
        one.time_ns(1)
        assert torch.get_num_threads() == 1
        two.time_ns(1)
        assert torch.get_num_threads() == 2
        one.run(images((1, 3, 32, 32)))
        assert torch.get_num_threads() == 1


def test_a_closed_session_and_wrong_images_are_refused(space: Space) -> None:
    session = TorchBackend(device="cpu").load(network(parse_architecture("PONAS-A", space)), RunSettings())
    with pytest.raises(BackendError, match=r"\(1, 3, 16, 16\), the model takes \(1, 3, 32, 32\)"):
        session.run(images((1, 3, 16, 16)))
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.time_ns(1)


def one_node(kind: str, shape: tuple[int, ...] = (1, 4, 8, 8), **attributes: object) -> bytes:
    graph = helper.make_graph(
        [helper.make_node(kind, ["input"], ["output"], name="lone", **attributes)],
        "one",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (
            one_node("Elu"),
            "Elu 'lone' is an operator this backend does not run: take another one; it runs Conv",
        ),
        (one_node("Flatten", axis=2), "Flatten 'lone' has axis 2"),
        (one_node("Relu", shape=(0, 4, 8, 8)), "open shape"),
        (b"no model at all", "no ONNX model"),
        (b"", "0 inputs"),
    ],
)
def test_what_cannot_run_is_named(proto: bytes, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        TorchBackend(device="cpu").load(proto, RunSettings())


def test_unequal_padding_is_refused() -> None:
    conv = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,1,4,4] input) => (float[1,1,3,4] output) <float[1,1,2,1] w = {1, 1}>
        { output = Conv<pads=[0, 0, 1, 0], strides=[1, 1]>(input, w) }""")
    with pytest.raises(BackendError, match="equal padding"):
        TorchBackend(device="cpu").load(conv.SerializeToString(), RunSettings())


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_either_way_round(transposed: int) -> None:
    weight = np.arange(6, dtype=np.float32).reshape((2, 3) if transposed else (3, 2))
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["input", "w"], ["output"], transB=transposed)],
        "gemm",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 2))],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    given = images((1, 3))
    with TorchBackend(device="cpu").load(proto, RunSettings()) as session:
        found = session.run(given)
    np.testing.assert_allclose(found, given @ (weight.T if transposed else weight), rtol=1e-6)


def test_a_saved_engine_opens_and_refuses_another_precision_or_a_changed_model(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchBackend, "precisions", lambda self: ("fp32", "bf16"))
    backend, proto = TorchBackend(device="cpu"), network(parse_architecture("PONAS-B", space))
    engine, beside = backend.save(proto, RunSettings(), tmp_path)
    assert (engine.name, beside.name) == (ENGINE, MODEL)
    assert read_document(engine, FORMAT).precision == "fp32"
    given = images((1, 3, 32, 32))
    with backend.open(engine, RunSettings()) as opened, backend.load(proto, RunSettings()) as loaded:
        np.testing.assert_array_equal(opened.run(given), loaded.run(given))
    with pytest.raises(BackendError, match="is for torch fp32, not torch bf16"):
        backend.open(engine, RunSettings("bf16"))
    with pytest.raises(BackendError, match="is for torch fp32, not torch-eager fp32"):
        TorchBackend("torch-eager", device="cpu").open(engine, RunSettings())
    beside.write_bytes(proto[:-1])
    with pytest.raises(BackendError, match="was changed"):
        backend.open(engine, RunSettings())


def test_an_engine_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PonasError, match="no such file"):
        TorchBackend(device="cpu").open(tmp_path / ENGINE, RunSettings())


@pytest.mark.parametrize("name", NAMES)
def test_torch_that_is_missing_names_the_install_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendError, match=r"pip install torch\."):
        get_backend(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(BackendError, match="sees 0 GPUs: install a driver"):
        TorchBackend(device="cuda")


def test_devices_and_layouts_that_nobody_knows() -> None:
    with pytest.raises(BackendError, match="name 'cuda' or 'cpu'"):
        TorchBackend(device="meta")
    with pytest.raises(BackendError, match="none of channels_last, contiguous"):
        TorchBackend(layout="nhwc")


@pytest.mark.slow
def test_a_compiled_block_computes_what_onnx_runtime_computes(space: Space) -> None:
    cell = space.cell(3, 4)
    weights = random_block(cell.ops, "cell")
    proto = model([("cell", cell.ops)], cell.input_shape, weights, 1, "cell").SerializeToString()
    assert (
        difference(TorchBackend("torch-compile", device="cpu"), proto, "fp32", (1, *cell.input_shape)) < 1e-5
    )


# Errors seen are below a fifth of these; TF32 instead of float32 would be some 3e-4.
GPU_TOLERANCE = {"fp32": 2e-5, "tf32": 1e-2, "fp16": 2e-2, "bf16": 1e-1}


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("precision", GPU_TOLERANCE)
@pytest.mark.parametrize("name", ["torch", "torch-eager"])
def test_networks_on_the_gpu(space: Space, name: str, precision: str) -> None:
    backend = TorchBackend(name, device="cuda")
    if precision not in backend.precisions():
        pytest.skip(f"{backend.device_name} does not run {precision}")
    proto = network(parse_architecture("PONAS-C", space), 2)
    assert difference(backend, proto, precision, (2, 3, 32, 32)) < GPU_TOLERANCE[precision]


@pytest.mark.gpu
@on_gpu
def test_graphs_share_memory_and_keep_their_outputs_apart() -> None:
    backend, given = TorchBackend(device="cuda"), images((1, 3, 32, 32))
    protos = [network(published_at_32_px(name)) for name in published()]
    sessions = [backend.load(proto, RunSettings()) for proto in protos]
    assert all(session.captured for session in sessions)
    first = [session.run(given) for session in sessions]
    for session in reversed(sessions):
        session.time_ns(5)
    again = [session.run(given) for session in sessions]
    for before, after in zip(first, again, strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.allclose(first[0], first[1])


@pytest.mark.gpu
@on_gpu
def test_gpu_time_grows_with_the_runs_and_not_with_the_launches(space: Space) -> None:
    with TorchBackend(device="cuda").load(
        network(parse_architecture("PONAS-A", space)), RunSettings()
    ) as session:
        session.time_ns(50)
        few, many = min(session.time_ns(10) for _ in range(5)), min(session.time_ns(100) for _ in range(5))
        assert 8 < many / few < 12
        assert session.launch_ns > 0


@pytest.mark.gpu
@on_gpu
def test_a_capture_that_fails_is_eager_and_said(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    backend, proto = TorchBackend(device="cuda"), network(parse_architecture("PONAS-A", space))
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    with backend.load(proto, RunSettings()) as session:
        assert not session.captured
        assert session.time_ns(1) > 0
    assert [reason.partition(" when")[0] for reason in backend.uncaptured] == ["operation not permitted"]
