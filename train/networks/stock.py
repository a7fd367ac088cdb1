"""Networks of timm and torchvision as ONNX models, to be timed: their weights are random.

A latency needs the sizes, not the weights, but not every weight will do: runtimes leave out biases of zero,
and values that shrink from layer to layer end as subnormal numbers, which processors are slow with. So no
bias is zero, and batch norm holds the statistics of one pass over random images.
"""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from ponas_deploy.errors import MissingExtraError, PonasError

OPSET = 17
_SPREAD = 0.1
"""Standard deviation of biases, and of batch norm's weights around 1."""


def builder_version(builder: str) -> str:
    """The version of the library timm or torchvision; MissingExtraError where it is not installed."""
    try:
        return version(builder)
    except PackageNotFoundError as error:
        raise MissingExtraError(builder, "stock") from error


def stock_model(builder: str, constructor: str, resolution: int, batch: int, *, fuse: bool) -> bytes:
    """A network as an ONNX model: images (batch, 3, resolution, resolution) in, logits out.

    With `fuse` its parallel branches are joined first. The same weights every time. MissingExtraError where
    the library is not installed, PonasError where its version does not know the network.
    """
    builder_version(builder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _constructed(builder, constructor).eval()
        with torch.no_grad():
            _fill(network)
            _take_statistics(network, torch.randn(2, 3, resolution, resolution))
        images = torch.randn(batch, 3, resolution, resolution)
    return _exported(_fused(network) if fuse else network, images)


def _constructed(builder: str, constructor: str) -> Any:
    if builder == "timm":
        import timm

        if timm.is_model(constructor):
            return timm.create_model(constructor, pretrained=False)
    else:
        from torchvision.models import get_model, list_models

        if constructor in list_models():
            return get_model(constructor, weights=None)
    raise PonasError(f"{builder} {builder_version(builder)} has it not: pip install --upgrade {builder}.")


def _norms(network: Any) -> list[Any]:
    return [one for one in network.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]


def _fill(network: Any) -> None:
    for norm in _norms(network):
        norm.weight.copy_(1 + _SPREAD * torch.randn_like(norm.weight))
    for module in network.modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, torch.Tensor) and not bias.any():
            bias.copy_(_SPREAD * torch.randn_like(bias))


def _take_statistics(network: Any, images: torch.Tensor) -> None:
    """Batch norm's statistics from one pass; everything else stays as when it is deployed."""
    norms = _norms(network)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    network(images)
    for norm in norms:
        norm.eval()


def _fused(network: Any) -> Any:
    from timm.utils.model import reparameterize_model

    return reparameterize_model(network)


def _exported(network: Any, images: torch.Tensor) -> bytes:
    """By tracing: the other exporter of torch needs the package onnxscript."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            network,
            (images,),
            file,
            input_names=["images"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=False,
        )
        return file.read_bytes()
