"""A network that this machine shares with another device: built and timed here, portable there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import tiny_space
from planted_search import accuracy
from ponas_deploy.backends import RunSettings
from ponas_deploy.engines.fleet import Fleet, deploy_fleet
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.task import random_source
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.engines.wanted import Deployment
from ponas_deploy.errors import BudgetError, OverwriteError, PonasError, UnknownNameError
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables.grid import Grid
from searchspace.architecture import Architecture
from searchspace.space import Space
from searchspace.weights import Weights, random_weights
from stored_tables import stored

HERE = this_machine().name
TARGETS = (Target("cpu", "onnxruntime", "fp32"), Target("jetson"))


class Planted:
    """A clock by which the first network takes `first` ms, and every other `later` ms."""

    def __init__(self, first: float, later: float) -> None:
        self.first, self.later = first, later
        self.searches = list[Path]()

    def __call__(
        self, engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        search = engine.parent.parent
        if search not in self.searches:
            self.searches.append(search)
        taken = self.first if search == self.searches[0] else self.later
        return EngineTiming(((round(1e6 * taken),) * 4,) * 2)


@pytest.fixture
def space(tmp_path: Path, planted_clock: None) -> Space:
    """Tables by which blocks later in a layer lose less; here they are slower, on the other board faster."""
    space = tiny_space()
    rows = {HERE: (1.0, 2.0, 3.0, 4.0), "jetson": (2.0, 1.5, 1.0, 2.5)}
    for device, row in rows.items():
        layers = tuple(layer.name for layer in space.layers)
        stored(space, device, grid=Grid(layers, space.labels, (row,) * len(layers)))
    return space


def deploy(
    space: Space, folder: Path, robust: bool = True, budgets: dict[str, Any] | None = None, **more: Any
) -> Fleet:
    asked = Deployment(space, folder / "out", accuracy(space, folder), {"latency": "10ms"})
    return deploy_fleet(replace(asked, **more), TARGETS, robust=robust, budgets=budgets)


def clock(monkeypatch: pytest.MonkeyPatch, first: float, later: float) -> Planted:
    planted = Planted(first, later)
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", planted)
    return planted


def test_it_is_measured_here_and_portable_there(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 9.5, 9.5)
    fleet = deploy(space, tmp_path, budgets={"jetson": {"latency": "6ms"}})
    assert fleet.shared is not None
    here, there = fleet.engines
    assert here.architecture == there.architecture
    assert here.architecture.choices == fleet.shared.choice.choices
    assert (here.budget, there.budget) == ({"latency_ms": 10.0}, {"latency_ms": 6.0})
    assert here.measured is not None
    assert here.measured.p50_ms == 9.5
    assert there.measured is None
    for engine, device in zip(fleet.engines, (HERE, "jetson"), strict=True):
        assert engine.folder == tmp_path / "out" / device
        assert read_manifest(engine.folder) == engine.manifest
    # By hand: one layer has the last block (4 ms here, 2.5 there), two the third (3 and 1).
    assert [one.choice.predicted_ms for one in fleet.shared.devices] == pytest.approx([10.0, 4.5])
    with pytest.raises(OverwriteError):
        deploy(space, tmp_path)
    assert deploy(space, tmp_path, overwrite=True).engines[0].budget == {"latency_ms": 10.0}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted((HERE, "jetson"))


def test_what_is_over_budget_here_is_chosen_again(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    planted = clock(monkeypatch, 14.0, 9.0)
    fleet = deploy(space, tmp_path, on_note=said.append)
    assert len(planted.searches) == 2
    assert any("Another network is chosen" in text for text in said)
    assert fleet.shared is not None
    by_table = fleet.shared.devices[0].choice.predicted_ms
    assert by_table * 14.0 / 10.0 <= 10.0 * (1 + 1e-9), "the table was corrected by what was measured"
    assert {one.architecture.choices for one in fleet.engines} == {fleet.shared.choice.choices}
    assert fleet.engines[0].manifest.verdict == "met"


def test_nothing_is_emitted_where_nothing_meets_the_budget_here(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 500.0, 500.0)
    with pytest.raises(BudgetError):
        deploy(space, tmp_path)
    assert not (tmp_path / "out").exists()


def test_fine_tuning_is_done_once_for_all_devices(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = list[Architecture]()

    def finish(architecture: Architecture) -> Weights:
        tuned.append(architecture)
        return random_weights(architecture, 7)

    clock(monkeypatch, 9.0, 9.0)
    fleet = deploy(space, tmp_path, weights=replace(random_source(), finish=finish))
    assert tuned == [fleet.engines[0].architecture]
    models = [(one.folder / "model.onnx").read_bytes() for one in fleet.engines]
    assert models[0] == models[1]


def test_bad_fleets_are_refused_before_anything_is_measured(space: Space, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="toaster"):
        deploy(space, tmp_path, budgets={"toaster": {"latency": "6ms"}})
    with pytest.raises(PonasError, match="exact search"):
        deploy(space, tmp_path, shortlist=3)
    with pytest.raises(PonasError, match="no device was named"):
        deploy_fleet(Deployment(space, tmp_path / "out", budget={"latency": "9ms"}), ())
    (tmp_path / "file").write_text("x")
    with pytest.raises(PonasError, match="is a file"):
        deploy(space, tmp_path, out=tmp_path / "file")
