"""A profile of which most rounds were disturbed goes on in the gaps, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from ponas_deploy.backends import FakeBackend, RunSettings
from ponas_deploy.machines.conditions import Reading
from ponas_deploy.machines.counters import Counters
from ponas_deploy.machines.nvidia import GpuReading
from ponas_deploy.measuring.interference import Snapshot
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.progress import ProfilingProgress, with_notes
from ponas_deploy.profiling.random_networks import measure_networks
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.quality import quality_findings
from searchspace.space import Space

ROUNDS = 5


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether others use the cores in each interval between two readings, the last one for ever."""
    busy, start = list[bool](), Counters(at_s=0.0, cores=2, busy_s=0.0, own_s=0.0)
    counters = [start]

    def snapshot(*given: object) -> Snapshot:
        working = busy.pop(0) if len(busy) > 1 else busy[0]
        now = counters[-1]
        counters.append(replace(now, at_s=now.at_s + 1, busy_s=now.busy_s + 1.6 * working))
        return Snapshot(counters[-1], Reading(), GpuReading())

    monkeypatch.setattr("ponas_deploy.profiling.bench.take_snapshot", snapshot)
    monkeypatch.setattr("ponas_deploy.measuring.interference.time.sleep", lambda seconds: None)
    monkeypatch.setattr("ponas_deploy.profiling.gaps.registry.is_real", lambda name: True)
    return busy


Profiled = Callable[..., LatencyTable]


@pytest.fixture
def profiled(tiny: Space) -> Profiled:
    plan = Plan(min_rounds=ROUNDS, max_rounds=ROUNDS, floor_rounds=ROUNDS, redone_pct=0.0)

    def made(**more: object) -> LatencyTable:
        return profile(tiny, FakeBackend(), plan=plan, **more)  # type: ignore[arg-type]

    return made


def test_most_rounds_were_disturbed_and_then_they_were_not(
    others: list[bool], profiled: Profiled, tmp_path: Path
) -> None:
    others += [True] * (1 + 2 * ROUNDS) + [False]
    seen = list[ProfilingProgress]()
    table = profiled(on_progress=seen.append, journal=tmp_path / "journal")
    said = table.protocol.interference
    assert said is not None
    assert (said.kept_rounds, said.wrong_rounds, said.discarded_rounds) == (ROUNDS, 2, 3), "half may be"
    (note,) = (one.note for one in seen if one.note)
    assert note.startswith("5 of 5 rounds were disturbed (other processes used 78 % of the cores): going on")
    assert "for at most" in note
    assert "the same command again: it goes on from here" in note
    assert not [one for one in quality_findings(table) if "disturbed" in one.text]
    assert all(len(measured.rounds_ns) == ROUNDS for _, measured in table.measurements)
    write_latency_table(table, tmp_path / "table.json")
    assert load_latency_table(tmp_path / "table.json").rounds == table.rounds
    assert profiled(journal=tmp_path / "journal").rounds == table.rounds, "the journal says the same"


def test_a_machine_that_is_always_busy_gets_its_extra_time_and_no_more(
    others: list[bool], profiled: Profiled
) -> None:
    others += [True]
    table = profiled(time_budget_s=4.0)
    said = table.protocol.interference
    assert said is not None
    assert (said.kept_rounds, said.wrong_rounds) == (ROUNDS, ROUNDS)
    assert 0 < table.protocol.extended_s < 4.0, "half of it, and what the last look at the machine took"
    assert any("5 of 5 rounds were disturbed" in one.text for one in quality_findings(table))


def test_a_few_disturbed_rounds_are_no_reason(others: list[bool], profiled: Profiled) -> None:
    others += [True] * 5 + [False]
    seen = list[ProfilingProgress]()
    table = profiled(on_progress=seen.append)
    assert table.protocol.interference is not None
    assert table.protocol.interference.wrong_rounds == 2
    assert (table.protocol.extended_s, [one.note for one in seen if one.note]) == (0.0, [])


def test_random_networks_are_taken_again_in_the_gaps_too(
    others: list[bool], tiny: Space, tmp_path: Path
) -> None:
    """For at most half of the time that the group took by a clock that the test sets."""
    plan = Plan(min_rounds=ROUNDS, max_rounds=ROUNDS, floor_rounds=ROUNDS, retakes=0, redone_pct=0.0)
    notes = list[str]()

    def networks(name: str, group_s: int) -> None:
        notes.clear()
        measure_networks(
            tiny,
            FakeBackend(),
            RunSettings(),
            1,
            3,
            tmp_path / name,
            device="here",
            plan=plan,
            on_progress=with_notes(notes.append, None),
            clock=count(0, group_s).__next__,
        )

    others += [True] * (1 + 2 * ROUNDS) + [False]
    networks("then-quiet.csv", 200)
    (begun,) = notes
    assert begun.startswith("5 of 5 rounds were disturbed (other processes used 78 % of the cores): going on")
    assert "for at most 100 s" in begun
    others[:] = [True]
    networks("always-busy.csv", 2)
    begun, said = notes
    assert "the latencies of these 3 networks may be off" in said
    assert "--force measures them again" in said
