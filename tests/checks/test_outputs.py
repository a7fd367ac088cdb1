"""What outputs of an engine are compared on: noise, and images that the scales of INT8 come from."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import tiny_space
from photos import fill
from ponas_deploy.checks.engine import verify
from ponas_deploy.checks.outputs import NOISE, Compared, Inputs, compared, noise, scale_images
from ponas_deploy.commands import app
from ponas_deploy.engines import loop
from ponas_deploy.engines.calibration import IMAGES_FROM
from ponas_deploy.engines.manifest import Manifest
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.preprocessing import Preprocessing
from ponas_deploy.engines.weights import open_weights
from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.tables.latency import Conditions
from searchspace import SPACES, Architecture

PX, IMAGES = 32, np.random.default_rng(1).standard_normal((20, 3, 32, 32)).astype(np.float32)


def conditions(precision: str, batch: int = 1) -> Conditions:
    return Conditions(this_machine().name, "onnxruntime", precision, 1, batch)


def manifest(precision: str, batch: int = 1, images: Path | None = None) -> Manifest:
    found = Manifest.of(
        Architecture.from_indices(tiny_space(), (3, 0, 1)), conditions(precision, batch), "", ""
    )
    return replace(found, environment=((IMAGES_FROM, str(images)),) if images else ())


def test_an_int8_engine_is_compared_on_noise_and_on_images_of_its_scales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    images, engine = tmp_path / "images.npy", tmp_path / "engine"
    np.save(images, IMAGES)
    source = open_weights(None, None, 0, 0, images).source(PX)
    architecture = Architecture.from_indices(tiny_space(), (3, 0, 1))
    loop.build_and_measure(architecture, source, conditions("int8"), engine)
    assert dict(read_manifest(engine).environment)[IMAGES_FROM] == str(images)
    result = CliRunner().invoke(app, ["verify", str(engine), "--json"])
    document = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    of_noise, of_images = document["compared"]
    assert (of_noise["what"], of_noise["inputs"]) == (NOISE, 8)
    assert (of_images["what"], of_images["inputs"]) == ("8 of the images of its INT8 scales", 8)
    assert 0 < of_images["difference"] != of_noise["difference"] > 0
    assert document["difference"] == max(of_images["difference"], of_noise["difference"])
    images.unlink()
    found = verify(engine)
    assert [one.what for one in found.compared] == [NOISE]
    assert found.passed
    said = f"compared on noise alone, without images of the INT8 scales: {images} is not here."
    assert any(said in warning for warning in found.warnings)
    shown = " ".join(CliRunner().invoke(app, ["verify", str(engine)]).output.split())
    assert "of the largest output, on" in shown


def test_other_precisions_are_compared_on_one_batch_of_noise(tmp_path: Path) -> None:
    for batch in (1, 3):
        given = noise(manifest("fp16", batch))
        assert [one.shape for one in given.batches] == [(batch, 3, PX, PX)]
        assert [len(one) for one in noise(manifest("int8", batch)).batches] == [batch] * (
            8 if batch == 1 else 3
        )
    np.save(tmp_path / "images.npy", IMAGES)
    assert scale_images(manifest("fp16", images=tmp_path / "images.npy")) is None
    assert scale_images(manifest("int8")) is None


def test_images_come_evenly_from_a_file_in_whole_batches(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    given = scale_images(manifest("int8", 3, tmp_path / "images.npy"))
    assert given is not None
    assert [one.shape for one in given.batches] == [(3, 3, PX, PX)] * 3
    assert np.array_equal(given.batches[0][0], IMAGES[0])
    assert np.array_equal(given.batches[2][1], IMAGES[-1])
    for other in (IMAGES[:, :, :5], IMAGES.astype(np.float64), IMAGES[:0], IMAGES[0]):
        np.save(tmp_path / "images.npy", other)
        with pytest.raises(FileFormatError, match="not images"):
            scale_images(manifest("int8", 3, tmp_path / "images.npy"))


def test_images_of_a_folder_are_prepared_as_the_manifest_says(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    folder = fill(tmp_path / "photos", 2)
    plain = manifest("int8", 1, folder)
    with pytest.raises(PonasError, match="do not say how images of a folder"):
        scale_images(plain)
    found = scale_images(replace(plain, preprocessing=Preprocessing((0.5,) * 3, (0.2,) * 3, PX)))
    assert found is not None
    assert {one.shape for one in found.batches} == {(1, 3, PX, PX)}


def test_int8_is_judged_by_the_median_and_others_by_the_worst() -> None:
    expected = np.ones((3, 4), np.float32)
    found = expected.copy()
    found[0, 0], found[1, 0] = 1.5, 1.25
    given = Inputs("x", (np.zeros((3, 1), np.float32),))
    assert compared(given, (found,), (expected,), "fp16") == Compared("x", 3, 0.5)
    assert compared(given, (found,), (expected,), "int8") == Compared("x", 3, 0.25)
    found[2, 0] = np.nan
    for precision in ("fp16", "int8"):
        assert compared(given, (found,), (expected,), precision).difference == inf
        assert compared(given, (found[:, :2],), (expected,), precision).difference == inf
