"""Margin, residual, room: what a search promises and tries, against clocks that are planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from planted_clocks import (
    EVERY,
    Recovering,
    attempt,
    spread,
    with_certificate,
    with_levels,
)
from planted_search import accuracy, device_ms, middle_ms, tables, task
from ponas_deploy.backends import RunSettings
from ponas_deploy.boards.link import BoardError
from ponas_deploy.commands.reports.engine import deployment_report
from ponas_deploy.engines.attempt import Attempt
from ponas_deploy.engines.attempts import reconsider
from ponas_deploy.engines.loop import emit_portable, engine_document, meet_budget
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import BackendError, BudgetError
from ponas_deploy.files.documents import encoded
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.margins import choose_within
from ponas_deploy.tables.margin import margin
from ponas_deploy.tables.quality import reproducibility_pct
from rendered import shown
from searchspace.space import Space

pytestmark = pytest.mark.usefixtures("planted_clock")


def test_the_first_try_meets_where_the_certificate_knows_better(tiny: Space, tmp_path: Path) -> None:
    optimistic = tables(tiny, tmp_path, optimism=1.3)
    plain = meet_budget(task(tiny, tmp_path, middle_ms(tiny), optimistic), tmp_path / "plain")
    assert not plain.attempts[0].meets
    done = meet_budget(
        task(tiny, tmp_path, middle_ms(tiny), with_certificate(optimistic)), tmp_path / "engine"
    )
    assert done.attempts[0].meets
    assert done.chosen.choice.predicted_loss_pp == plain.chosen.choice.predicted_loss_pp
    predicted = dict(done.manifest.predicted)
    assert (predicted["confidence"], predicted["margin"]) == (0.95, pytest.approx(1.3, rel=0.05))
    text = shown(deployment_report(done))
    assert "margin before measuring" in text
    assert "for 95 % of networks, from 64 check networks" in text


def test_a_margin_that_leaves_nothing_lets_the_clock_decide(tiny: Space, tmp_path: Path) -> None:
    """The fastest network fits by itself, and not with its margin: it is built, and meets the budget."""
    fastest = device_ms(tiny, tuple(layer.labels[0] for layer in tiny.layers))
    stored = with_certificate(tables(tiny, tmp_path), noise_floor_pct=10.0)
    assert margin(stored.table).factor > 1.1  # type: ignore[union-attr]
    done = meet_budget(task(tiny, tmp_path, 1.02 * fastest, stored), tmp_path / "engine")
    assert done.chosen.meets
    with pytest.raises(BudgetError, match="the fastest one takes") as plain:
        meet_budget(task(tiny, tmp_path, 0.5 * fastest, stored), tmp_path / "other")
    assert plain.value.least == pytest.approx(fastest, rel=1e-3)
    with pytest.raises(BudgetError, match=r"That is with a margin of \+10\.3 % for 95 % of networks"):
        emit_portable(task(tiny, tmp_path, 1.02 * fastest, stored), tmp_path / "third")


def test_a_portable_network_fits_with_its_margin(tiny: Space, tmp_path: Path) -> None:
    """By the certificate 95 % of networks take up to 1.3 times their prediction: so does this one."""
    stored, budget = with_certificate(tables(tiny, tmp_path, optimism=1.3)), middle_ms(tiny)
    manifest = emit_portable(task(tiny, tmp_path, budget, stored), tmp_path / "engine")
    assert device_ms(tiny, manifest.choices) <= budget
    document = encoded(engine_document(manifest, tmp_path / "engine"))
    assert document["predicted_ms"] * document["margin"] <= budget
    careless = replace(task(tiny, tmp_path, budget, tables(tiny, tmp_path, optimism=1.3)), confidence=0.5)
    assert device_ms(tiny, emit_portable(careless, tmp_path / "other").choices) > budget


def test_choosing_within_a_margin_is_choosing_with_less(tiny: Space, tmp_path: Path) -> None:
    stored, budget = (
        with_certificate(tables(tiny, tmp_path), noise_floor_pct=8.0),
        Budget(latency_ms=middle_ms(tiny)),
    )
    left, loss = margin(stored.table), accuracy(tiny, tmp_path).table
    assert left is not None
    found = choose_within(left, stored.table, loss, budget)
    less = Budget(latency_ms=(budget.latency_ms or 0) / left.factor)
    assert found.choices == choose_within(None, stored.table, loss, less).choices
    assert found.predicted_ms == stored.table.predict_ms(found.choices)
    assert found.budget == budget


def test_what_just_fits_is_taken_where_the_loss_asks_for_it(tiny: Space, tmp_path: Path) -> None:
    """A machine whose speed varies by 8 %: the better network is worth its probability of missing."""
    steady, folder = tables(tiny, tmp_path), tmp_path / "varying"
    folder.mkdir()
    some = meet_budget(task(tiny, tmp_path, middle_ms(tiny), steady), tmp_path / "any")
    limit_ms = 1.001 * some.chosen.measured_ms
    brim = meet_budget(task(tiny, tmp_path, limit_ms, steady), tmp_path / "brim")
    assert brim.chosen.used_pct > 99.8
    varying = with_levels(tables(tiny, folder), 0.97, 0.97, 1.0, 1.03, 1.03)
    done = meet_budget(task(tiny, tmp_path, limit_ms, varying), tmp_path / "engine")
    measured = done.manifest.measured
    assert measured is not None
    assert measured.noise_floor_pct == pytest.approx(reproducibility_pct(varying.table))
    assert read_manifest(done.folder).measured == measured
    assert "as the machine's speed varies; 0.0 % between 4 fresh processes" in shown(deployment_report(done))


def test_what_just_fits_is_better_than_nothing(tiny: Space, tmp_path: Path) -> None:
    fastest = device_ms(tiny, tuple(layer.labels[0] for layer in tiny.layers))
    varying = with_levels(tables(tiny, tmp_path), 0.98, 0.98, 1.0, 1.02, 1.02)
    done = meet_budget(task(tiny, tmp_path, 1.001 * fastest, varying), tmp_path / "engine")
    assert done.chosen.meets
    assert done.chosen.used_pct > 99


def test_the_search_goes_on_where_the_second_measurement_leaves_room(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one meets the budget by its margin; measured again there is room for a better one."""
    clock = Recovering()
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", clock)
    stored = with_certificate(tables(tiny, tmp_path, optimism=1 / 1.5))
    done = meet_budget(task(tiny, tmp_path, 1.6 * middle_ms(tiny), stored), tmp_path / "engine")
    place = next(place for place, engine in enumerate(clock.seen) if engine in clock.seen[:place])
    assert set(clock.seen[place:]) - set(clock.seen[:place]), "others were built after it"
    assert done.chosen.timing is not None
    assert done.chosen.meets
    assert len(done.chosen.timing.processes_ns) == 4, "what is returned was measured twice"


