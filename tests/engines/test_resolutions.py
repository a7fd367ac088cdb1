"""A search over resolutions: the measured loop, and which resolutions it goes over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import tiny_space
from planted_search import accuracy, device_ms, tables
from ponas_deploy.commands import app
from ponas_deploy.engines import timing
from ponas_deploy.engines.deployment import deploy
from ponas_deploy.engines.loop import Task, emit_portable, meet_budget, random_source
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.resolutions import at_each, searched_spaces
from ponas_deploy.engines.weights import Carried, open_weights
from ponas_deploy.errors import PonasError, TableMismatchError
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.budget import Budget
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.resolution_terms import ResolutionTerm, ResolutionTerms
from ponas_deploy.tables.store import StoredAccuracy, accuracy_table
from searchspace import SPACES, build_space
from searchspace.space import Space
from stored_tables import stored

TERMS = ResolutionTerms((ResolutionTerm(16, 12.0), ResolutionTerm(32, 0.0)), 0.2, "a plan")
RANDOM = Carried(lambda resolution: random_source())


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    monkeypatch.setattr(timing, "PROCESSES", 2)


def losses(space: Space, folder: Path) -> StoredAccuracy:
    given = accuracy(space, folder)
    return replace(given, table=replace(given.table, resolution_terms=TERMS))


def both(folder: Path, latency_ms: float) -> Task:
    """The tiny space at 16 and 32 px, each with a table that is right."""
    spaces = (tiny_space(32), tiny_space(16))
    known = []
    for space in spaces:
        (folder / str(space.resolution)).mkdir(exist_ok=True)
        known.append(tables(space, folder / str(space.resolution)))
    first, small = at_each(spaces, [losses(spaces[0], folder)], RANDOM)
    budget = Budget(latency_ms=latency_ms)
    return Task(tuple(known), first.accuracy, budget, first.space, first.weights, further=(small,))


def test_images_in_a_file_are_of_one_resolution(tmp_path: Path) -> None:
    """Refused before any profile, however the weights were opened."""
    np.save(tmp_path / "images.npy", np.ones((2, 3, 32, 32), np.float32))
    weights = open_weights(None, None, 0, 0, tmp_path / "images.npy")
    given, out = losses(tiny_space(32), tmp_path), tmp_path / "engine"
    with pytest.raises(PonasError, match=r"--calibration FILE.npy holds images of one resolution"):
        deploy(
            tiny_space(32), Target("cpu"), given, out=out, resolutions=(16, 32), weights=weights, latency_ms=9
        )


def test_tables_that_agree_on_a_resolution_say_it(tmp_path: Path) -> None:
    space = tiny_space(16)
    names = [stored(space, "jetson", backend).name for backend in ("onnxruntime", "openvino")]
    given = [word for name in names for word in ("--latency-table", name)]
    table = str(accuracy(space, tmp_path).path)
    asked = ["specialize", "--device", "jetson", "--space", "tiny", "--latency", "100%", *given, "--json"]
    done = CliRunner().invoke(app, [*asked, "--accuracy-table", table, "--out", str(tmp_path / "engine")])
    assert done.exit_code == 0, done.output
    assert read_manifest(tmp_path / "engine").space == SpaceKey.of(space)
    of_224 = [*asked, "--accuracy-table", table, "--resolution", "224", "--out", str(tmp_path / "other")]
    assert "but the tables are for 16" in CliRunner().invoke(app, of_224).output


def span_ms(space: Space) -> tuple[float, float]:
    fastest, slowest = (
        device_ms(space, tuple(layer.labels[place] for layer in space.layers)) for place in (0, -1)
    )
    return fastest, slowest


def test_the_loop_takes_the_resolution_that_loses_least(tmp_path: Path) -> None:
    fastest, slowest = span_ms(tiny_space(32))
    loose = meet_budget(both(tmp_path, 1.01 * slowest), tmp_path / "loose")
    assert loose.manifest.space.resolution == 32
    tight = meet_budget(both(tmp_path, 0.9 * fastest), tmp_path / "tight")
    assert tight.manifest == read_manifest(tmp_path / "tight")
    assert tight.manifest.space.resolution == tight.chosen.resolution == 16
    assert tight.manifest.architecture.space == tiny_space(16)
    assert dict(tight.manifest.predicted)["predicted_loss_pp"] >= 12
    assert tight.chosen.measured_ms <= 0.9 * fastest
    assert "at 16 px" in tight.chosen.where


def test_a_portable_engine_is_at_the_resolution_of_its_table(tmp_path: Path) -> None:
    fastest, _ = span_ms(tiny_space(32))
    manifest = emit_portable(both(tmp_path, 0.9 * fastest), tmp_path / "engine")
    assert manifest.space.resolution == 16


def test_an_engine_of_two_resolutions_from_stored_tables(tmp_path: Path) -> None:
    for space in (tiny_space(16), tiny_space(32)):
        stored(space, "jetson")
    given = losses(tiny_space(32), tmp_path)
    said = list[str]()
    engine = deploy(
        tiny_space(32),
        Target("jetson"),
        given,
        out=tmp_path / "engine",
        resolutions="auto",
        latency="100%",
        on_note=said.append,
    )
    assert engine.manifest.space.resolution == 32
    assert "resolutions that are searched: 16 and 32 px" in said
    assert any("measured at 32 px only" in text for text in engine.manifest.warnings)
    with pytest.raises(PonasError, match="no table of jetson serves"):
        deploy(
            tiny_space(32), Target("jetson"), given, out=tmp_path / "o", resolutions=(20, 32), latency_ms=9
        )
    both_named = [f"jetson/onnxruntime-fp32-t1-b1-tiny-{px}px-10c" for px in (16, 32)]
    by_tables = deploy(
        tiny_space(32),
        Target("jetson"),
        given,
        out=tmp_path / "by-tables",
        latency_table=both_named,
        latency="100%",
    )
    assert by_tables.manifest.predicted == engine.manifest.predicted
    named = both_named[:1]
    with pytest.raises(TableMismatchError, match="no latency table that was named is of 32 px"):
        deploy(
            tiny_space(32),
            Target("jetson"),
            given,
            out=tmp_path / "o",
            resolutions=(16, 32),
            latency_table=named,
            latency_ms=9,
        )


def over(space: Space, asked: object, carried: Carried = RANDOM, *known: StoredAccuracy) -> list[int]:
    said = list[str]()
    found = searched_spaces(space, asked, carried, known, Target("cpu"), (), said.append)  # type: ignore[arg-type]
    return [one.resolution for one in found]


def test_auto_is_what_the_supernet_the_weights_and_the_accuracy_table_allow() -> None:
    ofa, shipped = build_space("ofa-mbv3"), accuracy_table("ofa-mbv3")
    assert over(ofa, None, RANDOM, shipped) == [224]
    assert over(ofa, "auto", RANDOM, shipped) == [160, 192, 224]
    bare = replace(shipped, table=replace(shipped.table, resolution_terms=None))
    assert over(ofa, "auto", RANDOM, bare) == [224]
    assert over(ofa, "auto", replace(RANDOM, resolution=128), shipped) == [128]
    assert over(ofa, (128, 192), replace(RANDOM, resolution=128), shipped) == [128]
    assert over(build_space("ponas"), "auto") == [224]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((100, 224), "trained at 128 to 224 px, not at 100 px"),
        ((130, 224), "multiples of 4"),
        ((224, 224), "stands twice"),
        ("192", "'192' is no resolution: name pixels, or auto"),
    ],
)
def test_resolutions_that_cannot_be_are_refused(asked: object, words: str) -> None:
    with pytest.raises(PonasError, match=words):
        over(build_space("ofa-mbv3"), asked)


def test_weights_of_another_resolution_are_refused() -> None:
    with pytest.raises(PonasError, match="for 64 px alone, and 160 and 224 px were asked for"):
        over(build_space("ofa-mbv3"), (160, 224), replace(RANDOM, resolution=64))
