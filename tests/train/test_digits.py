"""The digits: a split that a seed fixes, normalised, and an augmentation that a seed fixes."""
# ruff: noqa: E402

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
pytest.importorskip("sklearn", reason="needs the train extra (scikit-learn)")

import train.data
from ponas_deploy.errors import MissingExtraError, UnknownNameError
from train.data import Splits, TensorImages, load


def parts(splits: Splits) -> list[TensorImages]:
    return [splits.train, splits.validation, splits.test]  # type: ignore[list-item]


def test_the_split_is_fixed_by_the_seed_and_covers_every_image_once() -> None:
    first, again, other = load("digits", seed=3), load("digits", seed=3), load("digits", seed=4)
    for a, b, c in zip(parts(first), parts(again), parts(other), strict=True):
        assert torch.equal(a.images, b.images)
        assert not torch.equal(a.labels, c.labels)
    assert sum(len(part.labels) for part in parts(first)) == 1797
    pixels = torch.cat([part.images for part in parts(first)])
    other_pixels = torch.cat([part.images for part in parts(other)])
    assert torch.equal(pixels.sum((1, 2, 3)).sort().values, other_pixels.sum((1, 2, 3)).sort().values)


def test_every_class_has_its_share_everywhere() -> None:
    splits = load("digits")
    assert (splits.classes, splits.resolution, splits.name) == (10, 32, "digits")
    assert len(splits.validation.labels) >= 350
    for part, share in zip(parts(splits), (0.55, 0.25, 0.20), strict=True):
        counts = torch.bincount(part.labels, minlength=10) / len(part.labels)
        assert counts.min() > 0.09
        assert len(part.labels) == pytest.approx(share * 1797, abs=5)


@pytest.mark.parametrize("resolution", [None, 24])
def test_images_are_normalised_and_grey(resolution: int | None) -> None:
    splits = load("digits", resolution=resolution)
    images = parts(splits)[0].images
    side = resolution or 32
    assert images.shape[1:] == (3, side, side)
    assert images.dtype == torch.float32
    assert torch.equal(images[:, 0], images[:, 2])
    assert abs(float(images.mean())) < 0.05
    assert 0.8 < float(images.std()) < 1.1


def test_batches_come_in_the_order_asked_for() -> None:
    images = parts(load("digits"))[1]
    order = torch.tensor([5, 3, 9])
    sizes = [len(labels) for _, labels in images.batches(2, order)]
    assert sizes == [2, 1]
    assert torch.equal(next(images.batches(3, order))[0], images.images[order])
    assert sum(len(labels) for _, labels in images.batches(64)) == len(images.labels)


def test_augmentation_is_mild_and_fixed_by_its_seed() -> None:
    images = parts(load("digits"))[0]
    plain = next(images.batches(32))[0]
    one, again, other = (next(images.batches(32, augment=seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert 0.02 < float((one - plain).abs().mean()) < 0.6
    assert float(one.min()) >= float(plain.min()) - 1e-5


@pytest.mark.parametrize(
    ("package", "module", "data"),
    [
        ("sklearn", "train.data.digits", "digits"),
        ("torchvision", "train.data.cifar", "cifar10"),
        ("torchvision", "train.data.folder", "photos"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_extra_that_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, module: str, data: str
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    for name in (module, "train.data.file_images"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(train.data, name.rpartition(".")[2], raising=False)
    with pytest.raises(MissingExtraError, match=rf"^{package}, .*pip install 'ponas-deploy\[train\]'"):
        load(data)


def test_an_unknown_data_set_is_answered_with_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown data set 'mnist': known are .*digits"):
        load("mnist")
