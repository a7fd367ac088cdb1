"""The loop from tables to a measured engine, on a device whose clock is arithmetic; and the engine folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import tiny_space
from planted_search import device_ms, middle_ms, tables, task
from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.checks.engine import verify
from ponas_deploy.engines import timing
from ponas_deploy.engines.loop import (
    Attempt,
    WeightsSource,
    emit_portable,
    meet_budget,
)
from ponas_deploy.engines.manifest import MANIFEST, MODEL, Manifest
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import BudgetError, FileFormatError, MeasurementError, OverwriteError, PonasError
from ponas_deploy.files.home import home
from ponas_deploy.files.weights import read_weights
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.protocol import Plan
from searchspace import SPACES, Architecture
from searchspace.cost import network_cost
from searchspace.graph import network_model
from searchspace.ops import count_params
from searchspace.space import Space
from searchspace.weights import random_weights


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    # The fake device's clock is arithmetic: a few inferences tell as much as a second of them.
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    monkeypatch.setattr(timing, "PROCESSES", 2)
    monkeypatch.setattr(timing, "PLAN", Plan(redone_pct=0))


def test_a_right_table_needs_one_try(tiny: Space, tmp_path: Path) -> None:
    budget = middle_ms(tiny)
    done = meet_budget(task(tiny, tmp_path, budget), tmp_path / "engine")
    assert len(done.attempts) == 1
    assert done.chosen.measured_ms <= budget
    assert done.manifest == read_manifest(tmp_path / "engine")


def test_a_table_that_is_too_fast_is_corrected_by_the_clock(tiny: Space, tmp_path: Path) -> None:
    budget, seen = middle_ms(tiny), list[Attempt]()
    optimistic = tables(tiny, tmp_path, optimism=1.3)
    done = meet_budget(task(tiny, tmp_path, budget, optimistic), tmp_path / "engine", on_attempt=seen.append)
    assert not done.attempts[0].meets
    assert done.chosen.meets
    assert done.chosen.measured_ms <= budget
    assert [attempt.timing is None for attempt in seen] == [True, False] * len(done.attempts)
    honest = meet_budget(task(tiny, tmp_path, budget), tmp_path / "other")
    assert done.chosen.choice.predicted_loss_pp == honest.chosen.choice.predicted_loss_pp


def test_a_table_that_is_too_slow_does_not_cost_accuracy(tiny: Space, tmp_path: Path) -> None:
    budget = middle_ms(tiny)
    pessimistic = tables(tiny, tmp_path, optimism=0.8)
    done = meet_budget(task(tiny, tmp_path, budget, pessimistic), tmp_path / "engine")
    honest = meet_budget(task(tiny, tmp_path, budget), tmp_path / "other")
    assert done.chosen.choice.predicted_loss_pp == honest.chosen.choice.predicted_loss_pp
    timed_out = meet_budget(task(tiny, tmp_path, budget, pessimistic), tmp_path / "third", timeout_s=0)
    assert len(timed_out.attempts) == 1
    assert timed_out.chosen.meets


def test_the_best_precision_within_the_budget_wins(tiny: Space, tmp_path: Path) -> None:
    both = (tables(tiny, tmp_path), tables(tiny, tmp_path, precision="bf16"))
    done = meet_budget(task(tiny, tmp_path, middle_ms(tiny), *both), tmp_path / "engine")
    assert done.manifest.conditions.precision == "bf16"


def test_an_impossible_budget_is_answered_before_anything_is_built(tiny: Space, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="fastest one takes"):
        meet_budget(task(tiny, tmp_path, 1e-6), tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_a_budget_only_the_clock_refuses_leaves_nothing_behind(tiny: Space, tmp_path: Path) -> None:
    fastest = device_ms(tiny, tuple(layer.labels[0] for layer in tiny.layers))
    wrong = tables(tiny, tmp_path, optimism=2.0)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(BudgetError, match="the fastest one measured") as caught:
        meet_budget(task(tiny, tmp_path, 0.7 * fastest, wrong), tmp_path / "engine")
    assert caught.value.least == pytest.approx(fastest, rel=1e-3)
    there = {path.name for path in tmp_path.iterdir()} - {home().name}
    assert there == {*before, "accuracy.json"}


def test_an_engine_is_not_overwritten_unless_asked(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1e3)
    meet_budget(given, tmp_path / "engine")
    with pytest.raises(OverwriteError, match="--force"):
        meet_budget(given, tmp_path / "engine")
    meet_budget(given, tmp_path / "engine", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(PonasError, match="not an engine folder"):
        meet_budget(given, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_the_chosen_network_is_finished_and_timed_once_more(tiny: Space, tmp_path: Path) -> None:
    finished = list[tuple[str, ...]]()

    def finish(architecture: Architecture) -> dict[str, np.ndarray]:
        finished.append(architecture.choices)
        return random_weights(architecture, seed=7)

    source = WeightsSource(
        "trained", random_weights, finish=finish, top1_pct=lambda session, batch: 42.0, tested_on="9"
    )
    done = meet_budget(task(tiny, tmp_path, 1e3, weights=source), tmp_path / "engine")
    assert finished == [done.manifest.choices]
    assert (done.manifest.top1_pct, done.manifest.top1_on) == (42.0, "9")
    assert len(done.attempts) == 2


def test_every_limit_holds_for_what_is_emitted(tiny: Space, tmp_path: Path) -> None:
    smallest = tuple(layer.labels[0] for layer in tiny.layers)
    most_params = network_cost(count_params, Architecture(tiny, smallest)) * 1.05
    given = task(tiny, tmp_path, middle_ms(tiny), tables(tiny, tmp_path, optimism=1.3))
    both = replace(given, budget=given.budget.with_limits(params=most_params))
    done = meet_budget(both, tmp_path / "engine")
    assert network_cost(count_params, done.manifest.architecture) <= most_params
    impossible = replace(both, budget=both.budget.with_limits(latency_ms=0.9 * device_ms(tiny, smallest)))
    with pytest.raises(BudgetError):
        meet_budget(impossible, tmp_path / "other")


def test_weights_that_took_long_are_kept_when_the_clock_disagrees(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, calls = middle_ms(tiny), list[Path]()

    def slower_later(
        engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        calls.append(engine)
        return EngineTiming(((int(budget * 1e6 * (0.9 if len(calls) == 1 else 1.1)),),))

    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", slower_later)
    tuned = list[str]()
    source = WeightsSource(
        "trained", random_weights, finish=lambda a: tuned.append(a.text) or random_weights(a, seed=3)
    )
    given = replace(task(tiny, tmp_path, budget, weights=source), method="exact")
    with pytest.raises(MeasurementError, match=r"engine-weights\.safetensors"):
        meet_budget(given, tmp_path / "engine", tries=1)
    assert len(tuned) == 1
    kept = read_weights(tmp_path / "engine-weights.safetensors")
    assert kept.number("classes") == 10


def deployed(space: Space, folder: Path) -> Manifest:
    """An emitted engine in a folder: built by the first test that asks, a copy for each of the others."""
    once = folder.parent / "emitted-once"
    if not once.exists():
        meet_budget(task(space, folder, 1e3), once)
    shutil.copytree(once, folder / "engine")
    return read_manifest(folder / "engine")


def test_verify_passes_on_what_was_emitted(tiny: Space, tmp_path: Path) -> None:
    deployed(tiny, tmp_path)
    found = verify(tmp_path / "engine")
    manifest = found.manifest
    assert found.passed
    assert found.difference is not None
    assert found.difference < 1e-5
    assert {file.name for file in manifest.files} == {MODEL, manifest.engine_file}


@pytest.mark.parametrize("fault", ["changed", "missing"])
def test_verify_names_a_file_that_is_not_what_it_was(tiny: Space, tmp_path: Path, fault: str) -> None:
    deployed(tiny, tmp_path)
    model = tmp_path / "engine" / MODEL
    if fault == "changed":
        model.write_bytes(model.read_bytes()[:-1] + b"x")
    else:
        model.unlink()
    found = verify(tmp_path / "engine")
    assert found.changed_files == (MODEL,)
    assert not found.passed


def test_verify_finds_an_engine_of_another_network(tiny: Space, tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    emitted = deployed(tiny, tmp_path)
    other = Architecture(tiny, emitted.choices)
    model = network_model(other, random_weights(other, seed=9)).SerializeToString()
    (engine / emitted.engine_file).write_bytes(model)
    manifest = json.loads((engine / MANIFEST).read_text())
    for file in manifest["files"]:
        if file["name"] == emitted.engine_file:
            import hashlib

            file.update(sha256=hashlib.sha256(model).hexdigest(), bytes=len(model))
    (engine / MANIFEST).write_text(json.dumps(manifest))
    found = verify(engine)
    assert not found.outputs_agree


def test_verify_says_when_the_budget_is_missed(tiny: Space, tmp_path: Path) -> None:
    deployed(tiny, tmp_path)
    found = verify(tmp_path / "engine")
    assert found.meets_budget
    tight = replace(found.manifest, budget=(("latency_ms", 1e-3),))
    assert not replace(found, manifest=tight).meets_budget


def test_a_manifest_that_points_out_of_its_folder_is_refused(tiny: Space, tmp_path: Path) -> None:
    deployed(tiny, tmp_path)
    path = tmp_path / "engine" / MANIFEST
    path.write_text(path.read_text().replace('"model.onnx"', '"../model.onnx"'))
    with pytest.raises(FileFormatError, match=r"files\[\d\].name"):
        verify(tmp_path / "engine")


def test_for_another_device_the_portable_network_is_emitted(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1e3)
    manifest = emit_portable(given, tmp_path / "engine")
    assert [file.name for file in manifest.files] == [MODEL]
    assert manifest.measured is None
    there = f"build and measure it on {this_machine().name}"
    assert manifest.status == f"not built: {there} (in its folder: `ponas measure model.onnx`)"
    found = verify(tmp_path / "engine")
    assert (found.timing, found.difference, found.changed_files) == (None, None, ())
    images = np.zeros((1, 3, 32, 32), np.float32)
    model = (tmp_path / "engine" / MODEL).read_bytes()
    with get_backend("onnxruntime").load(model, RunSettings()) as session:
        assert session.run(images).shape == (1, 10)
