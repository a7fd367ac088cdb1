"""A limit on energy: checked on engines where the machine counts it, and asked of a search by their power."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import tiny_space
from planted_clocks import spread
from planted_search import device_ms, task
from ponas_deploy import deploy
from ponas_deploy.checks.engine import verify
from ponas_deploy.checks.engine_document import verification_document
from ponas_deploy.commands import app
from ponas_deploy.commands.reports.engine import verification_report
from ponas_deploy.engines.checked import CheckedCost, corrected
from ponas_deploy.engines.counted_energy import refuse_without_counter
from ponas_deploy.engines.loop import engine_document, meet_budget
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import BudgetError, MeasurementError, PonasError
from ponas_deploy.files.documents import encoded
from ponas_deploy.machines.energy import EnergyTaken
from ponas_deploy.measuring.place import HERE
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import limits_of
from ponas_deploy.search.specialize import specialize
from rendered import shown
from searchspace import SPACES
from searchspace.space import Space

IDLE_MJ, WATTS = 2.0, 5.0


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    plant(monkeypatch, 1.0)


def plant(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """A clock beside a counter, on which inferences take some millijoules and so many watts."""

    def timed(*given: object, energy: bool = False, **more: object) -> EngineTiming:
        timing = spread([1.0])(*given)  # type: ignore[arg-type]
        if not energy:
            return timing
        taken_j = factor * taken_mj(timing.percentile_ms(50))
        return replace(timing, energy=(EnergyTaken("RAPL package-0", 1000, taken_j, 1.0, 0.1),) * 2)

    for user in ("engines.search", "checks.engine"):
        monkeypatch.setattr(f"ponas_deploy.{user}.time_engine", timed)


def taken_mj(latency_ms: float) -> float:
    return IDLE_MJ + WATTS * latency_ms


def middle_mj(space: Space) -> float:
    least, most = (device_ms(space, tuple(row[place] for row in space.labels)) for place in (0, -1))
    return taken_mj((least + most) / 2)


def test_energies_are_written_with_their_unit() -> None:
    for text, amount in (("50mJ", 50.0), ("1.2J", 1200.0), ("800uJ", 0.8)):
        assert limits_of({"energy": text})["energy_mj"].amount == pytest.approx(amount)
    for wrong in ("50", "60%", "50MJ", "0mJ"):
        with pytest.raises(PonasError):
            limits_of({"energy": wrong})


def test_before_an_engine_was_measured_a_search_is_asked_for_no_energy() -> None:
    budget = Budget(latency_ms=3.0, energy_mj=50.0)
    assert corrected(budget, [()])["energy_mj"] == float("inf")
    seen = [(CheckedCost("energy_mj", 4.0, 80.0, 50.0),)]
    assert corrected(budget, seen)["energy_mj"] == pytest.approx(2.5), "ms, at 20 W"
    assert corrected(budget, seen)["latency_ms"] == 3.0


@pytest.mark.parametrize("latency_ms", [None, 1e9])
def test_a_search_goes_on_with_the_power_of_its_engines_until_one_keeps_the_limit(
    latency_ms: float | None, tiny: Space, tmp_path: Path
) -> None:
    limit, given = middle_mj(tiny), task(tiny, tmp_path, 1e9)
    done = meet_budget(
        replace(given, budget=Budget(latency_ms=latency_ms, energy_mj=limit)), tmp_path / "engine"
    )
    first, *later = done.attempts
    free = specialize(given.tables[0].table, given.accuracy.table, Budget(latency_ms=1e9), space=tiny)
    assert first.choice.choices == free.choices, "nothing predicted its energy"
    assert first.over
    assert "energy" in first.over[0].text
    assert f"of {limit:.4g} mJ" in first.over[0].text
    assert later
    manifest = read_manifest(tmp_path / "engine")
    assert manifest.checked == ("energy_mj",)
    assert dict(manifest.budget)["energy_mj"] == limit
    better = [
        choices
        for choices in product(*tiny.labels)
        if given.accuracy.table.loss_pp(choices) < given.accuracy.table.loss_pp(manifest.choices) - 1
        and taken_mj(device_ms(tiny, choices)) < 0.9 * limit
    ]
    assert not better, "what is emitted makes use of the limit"
    document = encoded(engine_document(manifest, done.folder))
    assert document["budget"]["energy_mj"] == limit
    assert document["measured"]["energy"]["mj"] <= limit


def test_verify_checks_the_energy_again_within_its_noise(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = middle_mj(tiny)
    meet_budget(replace(task(tiny, tmp_path, 1e9), budget=Budget(energy_mj=limit)), tmp_path / "engine")
    found = verify(tmp_path / "engine")
    assert found.passed
    (row,) = encoded(verification_document(found))["checked"]
    assert (row["name"], row["limit"], row["measured"] <= limit) == ("energy_mj", limit, True)
    assert f"at most {limit:.4g} mJ" in shown(verification_report(found))
    plant(monkeypatch, 3.0)
    again = verify(tmp_path / "engine")
    assert not again.passed
    assert "FAILED" in shown(verification_report(again))


def test_an_energy_that_no_engine_keeps_is_refused_with_the_least(tiny: Space, tmp_path: Path) -> None:
    given = replace(task(tiny, tmp_path, 1e9), budget=Budget(energy_mj=IDLE_MJ))
    with pytest.raises(
        BudgetError, match=r"no engine met 2 mJ of energy in \d+ tr.* measured .* mJ"
    ) as error:
        meet_budget(given, tmp_path / "engine")
    assert error.value.constraint == "energy_mj"
    assert error.value.least
    assert error.value.least > IDLE_MJ


def test_an_engine_whose_energy_nothing_counts_ends_the_search_in_words(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncounted = replace(EngineTiming(((10**6,),)), no_energy="no energy counter here: none.")
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", lambda *of, **how: uncounted)
    given = replace(task(tiny, tmp_path, 1e9), budget=Budget(energy_mj=1e9))
    with pytest.raises(
        MeasurementError, match=r"of fake on .* no energy counter here: none\. Search without"
    ):
        meet_budget(given, tmp_path / "engine")


def rapl(root: Path) -> Path:
    folder = root / "sys/class/powercap/intel-rapl:0"
    folder.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "1000"), ("energy_uj", "100")):
        (folder / name).write_text(f"{text}\n")
    return root


def test_a_machine_without_a_counter_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    here, limits = Target("cpu"), limits_of({"energy": "50mJ"})
    with pytest.raises(MeasurementError, match=r"--energy cannot be checked: .*neither /sys/class/powercap"):
        refuse_without_counter(limits, here, HERE, tmp_path / "nothing")
    counted = rapl(tmp_path / "counted")
    refuse_without_counter(limits, here, HERE, counted)
    refuse_without_counter(limits_of({"latency": "3ms"}), here, None, tmp_path / "nothing")
    with pytest.raises(PonasError, match="name a --device that is reached and counts energy"):
        refuse_without_counter(limits, here, None, counted)
    (counted / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    (counted / "sys/class/powercap/intel-rapl:0/energy_uj").mkdir()  # nobody reads it, root neither
    with pytest.raises(MeasurementError, match=r"may be read by root alone\. `sudo chmod a\+r"):
        refuse_without_counter(limits, here, HERE, counted)


def test_without_engines_the_limit_is_refused(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1.0)
    tables = ("--latency-table", given.tables[0].path, "--accuracy-table", given.accuracy.path)
    asked = ["specialize", *map(str, tables), "--latency", "1s", "--energy", "50mJ"]
    told = CliRunner().invoke(app, asked)
    assert (told.exit_code, told.stdout) == (1, "")
    assert "nothing predicts energy before one was built" in " ".join(told.stderr.split())
    elsewhere = Target("jetson")
    with pytest.raises(PonasError, match="nothing predicts energy"):
        deploy(
            tiny,
            elsewhere,
            given.accuracy.table,
            {"energy": "50mJ"},
            out=tmp_path / "engine",
            latency_table=str(given.tables[0].path),
        )
