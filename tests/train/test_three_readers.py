"""One description, three readers: torch module, ONNX graph and cost must describe the same network."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from torch import nn

from searchspace import (
    Architecture,
    Candidate,
    Cell,
    Layer,
    UnknownNameError,
    build_space,
    parse_architecture,
    published,
)
from searchspace.cost import count_macs, network_cost
from searchspace.graph import INPUT, model, network_model
from searchspace.ops import Op, Residual, count_params
from searchspace.weights import network_parameters, random_block, random_weights
from train.networks import Block, Network, crop, frozen, load_arrays
from train.networks.modules import Convolution, activate, gated
from train.stages.equivalent import equivalents

Array = NDArray[np.float32]
PUBLISHED = published()

CELLS = {cell.key: cell for row in build_space("ponas").cells() for cell in row}
SMALL_CELLS = {cell.key: cell for row in build_space("ponas", 32, 10).cells() for cell in row}
OFA_CELLS = {cell.key: cell for row in build_space("ofa-mbv3", 132, 10).cells() for cell in row}
SPOS_CELLS = {
    cell.key: cell
    for name in ("spos-shufflenet", "spos-proxyless", "spos-shufflenet-authors")
    for row in build_space(name, 48, 10).cells()
    for cell in row
}
RANDOM = [np.random.default_rng(seed).integers(0, 12, 19).tolist() for seed in range(3)]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Beside other programs, threads that wait for each other take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def onnx_output(proto: object, x: Array) -> Array:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    data = proto.SerializeToString()  # type: ignore[attr-defined]
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {INPUT: x})[0]


def torch_output(module: nn.Module, x: Array) -> Array:
    with torch.inference_mode():
        return module.eval()(torch.from_numpy(x)).numpy()


def difference(found: Array, expected: Array) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def counted(module: nn.Module, x: Array) -> tuple[int, int]:
    """MACs and parameters, counted on the torch side without `searchspace.cost`."""
    macs = 0

    def hook(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Conv2d):
            macs += output[0].numel() * layer.in_channels // layer.groups * int(np.prod(layer.kernel_size))
        elif isinstance(layer, nn.Linear):
            macs += layer.in_features * layer.out_features

    handles = [layer.register_forward_hook(hook) for layer in module.modules()]
    torch_output(module, x)
    for handle in handles:
        handle.remove()
    return macs, sum(parameter.numel() for parameter in module.parameters())


def images(*shape: int, seed: int = 5) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def block_of(cell: Cell, weights: Mapping[str, Array]) -> Block:
    block = Block(cell.ops)
    load_arrays(block, {name.removeprefix("cell."): array for name, array in weights.items()})
    return block


@pytest.mark.parametrize(
    "cells",
    [CELLS, SMALL_CELLS, OFA_CELLS, SPOS_CELLS],
    ids=["224 px", "32 px", "OFA, 132 px", "SPOS, 48 px"],
)
def test_every_cell_reads_the_same_three_ways(cells: dict[str, Cell]) -> None:
    for seed, (key, cell) in enumerate(cells.items()):
        weights = random_block(cell.ops, "cell", seed)
        block, x = block_of(cell, weights), images(1, *cell.input_shape, seed=seed)
        proto = model([("cell", cell.ops)], cell.input_shape, weights, 1, "cell")
        assert difference(torch_output(block, x), onnx_output(proto, x)) < 1e-4, key
        expected = count_macs(cell.ops, cell.input_shape), count_params(cell.ops)
        assert counted(block, x) == expected, key


def test_there_are_132_cells() -> None:
    assert len(CELLS) == 132


@pytest.mark.parametrize(
    ("space", "resolution", "text"),
    [
        ("ofa-mbv3", 132, "k3e6,k5e4,k7e3,absent," * 5),
        ("ofa-mbv3", 188, "k7e3,k3e3,absent,absent,k5e6,k5e6,k5e6,k5e6," * 2 + "k3e4,k3e4,k3e4,k3e4"),
        ("ofa-mbv3-w1.2", 64, "k5e3,k7e6,k3e4,k3e3," * 5),
    ],
)
def test_a_network_of_once_for_all_reads_the_same_three_ways(space: str, resolution: int, text: str) -> None:
    architecture = parse_architecture(text, build_space(space, resolution, 10))
    reads_the_same(architecture, images(1, 3, resolution, resolution))


def architecture_of(choice: str | list[int], resolution: int, classes: int) -> Architecture:
    if isinstance(choice, str):
        return parse_architecture(choice, build_space(PUBLISHED[choice], resolution, classes))
    return Architecture.from_indices(build_space("ponas", resolution, classes), choice)


@pytest.mark.parametrize(
    "choice", [*PUBLISHED, *RANDOM], ids=[*PUBLISHED, *map("random {}".format, range(3))]
)
@pytest.mark.parametrize(("resolution", "classes", "batch"), [(224, 1000, 1), (32, 10, 1), (40, 7, 2)])
def test_every_network_reads_the_same_three_ways(
    choice: str | list[int], resolution: int, classes: int, batch: int
) -> None:
    reads_the_same(architecture_of(choice, resolution, classes), images(batch, 3, resolution, resolution))


def reads_the_same(architecture: Architecture, x: Array) -> None:
    weights, batch = random_weights(architecture, seed=3), len(x)
    network = Network(architecture)
    load_arrays(network, weights)
    logits = torch_output(network, x)
    assert logits.shape == (batch, architecture.space.classes)
    assert difference(logits, onnx_output(network_model(architecture, weights, batch), x)) < 1e-4
    assert counted(network, x) == (
        network_cost(count_macs, architecture),
        network_cost(count_params, architecture),
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_state_dict_holds_the_parameters_by_name_and_nothing_else(name: str) -> None:
    architecture = architecture_of(name, 32, 10)
    shapes = {key: tuple(tensor.shape) for key, tensor in Network(architecture).state_dict().items()}
    assert shapes == {parameter.name: parameter.shape for parameter in network_parameters(architecture)}


@pytest.mark.parametrize("resolution", [32, 224])
def test_a_frozen_network_gives_the_same_logits(resolution: int) -> None:
    architecture = architecture_of("PONAS-C", resolution, 10)
    network, x = Network(architecture), images(2, 3, resolution, resolution)
    load_arrays(network, random_weights(architecture, seed=4))
    folded = frozen(network.parts())
    assert difference(torch_output(folded, x), torch_output(network, x)) < 1e-5
    assert not any(parameter.requires_grad for parameter in folded.parameters())


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (2, 1), (2, 2), (3, 2), (4, 1), (5, 2), (8, 1)])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_taps_that_see_only_padding_are_left_out_without_a_trace(kernel: int, side: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = Convolution(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    x = torch.randn(2, 6, side, side, requires_grad=True)
    expected = nn.Conv2d.forward(conv, x)
    found = conv(x)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected.square().sum(), [x, conv.weight])
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), [x, conv.weight]), wanted)


def test_a_module_refuses_what_it_does_not_know() -> None:
    foreign: Op = SimpleNamespace(name="foreign")  # type: ignore[assignment]
    with pytest.raises(UnknownNameError, match="unknown operation 'SimpleNamespace'"):
        Block((Residual((foreign,)),))
    with pytest.raises(UnknownNameError, match="unknown operation 'SimpleNamespace'"):
        crop({}, (foreign,))
    with pytest.raises(UnknownNameError, match="unknown operation 'SimpleNamespace'"):
        equivalents(Layer("1", (Candidate("a", (foreign,)),)), (8, 4, 4))
    for activate_or_gate, unknown in ((activate, "gelu"), (gated, "softmax")):
        with pytest.raises(UnknownNameError, match=unknown):
            activate_or_gate(unknown, torch.zeros(1))  # type: ignore[operator]


def test_a_block_without_operations_is_the_identity() -> None:
    x = images(1, 8, 4, 4)
    assert np.array_equal(torch_output(Block(()), x), x)
    assert np.array_equal(onnx_output(model([("cell", ())], (8, 4, 4), {}, 1, "cell"), x), x)
    assert count_macs((), (8, 4, 4)) == count_params(()) == 0
