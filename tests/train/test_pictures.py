"""What picture files become, and which folders are parts, by right values."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torchvision", reason="needs the train extra (torchvision)")
from numpy.typing import NDArray
from PIL import Image

from photos import fill
from ponas_deploy.errors import MissingExtraError, PonasError
from ponas_deploy.files.images import decoded, extensions, read_image
from train.data import load
from train.data.layout import found_text, read_parts


def test_sixteen_bits_of_grey_are_scaled_to_eight(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (8, 1))).save(tmp_path / "ramp.png")
    values = np.asarray(decoded(tmp_path / "ramp.png"))
    assert values.shape == (8, 256, 3)
    assert values.mean() == pytest.approx(127.5, abs=0.5)
    assert np.array_equal(values[0, :, 0], np.arange(256))


def sixteen_bit_png(path: Path, rgb: NDArray[np.uint16]) -> None:
    """An RGB PNG of 16 bits a channel, which Pillow cannot write (PNG specification, sections 5 and 11)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = rgb.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_sixteen_bits_a_colour_are_scaled_to_eight(tmp_path: Path) -> None:
    """By Pillow, which keeps the upper eight: within one of the rounded value."""
    ramp = np.linspace(0, 65535, 3 * 256).astype(np.uint16).reshape(1, 256, 3)
    sixteen_bit_png(tmp_path / "ramp.png", ramp)
    values = np.asarray(decoded(tmp_path / "ramp.png")).astype(float)
    assert values.shape == (1, 256, 3)
    assert np.abs(values - ramp / 257).max() <= 1


@pytest.mark.parametrize("most", [65535, 4095])
def test_a_grey_map_of_more_than_eight_bits_is_scaled(tmp_path: Path, most: int) -> None:
    ramp = np.linspace(0, most, 256).round().astype(">u2")
    (tmp_path / "ramp.pgm").write_bytes(f"P5 256 1 {most}\n".encode() + ramp.tobytes())
    values = np.asarray(decoded(tmp_path / "ramp.pgm"))[0, :, 0].astype(float)
    assert np.abs(values - np.arange(256)).max() <= 1


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "1.png").touch()
    with pytest.raises(MissingExtraError, match=r"pip install 'ponas-deploy\[images\]'"):
        read_image(tmp_path / "1.png")


@pytest.mark.parametrize("ending", ["jfif", "gif", "avif"])
def test_other_kinds_of_images_are_read_or_said_to_be_left_out(tmp_path: Path, ending: str) -> None:
    fill(tmp_path, 2)
    original = tmp_path / "cat" / "000.jpg"
    other = original.with_suffix(f".{ending}")
    with Image.open(original) as image:
        try:
            image.save(other, "JPEG" if ending == "jfif" else ending.upper())
        except (KeyError, OSError):  # this Pillow knows no AVIF
            other.write_bytes(b"cannot be written here")
    parts = read_parts(tmp_path)
    if other.suffix in extensions():
        assert len(parts["all"].files) == 7
        difference = np.asarray(decoded(other)).astype(float) - np.asarray(decoded(original))
        assert np.abs(difference).mean() < 16
    else:
        assert found_text(parts).endswith(f"6 images; left out: 1 file (.{ending})")


def test_what_cannot_be_told_apart_from_a_broken_line_is_escaped(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / "cat").rename(tmp_path / "c\nat\x1b[31m")
    (tmp_path / "dog" / "1.\x1b[2J").touch()
    (tmp_path / "1.jpg").write_bytes(b"")
    text = found_text(read_parts(tmp_path))
    assert text.isprintable()
    assert "(c\\nat\\x1b[31m, dog, eel); 3 images; left out: 1 file (.\\x1b[2j)" in text
    assert "1 file (images outside the class folders)" in text


def test_what_is_known_of_a_folder_is_the_same_in_every_locale(tmp_path: Path) -> None:
    """Broken images under names beyond ASCII are kept, and are found again under another encoding."""
    fill(tmp_path / "images", 12, ("cat", "dog"))
    (tmp_path / "images" / "cat").rename(tmp_path / "images" / "grün")
    (tmp_path / "images" / "grün" / "002.jpg").write_bytes(b"broken")
    here = load(str(tmp_path / "images"), resolution=16, workers=1, cache_dir=tmp_path / "cache")
    count = sum(len(part.labels) for part in (here.train, here.validation, here.test))
    script = (
        "import sys; from pathlib import Path; from train.data import load\n"
        "found = load(sys.argv[1], resolution=16, workers=1, cache_dir=Path(sys.argv[2]))\n"
        "parts = [part.batches(4) for part in (found.train, found.validation, found.test)]\n"
        "count = sum(len(labels) for part in parts for _, labels in part)\n"
        "print(sys.getfilesystemencoding(), count, *map(ascii, found.class_names))"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", script, tmp_path / "images", tmp_path / "cache"]
    done = subprocess.run(command, env={**os.environ, **locale}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    encoding, *others = done.stdout.split()
    assert encoding != sys.getfilesystemencoding()
    assert others == [str(count), *map(ascii, here.class_names)] == ["23", "'dog'", r"'gr\xfcn'"]


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
    expected = f"3 classes ({names}); 12 train images, 6 test images; left out: 1 file (.xyz), folder spare"
    assert found_text(parts) == expected


def test_folders_that_all_hold_the_same_are_no_classes(tmp_path: Path) -> None:
    fill(tmp_path / "one", 2)
    fill(tmp_path / "two", 2)
    with pytest.raises(PonasError, match="all hold the same folders"):
        read_parts(tmp_path)
