"""Parameters and MACs counted from a graph, against the space's own count and against published ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

from ponas_deploy.engines.onnx_costs import ModelCosts, model_costs
from ponas_deploy.engines.stock import stock_networks
from ponas_deploy.profiling.models import network_bytes
from searchspace import Architecture
from searchspace.cost import count_bytes, count_macs, network_cost
from searchspace.description import describe
from searchspace.space import Space

PUBLISHED = {
    "mobilenetv3_small_100": (2.54, 57),
    "mobilenetv3_large_100": (5.48, 217),
    "mobilenetv4_conv_small": (3.77, 186),
    "regnety_004": (4.34, 402),
    "efficientnet_b0": (5.29, 386),
}
"""Millions of parameters and of MACs at 224 px, by timm's results and by a profiler of others."""


@pytest.mark.parametrize("batch", [1, 4])
def test_a_network_of_a_space_is_counted_as_the_space_counts_it(tiny: Space, batch: int) -> None:
    architecture = Architecture(tiny, tuple(row[-1] for row in tiny.labels))
    found = model_costs(network_bytes(architecture, batch), batch)
    assert found.macs == network_cost(count_macs, architecture)
    assert found.params == network_cost(count_bytes, architecture) / 4
    assert found.params == describe(architecture).deployed_params < describe(architecture).params


class _Images(CalibrationDataReader):
    """Two random images."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        random = np.random.default_rng(0)
        self._left = [{name: random.standard_normal(shape, np.float32)} for _ in range(2)]

    def get_next(self) -> dict[str, object] | None:
        return self._left.pop() if self._left else None


@pytest.mark.parametrize("how", ["QDQ", "QOperator", "dynamic"])
def test_a_quantised_network_has_the_costs_of_its_weights(how: str, tmp_path: Path) -> None:
    """As ONNX Runtime's own tool quantises it: scales and zero points are no parameters."""
    random = np.random.default_rng(0)
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "m": (2048, 5)}
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    images = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])
    logits = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])
    graph = helper.make_graph(nodes, "g", [images], [logits], weights)
    opset = [helper.make_opsetid("", 17)]
    plain, small = tmp_path / "plain.onnx", tmp_path / "small.onnx"
    plain.write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
    if how == "dynamic":
        quantize_dynamic(plain, small)
    else:
        quantize_static(
            plain, small, _Images("x", (1, 3, 16, 16)), quant_format=QuantFormat[how], per_channel=True
        )
    costs = model_costs(small.read_bytes())
    assert costs == model_costs(plain.read_bytes())
    assert costs == ModelCosts(8 * 27 + 8 + 2048 * 5, 256 * 8 * 27 + 2048 * 5)


def test_what_foreign_operators_do_with_weights_is_not_counted() -> None:
    weights = numpy_helper.from_array(np.ones((3, 3), np.float32), "w")
    node = helper.make_node("Mine", ["x", "w"], ["y"], domain="some.body")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weights])
    assert model_costs(helper.make_model(graph).SerializeToString()) == ModelCosts(None, None)


@pytest.mark.parametrize("constructor", ["mobilenet_v3_small", "shufflenet_v2_x1_5"])
def test_networks_of_torchvision_have_their_published_costs(constructor: str) -> None:
    """The second one computes shapes from shapes."""
    pytest.importorskip("torchvision", reason="torchvision (the extra train) is not installed")
    from torchvision.models import get_model_weights

    from train.networks.stock import stock_model

    meta = get_model_weights(constructor)["IMAGENET1K_V1"].meta
    found = model_costs(stock_model("torchvision", constructor, 224, 1, fuse=False))
    assert found.params == pytest.approx(meta["num_params"], rel=0.01)
    assert found.macs is not None
    assert found.macs / 1e9 == pytest.approx(meta["_ops"], abs=0.001)


@pytest.mark.parametrize("constructor", PUBLISHED)
def test_stock_networks_have_their_published_costs(constructor: str) -> None:
    pytest.importorskip("timm", reason="timm (the extra stock) is not installed")
    from train.networks.stock import stock_model

    (network,) = stock_networks([constructor])
    found = model_costs(stock_model("timm", constructor, network.resolution, 1, fuse=network.fuse))
    params, macs = PUBLISHED[constructor]
    assert found.params / 1e6 == pytest.approx(params, rel=0.01)
    assert found.macs is not None
    assert found.macs / 1e6 == pytest.approx(macs, rel=0.02)
