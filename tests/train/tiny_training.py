"""A run small enough for tests: three layers of four candidates, images of 16 px in three classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

import searchspace.spaces.registry
import train.data
from searchspace.blocks import mbconv
from searchspace.ops import Conv, Dropout, GlobalPool, Linear
from searchspace.space import Candidate, Layer, Space
from train.compute import Compute
from train.data import Splits, TensorImages
from train.settings import FineTuneSettings, MetaSettings, TrainSettings

CPU = Compute(torch.device("cpu"))
META = MetaSettings(epochs=3, batch=16, lr=0.1)
FINE_TUNE = FineTuneSettings(epochs=2, batch=16, lr=0.05, pass_images=40)
SETTINGS = TrainSettings("blobs", "tiny", seed=1, device="cpu", workers=1, meta=META, fine_tune=FINE_TUNE)
LABELS = ("k3e3", "k5e3", "k3e6se", "k5e6se")


def space(resolution: int = 16, classes: int = 3) -> Space:
    stem = (Conv("conv", 3, 4, kernel=3, stride=2, activation="relu6"),)
    head = (
        Conv("conv", 8, 16, activation="relu6"),
        GlobalPool(),
        Dropout(0.2),
        Linear("classifier", 16, classes),
    )
    layers = []
    for name, inputs, stride in (("1", 4, 2), ("2", 8, 1), ("3", 8, 1)):
        candidates = tuple(
            Candidate(label, mbconv(inputs, 8, stride, kernel, expansion, squeeze))
            for label, (kernel, expansion, squeeze) in zip(
                LABELS, ((3, 3, False), (5, 3, False), (3, 6, True), (5, 6, True)), strict=True
            )
        )
        layers.append(Layer(name, candidates))
    return Space("tiny", stem, tuple(layers), head, resolution, classes)


def turn_red(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """An augmentation: every image's first channel by a random factor."""
    factor = torch.rand(len(images), 1, 1, generator=random)
    return torch.cat([images[:, :1] * factor[:, None], images[:, 1:]], dim=1)


def splits(seed: int = 1) -> Splits:
    """Noise with a bright square whose place is the class."""
    random = torch.Generator().manual_seed(seed)
    parts = []
    for count in (70, 36, 24):
        labels = torch.randint(0, 3, (count,), generator=random)
        images = 0.8 * torch.randn(count, 3, 16, 16, generator=random)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[:, 4 * label : 4 * label + 6, 4 * label : 4 * label + 6] += 1.0
        parts.append(TensorImages(images, labels, turn_red))
    return Splits("blobs", 3, 16, seed, (0.0,) * 3, (1.0,) * 3, *parts)


def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `train_run` find the tiny space and the tiny images by name."""
    monkeypatch.setitem(searchspace.spaces.registry.SPACES, "tiny", space)
    monkeypatch.setitem(train.data.SOURCES, "blobs", lambda resolution, seed, workers: splits(seed))


def changed(**fields: object) -> TrainSettings:
    return replace(SETTINGS, **fields)  # type: ignore[arg-type]


@contextmanager
def one_thread() -> Iterator[None]:
    """Tests run beside other programs: threads that wait for each other would take minutes there."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
