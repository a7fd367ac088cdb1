"""Settings as they are typed: every name, every kind of value, and back."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ponas_deploy.commands import app
from ponas_deploy.errors import PonasError, UnknownNameError
from train.files.claim import dotted
from train.settings import (
    PRESETS,
    FineTuneSettings,
    MetaSettings,
    TrainSettings,
    assigned,
    known,
    pairs_of,
    preset,
)


def test_every_setting_has_a_name() -> None:
    assert known()[:3] == ["data", "space", "resolution"]
    assert {"meta.epochs", "meta.decay_at", "fine_tune.scope", "precision"} < set(known())
    assert len(known()) == 61


def test_pairs_change_what_they_name_and_nothing_else() -> None:
    pairs = (
        "meta.epochs=30",
        "fine_tune.lr=0.02",
        "meta.decay_at=0.5,0.75",
        "meta.augment=no",
        "resolution=48",
    )
    quick = preset("quick")
    expected = replace(
        quick,
        resolution=48,
        meta=replace(quick.meta, epochs=30, decay_at=(0.5, 0.75), augment=False),
        fine_tune=replace(quick.fine_tune, lr=0.02),
    )
    assert assigned(quick, pairs) == expected


floats = st.floats(1e-6, 10, allow_nan=False)
settings = st.builds(
    TrainSettings,
    data=st.sampled_from(["digits", "fractal:classes=3,images=5", "/data/a folder=b"]),
    resolution=st.none() | st.integers(8, 300),
    seed=st.integers(0, 2**40),
    precision=st.sampled_from(["auto", "bf16"]),
    meta=st.builds(
        MetaSettings,
        epochs=st.integers(1, 1000),
        batch=st.integers(2, 4096),
        lr=floats,
        decay_at=st.lists(floats, max_size=3).map(tuple),
        augment=st.booleans(),
    ),
    fine_tune=st.builds(FineTuneSettings, lr=floats, scope=st.sampled_from(["candidates", "path"])),
)


@given(settings)
def test_what_is_written_is_read_back(wanted: TrainSettings) -> None:
    pairs = pairs_of(dict(dotted(asdict(wanted))))
    assert assigned(TrainSettings(), pairs) == wanted


def test_the_papers_recipe_needs_no_pairs() -> None:
    assert pairs_of(dict(dotted(asdict(PRESETS["paper"])))) == ()


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("meta.epochs", "'meta.epochs' sets nothing: write NAME=VALUE, such as meta.epochs=30"),
        ("meta.epochs=3.5", "meta.epochs is '3.5': write a whole number"),
        ("meta.lr=fast", "meta.lr is 'fast': write a number"),
        ("meta.lr=inf", "meta.lr is 'inf': write a number"),
        ("meta.decay_at=0.1,x", "meta.decay_at is 'x': write a number"),
        ("meta.augment=maybe", "meta.augment is 'maybe': write yes or no"),
        ("meta.batch=1", "a batch of 1 in meta training: batch norm needs at least 2 images"),
        ("meta.batch=1", "meta.batch: a batch of 1"),
        ("meta.momentum=-1", "meta.momentum is -1: it must be 0 or more"),
        ("workers=-2", "workers is -2: it must be 0 or more"),
        ("fine_tune.pass_images=0", "fine_tune.pass_images is 0: it must be 1 or more"),
        ("fine_tune.scope=world", "unknown scope of fine-tuning 'world': known are candidates, path"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_words(pair: str, message: str) -> None:
    with pytest.raises(PonasError) as error:
        assigned(TrainSettings(), [pair])
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["meta.epoch", "meta", "epochs", "meta.epochs.more"])
def test_an_unknown_name_lists_those_that_exist(name: str) -> None:
    with pytest.raises(
        UnknownNameError, match=f"unknown setting '{name}': known are data, device, fine_tune.b"
    ):
        assigned(TrainSettings(), [f"{name}=3"])


@pytest.mark.parametrize(
    ("space", "pair", "remedy"),
    [
        ("ponas", "single_path.epochs=1", "Set recipe=single-path as well, which single_path.epochs is"),
        ("ofa-mbv3", "single_path.epochs=1", ""),
        ("spos-shufflenet", "meta.epochs=1", ""),
    ],
)
def test_a_setting_of_another_recipe_names_that_one_where_it_trains_the_space(
    space: str, pair: str, remedy: str
) -> None:
    with pytest.raises(PonasError, match=f"changes nothing in space '{space}'") as error:
        assigned(TrainSettings(space=space), [pair])
    assert remedy in str(error.value)
    assert ("Set recipe=" in str(error.value)) == bool(remedy)
    if remedy:
        assert assigned(TrainSettings(space=space), [pair, "recipe=single-path"]).single_path.epochs == 1


def test_the_command_line_refuses_it_before_anything_else() -> None:
    pytest.importorskip("torch", reason="needs the train extra (torch)")
    done = CliRunner().invoke(app, ["train", "--data", "nowhere", "--set", "meta.speed=3"])
    assert done.exit_code == 1
    assert "unknown setting 'meta.speed'" in done.stderr
    assert "training in" not in done.stderr


def test_images_that_are_not_there_are_reported_before_training_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs the train extra (torch)")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", "--data", "./nowhere"])
    assert done.exit_code == 1
    assert "there is no folder ./nowhere" in done.stderr
    assert "training in" not in done.stderr
    assert list(tmp_path.iterdir()) == []
