"""Images on their way to a board: the same bits arrive, and photographs as a byte a value."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.boards.book import Entry
from ponas_deploy.boards.link import Link
from ponas_deploy.profiling.places import reached
from ponas_deploy.profiling.target import Target
from ponas_deploy.remote.images import Packing, grouped, unpacked
from ponas_deploy.remote.place import place_on

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def photographs(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    """Normalised as weights want it."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, side, side)).astype(np.float32)
    normalised = (pixels / 255 - MEAN[:, None, None]) / STD[:, None, None]
    return np.asarray(normalised, np.float32)


def arrived(content: bytes, folder: Path) -> np.ndarray:
    (folder / "images").write_bytes(content)
    return unpacked(folder / "images")


@given(
    arrays(np.int32, st.tuples(*[st.integers(1, 4)] * 4), elements=st.integers(-(2**31), 2**31 - 1)),
    st.integers(1, 2),
)
def test_the_same_bits_arrive(tmp_path_factory: pytest.TempPathFactory, bits: np.ndarray, times: int) -> None:
    """NaN of any kind, both zeros, and whatever else is no photograph."""
    packing, folder = Packing(), tmp_path_factory.mktemp("images")
    for _ in range(times):
        found = arrived(packing.packed(bits.view(np.float32)), folder)
        assert found.dtype == np.float32
        assert found.shape == bits.shape
        assert (found.view(np.int32) == bits).all()


def test_photographs_travel_as_a_byte_a_value_and_other_images_as_floats(tmp_path: Path) -> None:
    packing = Packing()
    for number in range(3):  # values that were not there before are added
        images = photographs(1 + number, side=8 if number == 0 else 32, seed=number)
        content = packing.packed(images)
        assert len(content) < images.size + 5000
        assert (arrived(content, tmp_path) == images).all()
    noise = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    content = packing.packed(noise)
    assert len(content) >= noise.nbytes
    assert (arrived(content, tmp_path) == noise).all()
    assert len(packing.packed(photographs(1))) < 3 * 32 * 32 + 5000, "what it knew of photographs is lost"


def test_nothing_pickled_is_read(tmp_path: Path) -> None:
    for save in (np.save, lambda path, array: np.savez(path, values=array, places=array)):
        with (tmp_path / "file").open("wb") as file:
            save(file, np.array([{}], dtype=object))
        with pytest.raises(ValueError, match="allow_pickle=False"):
            unpacked(tmp_path / "file")


def test_groups_hold_as_much_as_travels_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponas_deploy.remote.images.MOST_BYTES", 10)
    assert list(grouped([4, 4, 4, 20, 1], lambda size: size)) == [[4, 4], [4], [20], [1]]
    assert list(grouped([], lambda size: size)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="boards run Linux")
def test_outputs_are_those_of_the_same_engine_here(board: Entry, model: bytes, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    settings, images = RunSettings(), photographs(6)  # three batches of two
    with reached(Target(board.name, "onnxruntime"), "test") as place:
        backend = place.backend("onnxruntime")
        engine = backend.save(model, settings, tmp_path)[0]
        with backend.open(engine, settings) as session:
            there = session.run_many(images, 2)  # type: ignore[attr-defined]
            alone = session.run(images[:2])
    with get_backend("onnxruntime").open(engine, settings) as session:
        here = np.concatenate([session.run(images[place : place + 2]) for place in (0, 2, 4)])
    assert (there == here).all()
    assert (alone == here[:2]).all()


@pytest.mark.skipif(sys.platform != "linux", reason="boards run Linux")
def test_a_group_of_images_is_one_round_trip(
    board: Entry, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, trips, sent_bytes, message = list[float](), list[int](), list[int](), Link._message

    def counted(link: Link, timeout_s: float) -> Any:
        answers.append(timeout_s)
        return message(link, timeout_s)

    monkeypatch.setattr(Link, "_message", counted)
    with place_on(board, "test") as place, place.backend("fake").load(model, RunSettings()) as session:
        for seed in (0, 1, 2, 2, 2, 3):  # the same again: a board has them still
            answers.clear()
            before = place.job.sent_bytes
            session.run_many(photographs(4, seed=seed), 2)  # type: ignore[attr-defined]
            trips.append(len(answers))
            sent_bytes.append(place.job.sent_bytes - before)
    assert trips == [1, 1, 1, 1, 1, 2]
    assert sent_bytes[4] < 1000 < sent_bytes[5]
