"""Where INT8 scales come from: a file, training images, random images only for random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from photos import fill
from ponas_deploy.commands import app
from ponas_deploy.engines.preprocessing import Preprocessing
from ponas_deploy.engines.weights import open_weights
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.files.images import read_image
from ponas_deploy.files.weights import write_weights
from searchspace import build_space, parse_architecture
from searchspace.weights import random_weights


def network(folder: Path, **metadata: str) -> Path:
    """A network's own weights, as if trained."""
    architecture = parse_architecture("PONAS-A", build_space("ponas", 32, 10))
    path = folder / "network.safetensors"
    header = {"layout": "network", "space": "ponas", "resolution": "32", "classes": "10", **metadata}
    write_weights(path, random_weights(architecture), header)
    return path


def test_a_file_of_images_is_taken_and_looked_at_first(tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    for weights in (None, network(tmp_path)):
        source = open_weights(weights, None, 0, 0, tmp_path / "images.npy").source(224)
        assert np.array_equal(source.scale_images("int8"), images)  # type: ignore[arg-type]
        assert source.scale_images("fp16") is None
    np.save(tmp_path / "bytes.npy", images.astype(np.uint8))
    with pytest.raises(BackendError, match="uint8 of shape"):
        open_weights(None, None, 0, 0, tmp_path / "bytes.npy")


def test_images_of_a_folder_are_prepared_as_the_weights_want_them(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    photos, empty = fill(tmp_path / "photos", 2), tmp_path / "empty"
    empty.mkdir()
    said = {"mean": "0.5,0.4,0.3", "std": "0.2,0.2,0.2", "resize_px": "37"}
    source = open_weights(network(tmp_path, **said), None, 0, 0, photos).source(32)
    images = source.scale_images("int8")
    files = sorted(photos.rglob("*.jpg"))
    assert images is not None
    assert (images.shape, images.dtype) == ((len(files), 3, 32, 32), np.float32)
    how = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 37)
    assert np.array_equal(images[-1], how.input_of(read_image(files[-1]), 32))
    with pytest.raises(PonasError, match="holds no images for --calibration: put some there"):
        open_weights(network(tmp_path, **said), None, 0, 0, empty).source(32)
    with pytest.raises(
        PonasError, match=r"do not say how images of a folder .*: give --calibration FILE.npy"
    ):
        open_weights(None, None, 0, 0, photos).source(32)


@pytest.mark.parametrize(("data", "epochs", "words"), [("digits", 0, "--data"), (None, 1, "--finetune")])
def test_what_only_trained_weights_have_a_use_for_is_refused(
    data: str | None, epochs: int, words: str
) -> None:
    with pytest.raises(PonasError, match=f"{words} needs --weights"):
        open_weights(None, data, epochs, 0)


def test_trained_weights_without_images_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    asked = ["specialize", "--device", "cpu", "--latency", "5ms", "--precision", "int8"]
    told = CliRunner().invoke(app, [*asked, "--weights", str(network(tmp_path))])
    assert told.exit_code == 1
    assert "int8 scales of trained weights come from images" in " ".join(told.output.split())


def test_training_images_set_the_scales_where_they_are_at_hand(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from train.data import load

    source = open_weights(network(tmp_path, data="digits"), None, 0, 0).source(32)
    images = source.scale_images("int8")
    assert images is not None
    assert (images.shape, images.dtype) == ((512, 3, 32, 32), np.float32)
    train = next(load("digits", resolution=32, seed=0).train.batches(10_000))[0].numpy()
    known = {image.tobytes() for image in train.astype(np.float32)}
    assert all(image.tobytes() in known for image in images)
    assert source.scale_images("int8") is images
