"""Our convolution against torch's: same values, same gradients, on every way it can take."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import one_thread
from torch import Tensor, nn

from train.networks.convolution import Convolution


@pytest.fixture(autouse=True)
def _steady() -> Iterator[None]:
    with one_thread():
        yield


def images(count: int, channels: int, side: int, *, width: int | None = None, last: bool = True) -> Tensor:
    random = torch.Generator().manual_seed(3)
    x = torch.randn(count, channels, side, width or side, generator=random)
    return x.to(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()


def same_as_torch(conv: Convolution, x: Tensor) -> None:
    found, expected = conv(x), nn.Conv2d.forward(conv, x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    leaves = [x, *conv.parameters()]
    weights = torch.linspace(-1, 1, expected.numel()).view_as(expected)  # no two outputs count the same
    wanted = torch.autograd.grad((expected * weights).sum(), leaves)
    gradients = torch.autograd.grad((found * weights).sum(), leaves)
    torch.testing.assert_close(gradients, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 9])
def test_depthwise(kernel: int, side: int, stride: int) -> None:
    conv = Convolution(6, 6, kernel, stride, kernel // 2, groups=6, bias=side == 4)
    same_as_torch(conv, images(3, 6, side))


def test_maps_need_not_be_square() -> None:
    same_as_torch(Convolution(4, 4, 7, 2, 3, groups=4, bias=False), images(3, 4, 2, width=9))


def test_more_images_than_the_cache_holds_are_taken_in_parts() -> None:
    same_as_torch(Convolution(64, 64, 5, 1, 2, groups=64, bias=False), images(3, 64, 64))


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("count", "side"), [(16, 1), (48, 1), (5, 1), (4, 2), (3, 2), (2, 4), (1, 4), (2, 9)]
)
def test_one_by_one(count: int, side: int, last: bool) -> None:
    same_as_torch(Convolution(10, 24, 1, bias=count == 48), images(count, 10, side, last=last))


@pytest.mark.parametrize(
    ("kernel", "stride", "groups"), [(3, 1, 1), (3, 2, 1), (1, 2, 1), (1, 1, 2), (5, 1, 2)]
)
def test_every_other_convolution(kernel: int, stride: int, groups: int) -> None:
    same_as_torch(Convolution(8, 12, kernel, stride, kernel // 2, groups=groups), images(16, 8, 2))


def test_outputs_stay_channels_last() -> None:
    """What comes next would copy them otherwise."""
    for conv, x in (
        (Convolution(8, 24, 1, bias=False), images(16, 8, 2)),
        (Convolution(8, 8, 7, 1, 3, groups=8, bias=False), images(4, 8, 4)),
    ):
        assert conv(x).is_contiguous(memory_format=torch.channels_last)


def test_no_gradient_of_a_frozen_weight_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = Convolution(6, 6, 5, 1, 2, groups=6, bias=False).requires_grad_(False)
    x = images(3, 6, 4)
    wanted = torch.autograd.grad(nn.Conv2d.forward(conv, x).square().sum(), x)
    monkeypatch.setattr("train.networks.convolution._weight_gradient", None)
    torch.testing.assert_close(torch.autograd.grad(conv(x).square().sum(), x), wanted)


def test_under_autocast_torch_decides_the_precision() -> None:
    conv = Convolution(6, 6, 5, 1, 2, groups=6, bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = conv(images(16, 6, 4)), nn.Conv2d.forward(conv, images(16, 6, 4))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)
