"""What picture files become, and which folders are parts, by right values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torchvision", reason="needs the train extra (torchvision)")
from PIL import Image

from photos import fill
from ponas_deploy.errors import PonasError
from train.data.decoding import decoded
from train.data.layout import found_text, read_parts


def test_sixteen_bits_of_grey_are_scaled_to_eight(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (8, 1))).save(tmp_path / "ramp.png")
    values = np.asarray(decoded(tmp_path / "ramp.png"))
    assert values.shape == (8, 256, 3)
    assert values.mean() == pytest.approx(127.5, abs=0.5)
    assert np.array_equal(values[0, :, 0], np.arange(256))


def test_floats_are_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match="its pixels are floats"):
        decoded(tmp_path / "f.tiff")


def test_pictures_stand_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "lying.jpg", exif=exif)
    assert decoded(tmp_path / "lying.jpg").size == (20, 40)


def test_parts_are_known_under_their_usual_names_in_any_case(tmp_path: Path) -> None:
    fill(tmp_path / "Training", 4)
    fill(tmp_path / "Testing", 2)
    parts = read_parts(tmp_path)
    assert {name: len(part.files) for name, part in parts.items()} == {"train": 12, "test": 6}
    first = parts["train"].classes[0]
    (tmp_path / "Training" / first / "notes.xyz").touch()
    (tmp_path / "spare").mkdir()
    names = ", ".join(parts["train"].classes)
    expected = f"3 classes ({names}); 12 train images, 6 test images; left out: 1 files (.xyz), folder spare"
    assert found_text(parts) == expected


def test_folders_that_all_hold_the_same_are_no_classes(tmp_path: Path) -> None:
    fill(tmp_path / "one", 2)
    fill(tmp_path / "two", 2)
    with pytest.raises(PonasError, match="all hold the same folders"):
        read_parts(tmp_path)
