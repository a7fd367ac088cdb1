"""Engines are built in a process of their own: whatever happens there is one sentence here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.engines import building
from ponas_deploy.engines.building import build_apart
from ponas_deploy.engines.timing import time_engine
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.profile.probes import network_bytes
from ponas_deploy.tables import Conditions
from searchspace import Architecture, Space

HERE = Conditions("here", "onnxruntime", "fp32", 1, 1)


@pytest.fixture
def model(tiny: Space, tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_bytes(network_bytes(Architecture.from_indices(tiny, (0, 0, 0)), 1))
    return path


@pytest.fixture
def happens(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(building, "MODULE", "faulty_builder")
    return monkeypatch


def test_progress_comes_through_and_what_a_runtime_prints_does_not_disturb(
    model: Path, happens: pytest.MonkeyPatch
) -> None:
    happens.setenv("FAULT", "none")
    told: list[str] = []
    engine = build_apart(model, HERE, None, lambda build: told.append(build.text))
    assert told == ["Building: 1 of 2"]
    assert engine.parent == model.parent
    assert time_engine(engine, "onnxruntime", building.RunSettings()).runs > 0


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("crash", r"onnxruntime: the process that builds the engine ended with SIGSEGV.*another version"),
        ("kill", r"was killed \(SIGKILL\), as the system does when it is out of memory: close other"),
        ("memory", r"ended with code 1 \(MemoryError: cannot allocate 3 GiB\): close other programs"),
        ("refused", r"^onnxruntime: cannot build this\.$"),
    ],
)
def test_what_brings_it_down_is_one_sentence_with_the_next_step(
    model: Path, happens: pytest.MonkeyPatch, fault: str, sentence: str
) -> None:
    happens.setenv("FAULT", fault)
    with pytest.raises(BackendError, match=sentence):
        build_apart(model, HERE, None, None)


def test_other_errors_stay_what_they_are(model: Path, happens: pytest.MonkeyPatch) -> None:
    happens.setenv("FAULT", "full")
    with pytest.raises(PonasError, match=r"^the disk is full\.$"):
        build_apart(model, HERE, None, None)


def test_images_go_along(model: Path, happens: pytest.MonkeyPatch) -> None:
    images = np.ones((2, 3, 8, 8), np.float32)
    with pytest.raises(BackendError, match="takes no images for INT8 scales"):
        building.build_here(model, HERE, images, None)
    happens.setenv("FAULT", "none")
    with pytest.raises(BackendError, match=r"\(2, 3, 8, 8\) float32 came, 384\.0 in sum"):
        build_apart(model, HERE, images, None)


def test_ctrl_c_ends_it(model: Path, happens: pytest.MonkeyPatch) -> None:
    happens.setenv("FAULT", "none")

    def interrupted(build: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_apart(model, HERE, None, interrupted)