def test_where_nothing_meets_the_budget_that_tables_say_fits_it_is_timed_again_later(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half as slow again until somebody waits: the last timing counts alone, for it alone can tell."""
    factors, waited, notes = [1.5], list[float](), list[str]()

    def clock(
        engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        return spread(factors)(engine, backend, settings)

    def wait(seconds: float) -> None:
        waited.append(seconds)
        factors[:] = [1.0]

    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", clock)
    monkeypatch.setattr("ponas_deploy.engines.search.sleep", wait)
    fastest_ms = min(device_ms(tiny, choices) for choices in EVERY)
    given = task(tiny, tmp_path, 1.05 * fastest_ms)
    done = meet_budget(given, tmp_path / "engine", tries=1, on_note=notes.append)
    assert len(waited) == 3
    assert any("by the tables some would: waiting 0 s" in note for note in notes)
    assert done.chosen.meets
    assert done.chosen.timing is not None
    assert done.chosen.timing.noise_floor_pct == pytest.approx(0, abs=0.1)
    factors[:], waited[:] = [1.5], []
    monkeypatch.setattr("ponas_deploy.engines.search.sleep", waited.append)
    with pytest.raises(BudgetError, match="no engine met"):
        meet_budget(given, tmp_path / "other", tries=1)
    assert len(waited) == 3


def test_what_missed_while_the_machine_was_slow_is_reconsidered(tiny: Space, tmp_path: Path) -> None:
    stored = tables(tiny, tmp_path)

    def timed(number: int, predicted_ms: float, measured_ms: float, loss_pp: float) -> Attempt:
        one = attempt(stored, predicted_ms, measured_ms, measured_ms, budget_ms=2.0)
        return replace(one, number=number, choice=replace(one.choice, predicted_loss_pp=loss_pp))

    slow, best = timed(1, 1.97, 2.6, 0.5), timed(2, 1.6, 1.5, 1.0)
    assert reconsider([slow, best], best, set()) is None, "by both together it is still too slow"
    later = [timed(number, 1.6, 1.5, 1.0) for number in (3, 4)]
    assert reconsider([slow, best, *later], best, set()) == slow
    assert reconsider([slow, best, *later], best, {1}) is None, "it was measured again already"
    worse = replace(slow, choice=replace(slow.choice, predicted_loss_pp=2.0))
    assert reconsider([worse, best, *later], best, set()) is None


def test_a_network_that_cannot_be_timed_ends_the_search_with_what_was_found(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, notes = list[Path](), list[str]()

    def breaks(
        engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        seen.append(engine)
        if len(set(seen)) > 1 and engine != seen[0]:
            raise BackendError("fake", "the process that timed it failed: it ended with SIGSEGV")
        return spread([1.0])(engine, backend, settings)

    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", breaks)
    pessimistic = tables(tiny, tmp_path, optimism=0.8)
    given = task(tiny, tmp_path, middle_ms(tiny), pessimistic)
    done = meet_budget(given, tmp_path / "engine", on_note=notes.append)
    assert len(done.attempts) == 1
    assert done.chosen.meets
    assert len(set(seen)) == 2
    assert any(note.endswith("SIGSEGV The search ends with what was found.") for note in notes)
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", breaks)
    seen[:] = [Path("another")]
    with pytest.raises(BackendError, match="SIGSEGV"):
        meet_budget(given, tmp_path / "other")


def test_a_board_that_is_gone_ends_the_search(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[Path]()

    def breaks(
        engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        seen.append(engine)
        if engine != seen[0]:
            raise BoardError("box", "the connection ended.")
        return spread([1.0])(engine, backend, settings)

    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", breaks)
    given = task(tiny, tmp_path, middle_ms(tiny), tables(tiny, tmp_path, optimism=0.8))
    with pytest.raises(BoardError, match="connection ended"):
        meet_budget(given, tmp_path / "engine")
    assert len(set(seen)) == 2
