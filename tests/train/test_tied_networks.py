"""A run all of whose evaluated networks are equally good: there is no table to fit, and nothing is lost."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_elastic import fit
from tiny_paths import SETTINGS, known
from tiny_training import one_thread, splits, turn_red

import train.data
from ponas_deploy.errors import MeasurementError
from ponas_deploy.files.weights import read_weights
from train.data import TensorImages
from train.runs import fitted_run


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    alike = TensorImages(torch.zeros(36, 3, 16, 16), torch.arange(36) % 3, turn_red)
    monkeypatch.setitem(
        train.data.SOURCES, "blobs", lambda resolution, seed, workers: replace(splits(seed), validation=alike)
    )
    with one_thread():
        yield


def test_a_run_whose_networks_all_tie_keeps_its_supernet_and_says_what_to_do(tmp_path: Path) -> None:
    """Of images that are all alike every network answers with one class, which a third of them are of."""
    short = replace(SETTINGS, single_path=replace(SETTINGS.single_path, epochs=1))
    for _ in range(2):  # the second time nothing is left to do but the fit
        with pytest.raises(MeasurementError) as refused:
            fitted_run(short, tmp_path, fit)
        text = str(refused.value)
        assert "which so rank none of them: the supernet is kept, in" in text
        assert text.endswith("weights.safetensors; train longer, or give more and harder images.")
        assert read_weights(tmp_path / "weights.safetensors").supernet
        assert (tmp_path / "subnets-fit-1.csv").exists()
        assert not (tmp_path / "accuracy.json").exists()
