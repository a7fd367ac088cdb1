"""Images through an emitted engine: which arrays it takes, and what it does with them before."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from conftest import tiny_space
from ponas_deploy.checks.engine import verify
from ponas_deploy.engines.emit import build, emit
from ponas_deploy.engines.loaded import load_engine
from ponas_deploy.engines.manifest import MANIFEST, MODEL, Manifest
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.preprocessing import Preprocessing, model_metadata, preprocessing_of
from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.records import write_bytes
from ponas_deploy.files.weights import WeightsFile
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.tables.latency import Conditions
from searchspace import SPACES, Architecture
from searchspace.graph import network_model
from searchspace.weights import random_weights

IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 37)
NETWORK = Architecture.from_indices(tiny_space(), (3, 0, 1))


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


NAMES = ("grün", "\x1b[31mred", *"abcdefgh")


def emitted(
    folder: Path,
    how: Preprocessing | None = IMAGENET,
    *,
    built: bool = True,
    batch: int = 1,
    backend: str = "onnxruntime",
) -> Path:
    conditions = Conditions("here", backend, "fp32", 1, batch)
    weights = random_weights(NETWORK)
    manifest = Manifest.of(NETWORK, conditions, "as they are", "2026-01-01")
    manifest = replace(manifest, preprocessing=how, class_names=NAMES)

    def fill(to: Path) -> None:
        if built:
            build(NETWORK, weights, conditions, to, metadata=model_metadata(how, 32, NAMES))
        else:
            write_bytes(to / MODEL, network_model(NETWORK, weights, batch).SerializeToString())

    name = {"onnxruntime": "engine.optimized.onnx", "openvino": "engine.xml"}[backend] if built else ""
    emit(replace(manifest, engine_file=name), folder, fill)
    return folder


def images(count: int, height: int = 50, width: int = 41) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize(("built", "batch"), [(True, 1), (True, 4), (False, 3)])
def test_any_number_of_images_gives_as_many_rows_of_logits(tmp_path: Path, built: bool, batch: int) -> None:
    """Through the runtime, or through the portable network of what is still to be built."""
    given = images(5)
    with load_engine(emitted(tmp_path / "engine", built=built, batch=batch)) as engine:
        logits = engine(given)
        assert (logits.shape, logits.dtype) == ((5, 10), np.float32)
        alone = np.stack([engine(image)[0] for image in given])
        own = np.stack([IMAGENET.input_of(image, 32) for image in given])
        np.testing.assert_allclose(alone, logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(engine(own), logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(engine(given / 255.0), logits, rtol=1e-4, atol=1e-4)
        assert engine(given[:0]).shape == (0, 10)
    assert np.ptp(logits, axis=0).max() > 0, "the images differ"


def test_an_engine_of_more_threads_than_there_are_runs_on_those_and_is_not_measured(tmp_path: Path) -> None:
    folder, given = emitted(tmp_path / "engine"), images(2)
    with load_engine(folder) as engine:
        expected = engine(given)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["conditions"] |= {"threads": 1000, "device": this_machine().name}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with load_engine(folder) as engine:
        np.testing.assert_allclose(engine(given), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(PonasError, match="cannot be verified here: 1000 threads were asked for"):
        verify(folder)


SAID = {
    "mean": "0.485,0.456,0.406",
    "std": "0.229,0.224,0.225",
    "resize_px": "37",
    "crop_px": "32",
    "channel_order": "RGB",
    "class_names": json.dumps(NAMES, ensure_ascii=False),
}


@pytest.mark.parametrize("name", ["model.onnx", "engine.optimized.onnx"])
def test_every_onnx_model_says_its_classes_and_what_images_go_through(tmp_path: Path, name: str) -> None:
    props = onnx.load(emitted(tmp_path / "engine") / name).metadata_props
    assert {prop.key: prop.value for prop in props} == SAID


def test_openvinos_model_says_it_too(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(emitted(tmp_path / "engine", backend="openvino") / "engine.xml")
    assert {key: model.get_rt_info(["framework", key]).astype(str) for key in SAID} == SAID


def test_what_images_go_through_and_the_classes_are_in_the_manifest(tmp_path: Path) -> None:
    manifest = read_manifest(emitted(tmp_path / "engine", built=False))
    assert (manifest.preprocessing, manifest.class_names) == (IMAGENET, NAMES)
    document = json.loads((tmp_path / "engine" / "manifest.json").read_text())
    assert document["preprocessing"] == {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "resize_px": 37,
        "channel_order": "RGB",
        "crop_px": 32,
    }
    bare = emitted(tmp_path / "bare", None)
    assert read_manifest(bare).preprocessing is None
    with load_engine(bare) as engine:
        assert engine.class_names == NAMES
        assert engine(np.zeros((2, 3, 32, 32))).shape == (2, 10)
        with pytest.raises(PonasError, match=r"do not say how .*: give \(N, 3, 32, 32\) float32"):
            engine(images(2))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"class_names": ["a", "b"]}, "class_names: holds 2 names of 10 classes"),
        ({"class_names": ["a"] * 10}, "class_names: holds class 'a' more than once"),
        ({"preprocessing": {"crop_px": 31}}, "crop_px: is 31, but the network takes images of 32 px"),
        ({"preprocessing": {"channel_order": "GBR"}}, "channel_order: is 'GBR', none of the values"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path: Path, changed: Any, reason: str) -> None:
    path = emitted(tmp_path / "engine", built=False) / "manifest.json"
    document = json.loads(path.read_text())
    for key, value in changed.items():
        document[key] = {**document[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(document))
    with pytest.raises(FileFormatError) as refused:
        read_manifest(path.parent)
    assert reason in str(refused.value)


def test_a_manifest_from_before_class_names_is_read(tmp_path: Path) -> None:
    path = emitted(tmp_path / "engine", built=False) / "manifest.json"
    document = json.loads(path.read_text())
    del (
        document["class_names"],
        document["preprocessing"]["channel_order"],
        document["preprocessing"]["crop_px"],
    )
    path.write_text(json.dumps(document))
    manifest = read_manifest(path.parent)
    assert (manifest.preprocessing, manifest.class_names) == (IMAGENET, ())


def test_image_files_are_decoded_as_for_training(tmp_path: Path) -> None:
    """Lying on its side, 16 bits of grey, CMYK: the same logits as of the pixels that are meant."""
    pil = pytest.importorskip("PIL.Image")
    (pixels,) = images(1)
    exif = pil.Exif()
    exif[0x0112] = 6
    pil.fromarray(np.rot90(pixels)).save(tmp_path / "lying.png", exif=exif)
    grey = pixels[:, :, 0].astype(np.uint16) * 257
    pil.fromarray(grey).save(tmp_path / "grey.png")
    pil.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.tif")
    meant = (pixels, np.repeat(pixels[:, :, :1], 3, axis=2), pixels)
    files = [tmp_path / name for name in ("lying.png", "grey.png", "cmyk.tif")]
    with load_engine(emitted(tmp_path / "engine")) as engine:
        expected = np.concatenate([engine(image) for image in meant])
        np.testing.assert_allclose(engine(files), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(engine(str(files[1])), expected[1:2], rtol=1e-4, atol=1e-5)
        pil.fromarray(grey.astype(np.float32)).save(tmp_path / "floats.tif")
        with pytest.raises(FileFormatError, match="its pixels are floats, whose range is not known"):
            engine(tmp_path / "floats.tif")
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(FileFormatError, match="it is a pipe"):
            engine(tmp_path / "pipe.png")


@pytest.mark.parametrize(
    "wrong",
    [
        np.full((1, 40, 40, 3), 255.0),
        np.zeros((2, 3, 31, 31)),
        np.zeros((3, 32)),
        np.zeros((1, 3, 32, 32), np.uint8),
        np.zeros((1, 9, 9, 3), int),
    ],
)
def test_what_is_no_images_is_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    with load_engine(emitted(tmp_path / "engine")) as engine, pytest.raises(PonasError, match="give images"):
        engine(wrong)


def test_an_engine_that_changed_is_not_opened(tmp_path: Path) -> None:
    folder = emitted(tmp_path / "engine")
    (folder / "engine.optimized.onnx").write_bytes(b"another")
    with pytest.raises(FileFormatError, match="is not the file that was emitted"):
        load_engine(folder)


def test_images_go_through_what_training_did() -> None:
    """The shorter side to 37 px, the centre of 32: as torchvision does it, to a grey level."""
    v2 = pytest.importorskip("torchvision.transforms.v2")
    pil = pytest.importorskip("PIL.Image")
    for height, width in ((50, 41), (33, 90), (20, 24), (37, 37)):
        (image,) = images(1, height, width)
        resized = v2.CenterCrop(32)(v2.Resize(37)(pil.fromarray(image)))
        expected = (np.asarray(resized) / 255.0 - IMAGENET.mean) / IMAGENET.std
        found = IMAGENET.input_of(image, 32).transpose(1, 2, 0)
        assert np.abs(found - expected).max() * 0.229 * 255 < 2.1


def test_the_header_of_weights_says_it() -> None:
    header = {"mean": "0.5,0.5,0.5", "std": "0.25,0.25,0.25", "resolution": "32"}
    assert preprocessing_of(WeightsFile(Path("w"), {}, header)) == Preprocessing((0.5,) * 3, (0.25,) * 3, 32)
    cut = {**header, "resize_px": "37"}
    assert preprocessing_of(WeightsFile(Path("w"), {}, cut)) == Preprocessing((0.5,) * 3, (0.25,) * 3, 37)
    for wrong in (
        {},
        {**header, "channel_order": "GBR"},
        {**header, "std": "0,1,1"},
        {**header, "mean": "nan,0,0"},
        {**header, "mean": "1"},
    ):
        assert preprocessing_of(WeightsFile(Path("w"), {}, wrong)) is None
