"""Trainings in processes that may take little more memory than they have; prints what they say as JSON."""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked import child, ended
from tiny_training import changed, known, splits

import train.data
from train.data import Splits, TensorImages
from train.runs import train_run
from train.settings import FineTuneSettings, MetaSettings, TrainSettings

MANY = 24_000
SPARE_MIB = 600
META = MetaSettings(epochs=1, batch=500, lr=0.01)
FINE_TUNE = FineTuneSettings(epochs=1, batch=500, lr=0.01, pass_images=500)
CASES = {
    "meta": ("meta", replace(META, batch=MANY), FINE_TUNE),
    "fine_tune.batch": ("batch", META, replace(FINE_TUNE, pass_images=1, batch=MANY)),
    "fine_tune.pass_images": ("passes", META, replace(FINE_TUNE, batch=2000, pass_images=MANY)),
    "with smaller passes": ("passes", META, replace(FINE_TUNE, batch=2000, pass_images=2000)),
}
"""By name: the folder, and the settings; the last goes on with the run of the one before."""


def many(resolution: int | None, seed: int, workers: int) -> Splits:
    """One image again and again: it takes no memory before it is in a batch."""
    labels = torch.arange(MANY) % 3
    images = splits().train.images[:1].expand(MANY, -1, -1, -1)  # type: ignore[attr-defined]
    return replace(splits(), train=TensorImages(images, labels))


def starve(settings: TrainSettings, folder: Path) -> None:
    torch.set_num_threads(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_MIB * 2**20,) * 2)
    train_run(settings, folder)


if __name__ == "__main__":
    known(patch := pytest.MonkeyPatch())
    patch.setitem(train.data.SOURCES, "many", many)
    place, outcomes = Path(sys.argv[1]), {}
    for name, (folder, meta, fine_tune) in CASES.items():
        settings = changed(data="many", meta=meta, fine_tune=replace(fine_tune, cache_mib=0))
        said = place / f"{name}.txt"
        code = ended(child(lambda s=settings, n=folder: starve(s, place / n), said))
        outcomes[name] = (code, said.read_text())
    print(json.dumps(outcomes))
