"""Images through an emitted engine: which arrays it takes, and what it does with them before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import tiny_space
from ponas_deploy.engines.emit import build, emit
from ponas_deploy.engines.loaded import load_engine
from ponas_deploy.engines.manifest import MODEL, Manifest
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.preprocessing import Preprocessing, preprocessing_of
from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.records import write_bytes
from ponas_deploy.files.weights import WeightsFile
from ponas_deploy.tables.latency import Conditions
from searchspace import SPACES, Architecture
from searchspace.graph import network_model
from searchspace.weights import random_weights

IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 37)
NETWORK = Architecture.from_indices(tiny_space(), (3, 0, 1))


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


def emitted(
    folder: Path, how: Preprocessing | None = IMAGENET, *, built: bool = True, batch: int = 1
) -> Path:
    conditions = Conditions("here", "onnxruntime", "fp32", 1, batch)
    weights = random_weights(NETWORK)
    manifest = replace(Manifest.of(NETWORK, conditions, "as they are", "2026-01-01"), preprocessing=how)

    def fill(to: Path) -> None:
        if built:
            build(NETWORK, weights, conditions, to)
        else:
            write_bytes(to / MODEL, network_model(NETWORK, weights, batch).SerializeToString())

    name = "engine.optimized.onnx" if built else ""
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


def test_what_images_go_through_is_in_the_manifest(tmp_path: Path) -> None:
    assert read_manifest(emitted(tmp_path / "engine")).preprocessing == IMAGENET
    bare = emitted(tmp_path / "bare", None)
    assert read_manifest(bare).preprocessing is None
    with load_engine(bare) as engine:
        assert engine(np.zeros((2, 3, 32, 32))).shape == (2, 10)
        with pytest.raises(PonasError, match=r"do not say how .*: give \(N, 3, 32, 32\) float32"):
            engine(images(2))


@pytest.mark.parametrize(
    "wrong",
    [
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
    for wrong in ({}, {**header, "std": "0,1,1"}, {**header, "mean": "nan,0,0"}, {**header, "mean": "1"}):
        assert preprocessing_of(WeightsFile(Path("w"), {}, wrong)) is None
