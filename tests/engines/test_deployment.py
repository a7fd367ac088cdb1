"""What Python takes where a person types: limits, tables by value, targets that leave something open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import ponas_deploy as ponas
from conftest import tiny_space
from planted_search import accuracy
from ponas_deploy.engines.fleet import deploy_fleet
from ponas_deploy.engines.losses import stored_losses
from ponas_deploy.engines.wanted import Deployment
from ponas_deploy.errors import BackendError, BudgetError, OverwriteError, PonasError, UnknownNameError
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.files import load_accuracy_table
from sample_tables import accuracy_table, latency_table
from searchspace import SPACES
from searchspace.space import Space
from stored_tables import stored


def test_a_choice_by_percent_is_that_by_its_milliseconds() -> None:
    table, losses = latency_table(), accuracy_table()
    most = ponas.pareto_front(table, losses).points[-1].latency_ms
    by_percent = ponas.specialize(table, losses, latency="90%")
    by_value = ponas.specialize(table, losses, ponas.Budget(latency_ms=0.9 * most))
    assert by_percent == by_value == ponas.specialize(table, losses, latency_ms=0.9 * most)
    several = ponas.shortlist(table, losses, 3, latency="100%")
    assert [one.predicted_loss_pp for one in several] == sorted(one.predicted_loss_pp for one in several)
    assert ponas.predict(table, [one.choices for one in several]) == pytest.approx(
        [one.predicted_ms for one in several]
    )
    with pytest.raises(BudgetError, match="Ask for"):
        ponas.specialize(table, losses, latency_ms=1e-9)


def test_one_table_is_of_one_runtime() -> None:
    with pytest.raises(PonasError, match=r"leaves 2 runtimes .* open \(.*onnxruntime .*openvino "):
        ponas.profile(tiny_space(), ponas.Target("cpu"))
    with pytest.raises(PonasError, match="'jetson' is not this machine"):
        ponas.profile(tiny_space(), ponas.Target("jetson"))


def test_an_engine_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "manifest.json").write_text("{}")
    space, target, out = ponas.space("ponas"), ponas.Target("cpu"), tmp_path / "engine"
    with pytest.raises(OverwriteError):
        ponas.deploy(space, target, out=out, latency="90%")
    with pytest.raises(UnknownNameError, match="percentile"):
        ponas.deploy(space, target, out=out, latency="60%", percentile=42)


def test_what_makes_no_engines_is_refused_before_anything_is_measured(
    tmp_path: Path, tiny: Space, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, device, out = "onnxruntime_perf_test", this_machine().name, tmp_path / "engine"
    monkeypatch.setattr("ponas_deploy.engines.fleet.prepared", lambda *given, **more: pytest.fail("too late"))
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    stored(tiny, "jetson")
    target, conditions = ponas.Target("cpu", name), ponas.Conditions(device, name, "fp32", 1, 1)
    named = stored(tiny, device, conditions=conditions)
    network = ponas.Architecture.from_indices(tiny, (0, 0, 0))
    losses, path = accuracy(tiny, tmp_path), str(named.path)
    fleet = (target, ponas.Target("jetson"))
    (tmp_path / "model.onnx").write_bytes(model)
    for attempt in (
        lambda: ponas.deploy(tiny, target, losses, out=out, latency="90%"),
        lambda: ponas.deploy(tiny, ponas.Target("cpu"), losses, out=out, latency="90%", latency_table=path),
        lambda: deploy_fleet(Deployment(tiny, out, losses, {"latency": "90%"}), fleet, robust=True),
        lambda: ponas.export(network, target, out=out),
        lambda: ponas.export(network, conditions, out=out),
        lambda: ponas.measure_model(tmp_path / "model.onnx", target),
        lambda: ponas.compare_networks(tiny, target, stock=()),
        lambda: ponas.check_machine(name),
    ):
        with pytest.raises(BackendError, match=rf"^{name}: times models for latency tables .* no engines: "):
            attempt()
    assert not out.exists()


def test_losses_by_value_are_found_in_the_store_or_kept_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    losses = ponas.accuracy_table("ponas")
    space = ponas.space("ponas")
    assert stored_losses(space, losses)[0].path == stored_losses(space)[0].path
    mine = replace(losses, created="2026-01-01")
    (kept,) = stored_losses(space, mine)
    assert kept.path.name.startswith("given-")
    assert load_accuracy_table(kept.path) == mine
    assert stored_losses(space, [mine]) == (kept,)


def test_a_space_without_a_table_takes_the_one_beside_the_weights(tmp_path: Path) -> None:
    space, beside = ponas.space("spos-shufflenet"), tmp_path / "accuracy.json"
    weights = str(tmp_path / "weights.safetensors")
    with pytest.raises(PonasError, match="has no accuracy table of its own"):
        stored_losses(space, None, weights)
    write_accuracy_table(accuracy_table(), beside)
    assert [one.path for one in stored_losses(space, None, weights)] == [beside]
    assert stored_losses(ponas.space("ponas"), None, weights)[0].path != beside


def test_the_devices_begin_with_this_machine() -> None:
    here, *others = ponas.devices()
    assert here.is_here
    assert [runtime.backend for runtime in here.runtimes] == ["onnxruntime", "openvino"]
    assert any(device.tables for device in others)
