"""CIFAR-10 and CIFAR-100, read from small files of the published layout that the test makes itself."""
# ruff: noqa: E402

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
datasets = pytest.importorskip("torchvision.datasets", reason="needs the train extra (torchvision)")

from ponas_deploy.errors import PonasError
from train.data import Splits, load


class Fake:
    """Files of one of the two data sets, and the checksums that make torchvision take them."""

    def __init__(self, folder: Path, reader: Any, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.root = folder, folder / reader.base_folder
        self.root.mkdir()
        self.labels: dict[str, list[int]] = {}
        self.pixels: dict[str, np.ndarray] = {}
        key = "labels" if classes == 10 else "fine_labels"
        for part, each in (("train_list", 4), ("test_list", 2)):
            names = [name for name, _ in getattr(reader, part)]
            sums = [[name, self.write(name, classes, each, key)] for name in names]
            monkeypatch.setattr(reader, part, sums)
        meta = dict(reader.meta)
        content = pickle.dumps({meta["key"]: [f"class {label}" for label in range(classes)]})
        (self.root / meta["filename"]).write_bytes(content)
        monkeypatch.setattr(reader, "meta", {**meta, "md5": hashlib.md5(content).hexdigest()})

    def write(self, name: str, classes: int, each: int, key: str) -> str:
        random = np.random.default_rng(len(name) + sum(name.encode()))
        self.labels[name] = random.permutation(np.arange(classes).repeat(each)).tolist()
        self.pixels[name] = random.integers(0, 256, (classes * each, 3072), dtype=np.uint8)
        content = pickle.dumps({"data": self.pixels[name], key: self.labels[name]})
        (self.root / name).write_bytes(content)
        return hashlib.md5(content).hexdigest()


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Five batches of four images a class, and two a class to test with."""
    return Fake(tmp_path, datasets.CIFAR10, 10, monkeypatch)


def parts(splits: Splits) -> list[Any]:
    return [splits.train, splits.validation, splits.test]


def test_a_part_of_every_class_is_held_out_of_training(cifar10: Fake) -> None:
    splits = load("cifar10", seed=1, data_dir=cifar10.folder, validation=3)
    assert (splits.classes, splits.resolution) == (10, 32)
    assert splits.name == f"cifar10:data_dir={cifar10.folder},validation=3"
    assert [torch.bincount(part.labels).tolist() for part in parts(splits)] == [[17] * 10, [3] * 10, [2] * 10]
    pixels = torch.cat([part.pixels for part in parts(splits)[:2]]).flatten(1)
    written = np.concatenate([cifar10.pixels[f"data_batch_{number}"] for number in range(1, 6)])
    assert {row.tobytes() for row in pixels.numpy()} == {row.tobytes() for row in written}
    again, other = (load(splits.name, seed=seed) for seed in (1, 2))
    assert torch.equal(again.validation.pixels, splits.validation.pixels)  # type: ignore[attr-defined]
    assert not torch.equal(other.validation.pixels, splits.validation.pixels)  # type: ignore[attr-defined]


def test_pixels_keep_their_place_and_are_normalised(cifar10: Fake) -> None:
    test = load("cifar10", data_dir=cifar10.folder, validation=1).test
    images, labels = next(test.batches(20))
    assert labels.tolist() == cifar10.labels["test_batch"]
    planes = torch.from_numpy(cifar10.pixels["test_batch"]).reshape(20, 3, 32, 32).float() / 255
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    assert torch.allclose(images, (planes - mean[:, None, None]) / std[:, None, None], atol=1e-6)


def test_batches_have_the_asked_size_order_and_resolution(cifar10: Fake) -> None:
    train = load("cifar10", resolution=48, data_dir=cifar10.folder, validation=1).train
    found = list(train.batches(3, order=torch.tensor([5, 0, 7, 2])))
    assert [images.shape for images, _ in found] == [(3, 3, 48, 48), (1, 3, 48, 48)]
    assert torch.cat([labels for _, labels in found]).tolist() == train.labels[[5, 0, 7, 2]].tolist()
    assert list(train.batches(3, order=torch.arange(0))) == []


def test_augmented_images_are_moved_and_mirrored_each_on_its_own(cifar10: Fake) -> None:
    train: Any = load("cifar10", data_dir=cifar10.folder, validation=1).train
    plain = (train.pixels.float() / 255).numpy()
    found, again, other = (next(train.batches(len(plain), augment=seed))[0] for seed in (1, 1, 2))
    assert torch.equal(found, again)
    assert not torch.equal(found, other)
    mean, std = np.array(train.mean)[:, None, None], np.array(train.std)[:, None, None]
    moves = set()
    for image, whole in zip(found[:40].numpy() * std + mean, plain, strict=False):
        framed = np.pad(whole, ((0, 0), (4, 4), (4, 4)))
        crops = {
            (row, column, step): framed[:, row : row + 32, column : column + 32][:, :, ::step]
            for row in range(9)
            for column in range(9)
            for step in (1, -1)
        }
        fits = [move for move, crop in crops.items() if np.abs(crop - image).max() < 1e-5]
        assert len(fits) == 1
        moves.update(fits)
    assert len(moves) > 20
    assert {step for _, _, step in moves} == {1, -1}


def test_a_hundred_classes_have_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(tmp_path, datasets.CIFAR100, 100, monkeypatch)
    splits = load(f"cifar100:data_dir={tmp_path},validation=1")
    assert splits.classes == 100
    assert [len(part.labels) for part in parts(splits)] == [300, 100, 200]
    assert splits.test.labels.tolist() == fake.labels["test"]


def test_files_that_are_not_there_or_not_the_published_ones_are_refused(cifar10: Fake) -> None:
    words = (
        r"cifar10 is not in .*cifar-10-batches-py, or its files are not the published ones: name the folder"
    )
    with pytest.raises(PonasError, match=words):
        load("cifar10", data_dir=cifar10.folder / "elsewhere")
    path = cifar10.root / "test_batch"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(PonasError, match="or its files are not the published ones") as caught:
        load("cifar10", data_dir=cifar10.folder)
    assert "\n" not in str(caught.value)


def test_nothing_is_fetched_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(datasets.CIFAR10, "download", lambda self: asked.append(True))
    monkeypatch.setenv("PONAS_CACHE", str(tmp_path))
    for text, wanted in (("cifar10", []), ("cifar10:download=yes", [True])):
        with pytest.raises(PonasError, match=f"is not in {tmp_path}/cifar-10-batches-py"):
            load(text)
        assert asked == wanted
    with pytest.raises(PonasError, match="download of data set 'cifar10' is 'perhaps', expected yes or no"):
        load("cifar10:download=perhaps")


@pytest.mark.parametrize("validation", [0, 20])
def test_a_validation_set_that_is_none_or_everything_is_refused(cifar10: Fake, validation: int) -> None:
    with pytest.raises(
        PonasError, match=f"{validation} images a class cannot be held out of 20: .* from 1 to 19"
    ):
        load("cifar10", data_dir=cifar10.folder, validation=validation)
