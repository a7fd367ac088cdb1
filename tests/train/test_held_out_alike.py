"""Images that weights were trained on are divided and prepared for them as they were then."""
# ruff: noqa: E402

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
import tiny_elastic

from photos import fill
from ponas_deploy.errors import PonasError, WeightsError
from ponas_deploy.files.weights import WeightsFile
from searchspace.elastic import ELASTIC
from train.data import Splits, as_divided, load
from train.networks import describe
from train.runs import load_images


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PONAS_CACHE", str(tmp_path / "cache"))


def images(data: object, *headers: dict[str, str]) -> Splits:
    files = [WeightsFile(Path(f"{place}.safetensors"), {}, header) for place, header in enumerate(headers)]
    return load_images(files, data=str(data), resolution=16, seed=0, on_progress=lambda progress: None)


def test_the_options_that_divided_the_images_are_those_of_the_weights(tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", 25)
    before = f"{photos}:test=3,validation=2"
    found = images(photos, {"data": before, "seed": "0"})
    assert (found.name, len(found.validation.labels), len(found.test.labels)) == (before, 6, 9)
    assert images(f"{photos}:validation=2", {"data": before}).name == before
    for asked in ("validation=4", "test=5,validation=2"):
        with pytest.raises(PonasError, match=r"=\d was asked for, but the weights' training divided "):
            images(f"{photos}:{asked}", {"data": before})
    with pytest.raises(PonasError, match=r"test=3 was asked for, but .* with test=50"):
        images(photos, {"data": before}, {"data": str(photos)})


@pytest.mark.parametrize(
    ("name", "before", "wanted"),
    [
        ("digits", "fractal:validation=3", "digits"),
        ("fractal:classes=3", "fractal:classes=4,validation=3", "fractal:classes=3,validation=3"),
        ("fractal:validation=200", "fractal", "fractal:validation=200"),
        ("blobs-elsewhere", "blobs:test=3", "blobs-elsewhere"),
    ],
)
def test_other_images_are_divided_as_asked(name: str, before: str, wanted: str) -> None:
    """200 are the fractals' own."""
    assert as_divided(name, before) == wanted


def test_other_images_are_prepared_as_those_that_the_weights_were_trained_on(tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", 6)
    header = describe(ELASTIC, tiny_elastic.space(), load(f"{photos}:style=ofa", resolution=16), 0)
    other = images(fill(tmp_path / "others", 6), header)
    assert (other.resize_px, other.name) == (19, f"{tmp_path / 'others'}:style=ofa")
    usual = describe(ELASTIC, tiny_elastic.space(), load(str(photos), resolution=16), 0)
    assert (images(photos, usual).resize_px, images(photos, usual).name) == (18, str(photos))


def test_images_of_other_classes_can_be_transferred_to(tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", 6)
    for known, words in ({"classes": "5"}, "made for"), ({"class_names": '["a", "b"]'}, "trained on"):
        with pytest.raises(WeightsError, match=f"{words}, or fit it to these: `ponas train transfer`"):
            images(photos, {**known, "layout": ELASTIC})
        with pytest.raises(WeightsError, match=rf"{words}\.$"):
            images(photos, known)
