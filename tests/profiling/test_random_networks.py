"""Whole networks into a CSV that fits a table: on arithmetic, interrupted, and once on a real runtime."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.backends.fake import FakeBackend, FakeDevice
from ponas_deploy.errors import MeasurementError, TableMismatchError
from ponas_deploy.fitting import fit_networks
from ponas_deploy.machines.conditions import Reading
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling import bench
from ponas_deploy.profiling.progress import ProfilingProgress
from ponas_deploy.profiling.random_networks import GROUP, draws, measure_networks, quick
from ponas_deploy.tables.networks_csv import Networks, read_networks
from searchspace import Space

PLAN = Plan(sample_ns=100_000, min_rounds=4, floor_rounds=4, max_rounds=4, retakes=0, redone_pct=0)


class Backend(FakeBackend):
    """Counts what it builds; ends like a battery after so many."""

    def __init__(self, most: int = 10_000) -> None:
        super().__init__(FakeDevice(noise_pct=0.5))
        self.built, self.most = 0, most

    def load(self, model, settings):  # type: ignore[no-untyped-def]
        self.built += 1
        if self.built > self.most:
            raise KeyboardInterrupt
        return super().load(model, settings)


def measured(tiny: Space, backend: FakeBackend, path: Path, count: int, **changed: object) -> Networks:
    asked = {"device": "here", "plan": PLAN, **changed}
    return measure_networks(tiny, backend, RunSettings(), 1, count, path, **asked)  # type: ignore[arg-type]


def test_every_candidate_is_drawn_equally_often_and_no_network_twice(tiny: Space) -> None:
    found = list(islice(draws(tiny, 3), 16))
    assert len({one.text for one in found}) == 16
    for layer in range(3):
        counted = Counter(one.choices[layer] for one in islice(draws(tiny, 3), 12))
        assert max(counted.values()) - min(counted.values()) <= 1
    assert [one.text for one in islice(draws(tiny, 3), 4)] == [one.text for one in found[:4]]
    assert len(list(draws(tiny, 0))) == 64


def test_networks_fit_a_table(tiny: Space, tmp_path: Path) -> None:
    reports: list[ProfilingProgress] = []
    path = tmp_path / "measured.csv"
    found = measured(tiny, Backend(), path, 40, on_progress=reports.append)
    assert found == read_networks(path)
    assert len(found) == 80
    assert len(set(found.choices)) == 40
    assert found.kind == "latency"
    fitted = fit_networks(found)
    assert fitted.held_out.errors(relative=True).mean() < 3
    assert (reports[0].done, reports[-1].done, reports[-1].total) == (0, 40, 40)
    assert {one.stage for one in reports} == {"build", "measure"}
    assert all(one.seconds_left < 1e6 for one in reports)


def test_an_interrupted_file_is_gone_on_with_and_raised(tiny: Space, tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    with pytest.raises(KeyboardInterrupt):
        measured(tiny, Backend(GROUP + 5), path, 2 * GROUP)
    first = read_networks(path)
    assert len(first) == 2 * GROUP
    again = Backend()
    found = measured(tiny, again, path, 2 * GROUP + 1)
    assert again.built == GROUP + 1 + 2 * 3, "three networks of the first group in each"
    assert found.choices[: 2 * GROUP] == first.choices
    assert found.values[: 2 * GROUP] == first.values
    assert measured(tiny, Backend(0), path, 2 * GROUP + 1) == found


def test_a_machine_that_slows_down_between_groups_is_seen_through(tiny: Space, tmp_path: Path) -> None:
    steady = FakeBackend(FakeDevice())
    first = measured(tiny, steady, tmp_path / "steady.csv", 2 * GROUP)
    per_group = steady.samples // 2
    slow = FakeBackend(FakeDevice(slow_samples=range(per_group, 10 * per_group)))
    found = measured(tiny, slow, tmp_path / "slow.csv", 2 * GROUP)
    assert found.choices == first.choices
    ratios = [now / then for now, then in zip(found.values, first.values, strict=True)]
    assert max(ratios) < 1.3, "half as fast, and not twice as long"


def test_another_measurement_is_not_added(tiny: Space, tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    measured(tiny, Backend(), path, 3)
    with pytest.raises(TableMismatchError, match=r"was measured otherwise \(conditions differ\): --force"):
        measured(tiny, Backend(), path, 3, device="there")
    assert len(measured(tiny, Backend(), path, 2, device="there", overwrite=True)) == 4
    path.with_suffix(".measured.json").unlink()
    with pytest.raises(TableMismatchError, match="nothing beside it says how it was measured"):
        measured(tiny, Backend(), path, 3)
    with pytest.raises(MeasurementError, match="65 networks were asked for, and 64 different ones"):
        measured(tiny, Backend(), tmp_path / "other.csv", 65)


def test_networks_under_another_governor_are_not_added(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "measured.csv"
    measured(tiny, Backend(), path, 3)
    note = path.with_suffix(".measured.json")
    older = {key: value for key, value in json.loads(note.read_text()).items() if key != "clocks"}
    note.write_text(json.dumps(older))
    monkeypatch.setattr(bench, "read_conditions", lambda: Reading(governor="performance"))
    assert len(measured(tiny, Backend(), path, 4)) == 8, "the note there is older"
    monkeypatch.setattr(bench, "read_conditions", lambda: Reading(governor="powersave"))
    with pytest.raises(TableMismatchError, match=r"was measured otherwise \(clocks differ\): --force"):
        measured(tiny, Backend(), path, 5)


def test_on_a_real_runtime(tiny: Space, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    plan = quick(Plan(sample_ns=200_000, retakes=0, redone_pct=0))
    path = tmp_path / "measured.csv"
    found = measure_networks(
        tiny, get_backend("onnxruntime"), RunSettings(), 1, 12, path, device="here", plan=plan
    )
    assert len(found) == 24
    assert min(found.values) > 0


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from ponas_deploy.commands import app

    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    monkeypatch.setattr("ponas_deploy.profiling.random_networks.quick", lambda plan: PLAN)
    path = tmp_path / "measured.csv"
    asked = ["networks", "--count", "2", "--resolution", "32", "--classes", "10", "--out"]
    done = CliRunner().invoke(app, [*asked, str(path), "--backend", "onnxruntime"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "2 networks of" in done.stdout
    assert "ponas table fit" in done.stdout
    assert len(read_networks(path)) == 4
    mixed = ["--backend", "onnxruntime", "--precision", "mixed", "--space", "ponas"]
    done = CliRunner().invoke(app, [*asked, str(tmp_path / "mixed.csv"), *mixed], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "--space ponas-mixed" in done.stdout
    wrong = CliRunner().invoke(app, [*asked, str(tmp_path / "measured.json")])
    assert wrong.exit_code == 2
    elsewhere = CliRunner().invoke(app, [*asked, str(path), "--device", "moon"])
    assert elsewhere.exit_code == 1
    assert "'moon' is not this machine" in elsewhere.output
