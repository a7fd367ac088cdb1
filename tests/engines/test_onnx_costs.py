"""Parameters and MACs counted from a graph, against the space's own count and against published ones."""

from __future__ import annotations

import pytest

from ponas_deploy.engines.onnx_costs import model_costs
from ponas_deploy.engines.stock import stock_networks
from ponas_deploy.profiling.models import network_bytes
from searchspace import Architecture
from searchspace.cost import count_bytes, count_macs, network_cost
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
