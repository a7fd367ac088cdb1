"""What is said of a budget under noise: by the rule, by a search, and by a verification."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from planted_clocks import spread
from planted_search import device_ms, middle_ms, task
from ponas_deploy.backends import RunSettings
from ponas_deploy.checks.engine import Verification, verify
from ponas_deploy.checks.engine_document import verification_document
from ponas_deploy.commands.app import app
from ponas_deploy.commands.reports.engine import deployment_report, verification_report
from ponas_deploy.engines.documents import engine_document
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.loop import meet_budget
from ponas_deploy.engines.manifest import MANIFEST
from ponas_deploy.engines.manifest_file import read_manifest, write_manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.engines.verdict import judge, why_not_told
from ponas_deploy.errors import BudgetError
from ponas_deploy.machines.machine import this_machine
from rendered import shown
from searchspace.space import Space


@pytest.mark.parametrize(
    ("measured_ms", "noise_pct", "said"),
    [
        (0.99, 0.0, "met"),
        (1.01, 0.0, "missed"),
        (1.2, 25.0, "met"),
        (1.26, 25.0, "missed"),
        (0.99, 26.0, "cannot_be_told"),
        (0.7, 40.0, "met"),
        (0.72, 40.0, "cannot_be_told"),
        (1.39, 40.0, "cannot_be_told"),
        (1.41, 40.0, "missed"),
        (3.171 / 1.659, 413.8, "cannot_be_told"),
        (0.99 / 5.138, 413.8, "cannot_be_told"),
        (1.01 / 5.138**2, 413.8, "cannot_be_told"),
        (0.99 / 5.138**2, 413.8, "met"),
        (0.0046, 194.0, "met"),
        (5.2, 413.8, "missed"),
    ],
)
def test_a_budget_is_met_or_missed_or_nobody_can_tell(
    measured_ms: float, noise_pct: float, said: str
) -> None:
    assert judge(measured_ms, 1.0, noise_pct) == said
    assert judge(1000 * measured_ms, 1000.0, noise_pct) == said
    assert judge(measured_ms, None, noise_pct) is None


def noisy(*factors: float):  # type: ignore[no-untyped-def]
    """A clock whose processes differ: each takes the device's own time times one of `factors`."""

    def clock(
        engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        each = [spread([factor])(engine, backend, settings).processes_ns[0] for factor in factors]
        return EngineTiming(tuple(each))

    return clock


@pytest.mark.usefixtures("planted_clock")
def test_a_search_waits_for_a_machine_that_can_tell_and_says_when_none_came(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited, clocks = list[float](), [noisy(1.0, 1.0, 3.0)]

    def clock(*given, **named):  # type: ignore[no-untyped-def]
        return clocks[-1](*given, **named)

    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", clock)
    monkeypatch.setattr("ponas_deploy.engines.search.sleep", waited.append)
    done = meet_budget(task(tiny, tmp_path, 1.05 * middle_ms(tiny)), tmp_path / "engine")
    assert len(waited) == 3
    assert (done.chosen.verdict, done.manifest.verdict) == ("cannot_be_told", "cannot_be_told")
    assert json.loads((tmp_path / "engine" / MANIFEST).read_text())["verdict"] == "cannot_be_told"
    document = engine_document(done.manifest, done.folder)
    assert document.verdict == "cannot_be_told"
    assert "`ponas doctor` says what disturbs the device" in document.warnings[-1]
    assert "cannot be told" in shown(deployment_report(done))

    waited.clear()
    monkeypatch.setattr("ponas_deploy.engines.search.sleep", lambda s: clocks.append(spread([1.0])))
    done = meet_budget(task(tiny, tmp_path, 1.05 * middle_ms(tiny)), tmp_path / "later")
    assert done.manifest.verdict == "met"
    assert done.chosen.noise_pct == 0, "what could not be told at first does not count"


@pytest.mark.usefixtures("planted_clock")
def test_a_budget_that_noise_alone_misses_is_not_said_to_be_missed(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", noisy(1.0, 1.5, 1.5))
    fastest_ms = device_ms(tiny, tuple(layer.labels[0] for layer in tiny.layers))
    with pytest.raises(BudgetError, match=r"no engine met .* cannot be told: two timings .* by 50 %") as told:
        meet_budget(task(tiny, tmp_path, 1.05 * fastest_ms), tmp_path / "engine", tries=2)
    assert told.value.cannot_be_told


@pytest.fixture
def emitted(tiny: Space, tmp_path: Path, planted_clock: None) -> Path:
    return meet_budget(task(tiny, tmp_path, middle_ms(tiny)), tmp_path / "engine").folder


def verified(emitted: Path, factor: float) -> tuple[Verification, int]:
    """What verification finds, and the exit code of the command."""
    return verify(emitted), CliRunner().invoke(app, ["verify", str(emitted)]).exit_code


def test_verification_is_never_green_where_nothing_can_be_told(
    emitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = (read_manifest(emitted).budget_ms or 0) / verify(emitted).timing.percentile_ms(50)  # type: ignore[union-attr]
    for clock, said, code in (
        (noisy(used * 0.99, used * 0.99), "met", 0),
        (noisy(used * 1.02, used * 1.02), "missed", 1),
        (noisy(used * 0.9, used * 0.9, used * 3), "cannot_be_told", 3),
        (noisy(0.1, 0.1, 0.6), "cannot_be_told", 3),
        (noisy(20, 20, 120), "missed", 1),
    ):
        monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", clock)
        found, exit_code = verified(emitted, used)
        assert (found.verdict, exit_code) == (said, code)
        document = verification_document(found)
        assert (document.verdict, document.meets_budget) == (said, said == "met")
        assert document.passed is (said == "met")
        text = " ".join(shown(verification_report(found)).split())
        assert ("cannot be told" in text) is (said == "cannot_be_told")
        if said == "cannot_be_told":
            assert "`ponas doctor`" in document.warnings[-1]


def test_other_faults_are_not_hidden_by_noise(emitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", noisy(0.9, 0.9, 3))
    found = replace(verify(emitted), difference=9.0)
    assert (found.verdict, found.cannot_be_told, found.passed) == ("cannot_be_told", False, False)


def test_an_engine_that_was_emitted_in_noise_is_judged_by_the_noise_of_now(
    emitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """414 % of then would let an engine pass that takes five times its budget."""
    manifest = read_manifest(emitted)
    measured = EngineTiming(((1_000_000,), (5_138_000,)))
    (emitted / MANIFEST).unlink()
    write_manifest(replace(manifest, measured=measured), emitted)
    found = verify(emitted)
    assert (found.noise_pct, found.verdict) == (0.0, "met")
    used = (manifest.budget_ms or 0) / found.timing.percentile_ms(50)  # type: ignore[union-attr]
    monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", spread([2 * used]))
    assert verify(emitted).verdict == "missed"


def test_the_later_measurement_counts_alone_where_only_that_can_tell(
    emitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = iter((noisy(1.0, 1.0, 3.0), spread([1.0])))
    monkeypatch.setattr(
        "ponas_deploy.checks.engine.time_engine", lambda *given, **named: next(clocks)(*given, **named)
    )
    found = verify(emitted)
    assert (found.verdict, found.noise_pct) == ("met", 0.0)
    assert len(found.timing.processes_ns) == 2  # type: ignore[union-attr]


def test_specialize_ends_with_an_exit_code_of_its_own(emitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read_manifest(emitted)
    budget_ns = round(1e6 * (manifest.budget_ms or 0))
    noisy_one = replace(manifest, measured=EngineTiming(((budget_ns // 2,), (5 * budget_ns,))))
    asked = ["specialize", "--device", "cpu", "--latency", "3ms"]
    for emitted_as, code, verdict in ((manifest, 0, "met"), (noisy_one, 3, "cannot_be_told")):
        engine = Engine(emitted, emitted_as)
        monkeypatch.setattr("ponas_deploy.engines.deployment.deploy_one", lambda *given, e=engine, **more: e)
        done = CliRunner().invoke(app, [*asked, "--json"])
        assert (done.exit_code, json.loads(done.stdout)["verdict"]) == (code, verdict)
        assert ("cannot be told" in CliRunner().invoke(app, asked).stdout) is (code == 3)

    def untold(*given: object, **more: object) -> None:
        raise BudgetError("no engine met 3 ms", "latency_ms", 3.0, 3.1, cannot_be_told=True)

    monkeypatch.setattr("ponas_deploy.engines.deployment.deploy_one", untold)
    assert CliRunner().invoke(app, asked).exit_code == 3


def test_what_cannot_be_told_of_a_board_is_to_be_looked_into_there() -> None:
    here, there = (why_not_told(3.0, 3.0, 60.0, device) for device in (this_machine().name, "jetson"))
    assert "`ponas doctor` says" in here
    assert "taskset" in here
    assert "`ponas doctor --device jetson` says" in there
    assert "taskset" not in there
