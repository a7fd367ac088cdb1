"""A space whose layers may be absent is trained like any other; an absent layer has nothing to train."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import FINE_TUNE, LABELS, META, changed, known, one_thread
from tiny_training import space as tiny

from ponas_deploy.errors import SpaceError
from ponas_deploy.files.weights import read_weights
from searchspace import SPACES, Architecture, Candidate, Space
from searchspace.ops import Conv
from searchspace.weights import inherit
from train.runs import train_run

ONE_A_PASS = replace(FINE_TUNE, epochs=1, pass_images=1)


def absent(resolution: int = 16, classes: int = 3) -> Space:
    space = tiny(resolution, classes)
    first, *others = space.layers
    others = [replace(one, candidates=(*one.candidates, Candidate("skip", ()))) for one in others]
    return replace(space, name="absent", layers=(first, *others))


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    monkeypatch.setitem(SPACES, "absent", absent)
    with one_thread():
        yield


@pytest.mark.parametrize("scope", ["candidates", "path"])
def test_an_absent_layer_is_evaluated_beside_the_others(scope: str, tmp_path: Path) -> None:
    settings = changed(
        space="absent",
        meta=replace(META, epochs=1),
        fine_tune=replace(ONE_A_PASS, scope=scope),  # type: ignore[arg-type]
    )
    result = train_run(settings, tmp_path / "run")
    assert result.table.top1 is not None
    assert result.table.top1.candidates[1] == (*LABELS, "skip")
    weights = read_weights(result.weights).tensors
    assert not any(".skip." in name for name in weights)
    network = Architecture(absent(), (LABELS[0], "skip", "skip"))
    assert all(np.isfinite(tensor).all() for tensor in inherit(weights, network).values())


def test_a_space_that_cannot_be_cut_from_its_largest_blocks_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def foreign(resolution: int, classes: int) -> Space:
        *others, last = tiny(resolution, classes).layers
        own = Candidate("own", (Conv("mine", 8, 8),))
        layers = (*others, replace(last, candidates=(*last.candidates, own)))
        return replace(tiny(resolution, classes), layers=layers)

    monkeypatch.setitem(SPACES, "absent", foreign)
    with pytest.raises(SpaceError, match=r"has no part 'mine\.conv\.weight'"):
        train_run(changed(space="absent", recipe="progressive"), tmp_path / "run")
