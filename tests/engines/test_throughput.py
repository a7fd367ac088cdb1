"""Throughput as a limit: measured of inferences one right after another, in the loop and when verified."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import tiny_space
from planted_clocks import spread
from planted_search import device_ms, middle_ms, tables, task
from ponas_deploy.checks.engine import verify
from ponas_deploy.commands.app import app
from ponas_deploy.commands.reports.engine import manifest_report
from ponas_deploy.engines.loop import Task, engine_document, meet_budget
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import BudgetError, PonasError
from ponas_deploy.files.documents import encoded
from ponas_deploy.search.budget import binds_nothing
from ponas_deploy.search.costs import limits_of
from ponas_deploy.search.sides import budget_from
from rendered import shown
from searchspace import SPACES
from searchspace.space import Space


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


def clock(slower: float = 1.0) -> object:
    """Inferences one right after another, where that is asked for; it is refused otherwise."""

    def timed(*given: object, back_to_back: bool = False, **more: object) -> EngineTiming:
        assert back_to_back, "single inferences say nothing of throughput"
        return replace(spread([slower])(*given), back_to_back=True)

    return timed


def asking(tiny: Space, folder: Path, rate: float) -> Task:
    given = task(tiny, folder, 1.0)
    budget = budget_from(limits_of({"throughput": rate}), [given.tables[0].table], given.accuracy.table)
    return replace(given, budget=budget, throughput=rate)


def test_a_throughput_is_a_latency_of_a_batch_on_every_stream(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1.0)
    table, losses = given.tables[0].table, given.accuracy.table
    assert table.conditions is not None
    for batch, streams in ((1, 1), (8, 1), (8, 2)):
        at = replace(table, conditions=replace(table.conditions, batch=batch, streams=streams))
        budget = budget_from(limits_of({"throughput": 500}), [at], losses)
        assert budget.latency_ms == pytest.approx(2.0 * batch * streams)
    for wrong in ("fast", "0", "500 fps", "60%"):
        with pytest.raises(PonasError):
            limits_of({"throughput": wrong})
    with pytest.raises(PonasError, match="ask for a number above zero"):
        limits_of({"throughput": -1.0})
    with pytest.raises(PonasError, match="limited twice"):
        limits_of({"throughput": 5, "latency": "3ms"})


def test_a_throughput_that_every_network_keeps_is_said_in_images_a_second(
    tiny: Space, tmp_path: Path
) -> None:
    grid = task(tiny, tmp_path, 1.0).tables[0].table.grid
    slowest = 1e3 / grid.extremes[1]
    assert binds_nothing([grid], 1e3 / 5, 5.0) == (
        f"every network keeps 5 images/s by the tables; the slowest keeps {slowest:.4g}: ask for more, or"
        " for a larger resolution"
    )
    assert binds_nothing([grid], 1e3 / (1.1 * slowest), 1.1 * slowest) == ""


def test_an_engine_is_measured_to_keep_a_throughput(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", clock())
    monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", clock())
    rate = 1e3 / middle_ms(tiny)
    meet_budget(asking(tiny, tmp_path, rate), tmp_path / "engine")
    manifest = read_manifest(tmp_path / "engine")
    assert manifest.throughput == rate
    found = encoded(engine_document(manifest, tmp_path / "engine"))
    assert (found["throughput"], found["verdict"]) == (rate, "met")
    assert found["measured"]["images_per_s"] >= rate
    assert found["measured"]["images_per_s"] == pytest.approx(
        1e3 / device_ms(tiny, manifest.choices), rel=1e-3
    )
    text = " ".join(shown(manifest_report(manifest, tmp_path / "engine")).split())
    assert f"at least {rate:g} images/s" in text
    assert "images/s at batch 1" in text
    assert verify(tmp_path / "engine").passed
    monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", clock(2.0))
    monkeypatch.setattr("ponas_deploy.checks.engine.sleep", lambda seconds: None)
    assert not verify(tmp_path / "engine").passed


def test_a_throughput_that_no_engine_keeps_is_refused_in_images_a_second(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", clock(3.0))
    monkeypatch.setattr("ponas_deploy.engines.search.sleep", lambda seconds: None)
    rate = 1e3 / middle_ms(tiny)
    with pytest.raises(BudgetError, match=r"no engine met [\d.e+]+ images/s in \d+ tries: the fastest one"):
        meet_budget(asking(tiny, tmp_path, rate), tmp_path / "engine")


def test_in_noise_it_is_said_that_a_throughput_cannot_be_told(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noisy(*given: object, **more: object) -> EngineTiming:
        (values, _) = spread([1.3])(*given).processes_ns  # type: ignore[arg-type]
        return EngineTiming((values, tuple(2 * value for value in values)), back_to_back=True)

    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", noisy)
    monkeypatch.setattr("ponas_deploy.engines.search.sleep", lambda seconds: None)
    rate = 1e3 / middle_ms(tiny)
    with pytest.raises(BudgetError, match=r"no engine met .* images/s in .*cannot be told: two tim") as error:
        meet_budget(asking(tiny, tmp_path, rate), tmp_path / "engine")
    assert error.value.cannot_be_told


def test_the_command_chooses_by_throughput_and_deploys_no_percentile_of_it(
    tiny: Space, tmp_path: Path
) -> None:
    given = task(tiny, tmp_path, 1.0)
    rate = 1e3 / middle_ms(tiny)
    common = ["specialize", "--accuracy-table", str(given.accuracy.path)]
    common += ["--latency-table", str(tables(tiny, tmp_path).path)]
    done = CliRunner().invoke(app, [*common, "--throughput", str(rate), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["predicted_ms"] <= middle_ms(tiny) * (1 + 1e-9)
    both = CliRunner().invoke(app, [*common, "--throughput", "9", "--fps", "9"])
    assert both.exit_code == 2
