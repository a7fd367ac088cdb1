"""Margin, percentile, second look: what an engine is promised to take, against clocks that are planted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from conftest import tiny_space
from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.deploy import Task, WeightsSource, deploy, emit_portable, engine_document
from ponas_deploy.deploy.attempt import Attempt
from ponas_deploy.deploy.attempts import choose_within, second_chance, stretch
from ponas_deploy.engines import verify
from ponas_deploy.engines.manifest import MANIFEST, read_manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import BackendError, BudgetError, FileFormatError, MeasurementError
from ponas_deploy.reports.engine import deployment_report, verification_report
from ponas_deploy.specialize import Budget, Specialization
from ponas_deploy.store import StoredTable
from ponas_deploy.tables import Certificate, LatencyTable, Measurement, NetworkLatency, write_latency_table
from ponas_deploy.trust import margin, wander_pct
from searchspace import SPACES
from searchspace.space import Space
from searchspace.weights import random_weights
from test_deploy import accuracy, device_ms, middle_ms, tables, task
from test_shortlist import shown

EVERY = list(product(*tiny_space().labels))
Clock = Callable[..., EngineTiming]


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    # Real processes are `test_deploy`'s matter; here the clock is what a test plants.
    for user in ("deploy.search", "engines"):
        monkeypatch.setattr(f"ponas_deploy.{user}.time_engine", spread([1.0]))
    monkeypatch.setattr("ponas_deploy.engines._LATER_S", 0.0)
    monkeypatch.setattr("ponas_deploy.deploy.search._WAIT_S", 0.0)


def with_certificate(stored: StoredTable, **figures: float) -> StoredTable:
    """The table with a certificate over every network there is, measured on the device itself."""
    space = tiny_space()
    networks = []
    for choices in EVERY:
        measured = device_ms(space, choices)
        rounds = Measurement(1, (measured * 1e6,))
        networks.append(NetworkLatency(choices, measured, stored.table.predict_ms(choices), measured, rounds))
    good = {"mean_error_pct": 1.0, "worst_error_pct": 2.0, "kendall_tau": 0.99, "noise_floor_pct": 0.0}
    proof = Certificate(
        isolated_mean_error_pct=9.0, noise_tau=0.99, networks=tuple(networks), **{**good, **figures}
    )
    table = replace(stored.table, certificate=proof)
    write_latency_table(table, stored.path, overwrite=True)
    return replace(stored, table=table)


def spread(factors: Sequence[float]) -> Clock:
    """A clock on which every inference takes the device's own time times one of `factors`, in turn."""

    def clock(engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0) -> EngineTiming:
        with get_backend(backend).open(engine, settings) as session:
            true_ns = session.time_ns(1)
        return EngineTiming(tuple(tuple(round(true_ns * factor) for factor in factors) for _ in range(2)))

    return clock


# The margin before measuring, the residual after it


def test_the_first_try_meets_where_the_certificate_knows_better(tiny: Space, tmp_path: Path) -> None:
    optimistic = tables(tiny, tmp_path, optimism=1.3)
    plain = deploy(task(tiny, tmp_path, middle_ms(tiny), optimistic), tmp_path / "plain")
    assert not plain.attempts[0].meets
    done = deploy(task(tiny, tmp_path, middle_ms(tiny), with_certificate(optimistic)), tmp_path / "engine")
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
    done = deploy(task(tiny, tmp_path, 1.02 * fastest, stored), tmp_path / "engine")
    assert done.chosen.meets
    with pytest.raises(BudgetError, match="the fastest one takes") as plain:
        deploy(task(tiny, tmp_path, 0.5 * fastest, stored), tmp_path / "other")
    assert plain.value.least == pytest.approx(fastest, rel=1e-3)
    with pytest.raises(BudgetError, match=r"That is with a margin of \+10\.3 % for 95 % of networks"):
        emit_portable(task(tiny, tmp_path, 1.02 * fastest, stored), tmp_path / "third")


def test_a_portable_network_fits_with_its_margin(tiny: Space, tmp_path: Path) -> None:
    """By the certificate 95 % of networks take up to 1.3 times their prediction: so does this one."""
    stored, budget = with_certificate(tables(tiny, tmp_path, optimism=1.3)), middle_ms(tiny)
    manifest = emit_portable(task(tiny, tmp_path, budget, stored), tmp_path / "engine")
    assert device_ms(tiny, manifest.choices) <= budget
    document = engine_document(manifest, tmp_path / "engine")
    assert document["predicted_ms"] * document["margin"] <= budget
    careless = replace(task(tiny, tmp_path, budget, tables(tiny, tmp_path, optimism=1.3)), confidence=0.5)
    assert device_ms(tiny, emit_portable(careless, tmp_path / "other").choices) > budget


def test_choosing_within_a_margin_is_choosing_with_less(tiny: Space, tmp_path: Path) -> None:
    stored, budget = with_certificate(tables(tiny, tmp_path), noise_floor_pct=8.0), Budget(middle_ms(tiny))
    left, loss = margin(stored.table), accuracy(tiny, tmp_path).table
    assert left is not None
    found = choose_within(left, stored.table, loss, budget)
    less = Budget((budget.latency_ms or 0) / left.factor)
    assert found.choices == choose_within(None, stored.table, loss, less).choices
    assert found.predicted_ms == stored.table.predict_ms(found.choices)
    assert found.budget == budget


def attempt(stored: StoredTable, predicted_ms: float, *processes_ms: float, budget_ms: float) -> Attempt:
    choice = Specialization("exact", True, Budget(budget_ms), (), predicted_ms, 0.0, 0.0)
    timed = EngineTiming(tuple((round(1e6 * ms),) for ms in processes_ms))
    return Attempt(1, stored, choice, predicted_ms, timing=timed)


def test_the_residual_takes_the_margins_place_and_leaves_room_for_noise(tiny: Space, tmp_path: Path) -> None:
    stored = tables(tiny, tmp_path)
    wide = margin(with_certificate(stored, noise_floor_pct=20.0).table)
    assert stretch((), None).factor == 1.0
    assert stretch((), wide).factor == pytest.approx(1.206, abs=1e-3)
    steady = attempt(stored, 1.0, 1.1, 1.1, budget_ms=1.2)
    assert stretch([steady], wide).factor == pytest.approx(1.1)
    missed = attempt(stored, 1.0, 1.1, 1.1, budget_ms=1.0)
    assert stretch([missed], wide).factor == pytest.approx(1.1 * 1.005)
    restless = attempt(stored, 1.0, 1.089, 1.111, budget_ms=1.2)
    found = stretch([restless], wide)
    assert found.level == pytest.approx(1.1)
    assert found.factor == pytest.approx(1.1 * (1 + restless.noise_pct / 100))
    wild = attempt(stored, 1.0, 0.8, 1.4, budget_ms=1.2)
    assert stretch([wild], wide).factor == pytest.approx(1.1 * 1.035)


def test_a_machine_that_was_busy_at_first_is_forgotten(tiny: Space, tmp_path: Path) -> None:
    stored = tables(tiny, tmp_path)
    slow, now = (attempt(stored, 1.0, ms, ms, budget_ms=2.0) for ms in (1.5, 1.0))
    levels = [stretch([slow, *[now] * count], None).level for count in range(5)]
    assert levels[1] == pytest.approx(1.5 ** (1 / 3))
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] < 1.02
    assert stretch([now, slow], None).level == pytest.approx(1.5 ** (2 / 3)), "and noticed at once"


def with_levels(stored: StoredTable, *levels: float) -> StoredTable:
    """The same table, of a machine that was seen at these levels of its speed."""
    rounds = Measurement(1, (1e6,) * len(levels), levels)
    table = replace(stored.table, measurements=(("cell", rounds),))
    write_latency_table(table, stored.path, overwrite=True)
    return replace(stored, table=table)


def test_a_machine_that_wanders_is_left_room(tiny: Space, tmp_path: Path) -> None:
    """On a steady machine the budget is used to the brim; on one that wanders what just fits is not taken."""
    steady, folder = tables(tiny, tmp_path), tmp_path / "wandering"
    folder.mkdir()
    some = deploy(task(tiny, tmp_path, middle_ms(tiny), steady), tmp_path / "any")
    limit_ms = 1.001 * some.chosen.measured_ms
    brim = deploy(task(tiny, tmp_path, limit_ms, steady), tmp_path / "brim")
    assert brim.chosen.unused_pct < 0.2
    wandering = with_levels(tables(tiny, folder), 0.98, 0.98, 1.0, 1.02, 1.02)
    done = deploy(task(tiny, tmp_path, limit_ms, wandering), tmp_path / "engine")
    assert done.chosen.unused_pct >= 1.75
    assert done.chosen.merit > brim.chosen.merit
    measured = done.manifest.measured
    assert measured is not None
    assert measured.noise_floor_pct == pytest.approx(wander_pct(wandering.table))
    assert read_manifest(done.folder).measured == measured
    assert "as the machine's speed wanders; 0.0 % between 4 fresh processes" in shown(deployment_report(done))


def test_what_just_fits_is_better_than_nothing(tiny: Space, tmp_path: Path) -> None:
    fastest = device_ms(tiny, tuple(layer.labels[0] for layer in tiny.layers))
    wandering = with_levels(tables(tiny, tmp_path), 0.98, 0.98, 1.0, 1.02, 1.02)
    done = deploy(task(tiny, tmp_path, 1.001 * fastest, wandering), tmp_path / "engine")
    assert done.chosen.meets
    assert not done.chosen.safe


class Recovering:
    """A device that is half as slow again until the engine it timed first is timed a second time."""

    def __init__(self) -> None:
        self.seen = list[Path]()

    def __call__(
        self, engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0
    ) -> EngineTiming:
        self.seen.append(engine)
        itself = self.seen.count(self.seen[0]) > 1
        return replace(spread([1.0 if itself else 1.5])(engine, backend, settings), weather=())


def test_the_search_goes_on_where_the_second_look_leaves_room(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one meets the budget by its margin; with its second look there is room for a better one."""
    clock = Recovering()
    monkeypatch.setattr("ponas_deploy.deploy.search.time_engine", clock)
    stored = with_certificate(tables(tiny, tmp_path, optimism=1 / 1.5))
    done = deploy(task(tiny, tmp_path, 1.6 * middle_ms(tiny), stored), tmp_path / "engine")
    place = clock.seen.index(clock.seen[0], 1)
    assert set(clock.seen[place:]) - set(clock.seen[:place]), "others were built after it"
    assert done.chosen.timing is not None
    assert done.chosen.meets
    assert len(done.chosen.timing.processes_ns) == 4, "what is returned was looked at twice"


def test_where_nothing_meets_the_budget_that_tables_say_fits_it_is_timed_again_later(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half as slow again until somebody waits: the slow inferences count, but they are not the median."""
    factors, waited, notes = [1.5], list[float](), list[str]()

    def clock(engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0) -> EngineTiming:
        return spread(factors)(engine, backend, settings)

    def wait(seconds: float) -> None:
        waited.append(seconds)
        factors[:] = [1.0]

    monkeypatch.setattr("ponas_deploy.deploy.search.time_engine", clock)
    monkeypatch.setattr("ponas_deploy.deploy.search.sleep", wait)
    fastest_ms = min(device_ms(tiny, choices) for choices in EVERY)
    given = task(tiny, tmp_path, 1.05 * fastest_ms)
    done = deploy(given, tmp_path / "engine", tries=1, on_note=notes.append)
    assert len(waited) == 2
    assert any("by the tables some would: waiting 0 s" in note for note in notes)
    assert done.chosen.meets
    assert done.chosen.timing is not None
    assert done.chosen.timing.noise_floor_pct == pytest.approx(50, abs=0.1), "as it was seen to vary"
    factors[:], waited[:] = [1.5], []
    monkeypatch.setattr("ponas_deploy.deploy.search.sleep", waited.append)
    with pytest.raises(BudgetError, match="no engine met"):
        deploy(given, tmp_path / "other", tries=1)
    assert len(waited) == 3


def test_what_missed_while_the_machine_was_slow_gets_a_second_chance(tiny: Space, tmp_path: Path) -> None:
    stored = tables(tiny, tmp_path)

    def timed(number: int, predicted_ms: float, measured_ms: float, loss_pp: float) -> Attempt:
        one = attempt(stored, predicted_ms, measured_ms, measured_ms, budget_ms=2.0)
        return replace(one, number=number, choice=replace(one.choice, predicted_loss_pp=loss_pp))

    slow, best = timed(1, 1.97, 2.6, 0.5), timed(2, 1.6, 1.5, 1.0)
    assert second_chance([slow, best], best, set()) is None, "by both together it is still too slow"
    later = [timed(number, 1.6, 1.5, 1.0) for number in (3, 4)]
    assert second_chance([slow, best, *later], best, set()) == slow
    assert second_chance([slow, best, *later], best, {1}) is None, "it had its chance"
    worse = replace(slow, choice=replace(slow.choice, predicted_loss_pp=2.0))
    assert second_chance([worse, best, *later], best, set()) is None


def test_a_network_that_cannot_be_timed_ends_the_search_with_what_was_found(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, notes = list[Path](), list[str]()

    def breaks(engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0) -> EngineTiming:
        seen.append(engine)
        if len(set(seen)) > 1 and engine != seen[0]:
            raise BackendError("fake", "the process that timed it failed: it ended with SIGSEGV")
        return spread([1.0])(engine, backend, settings)

    monkeypatch.setattr("ponas_deploy.deploy.search.time_engine", breaks)
    pessimistic = tables(tiny, tmp_path, optimism=0.8)
    given = task(tiny, tmp_path, middle_ms(tiny), pessimistic)
    done = deploy(given, tmp_path / "engine", on_note=notes.append)
    assert len(done.attempts) == 1
    assert done.chosen.meets
    assert len(set(seen)) == 2
    assert any(note.endswith("SIGSEGV The search ends with what was found.") for note in notes)
    monkeypatch.setattr("ponas_deploy.deploy.search.time_engine", breaks)
    seen[:] = [Path("another")]
    with pytest.raises(BackendError, match="SIGSEGV"):
        deploy(given, tmp_path / "other")


# Percentiles


def test_the_budget_is_on_the_percentile_that_was_asked_for(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One inference in ten takes half as long again: only p99 minds."""
    monkeypatch.setattr("ponas_deploy.deploy.search.time_engine", spread([1.0] * 9 + [1.5]))
    budget, found = 1.2 * middle_ms(tiny), {}
    for percentile in (50, 99):
        given = replace(task(tiny, tmp_path, budget), percentile=percentile)
        done = deploy(given, tmp_path / f"p{percentile}")
        assert done.chosen.timing is not None
        assert done.chosen.measured_ms == done.chosen.timing.percentile_ms(percentile) <= budget
        assert done.manifest == read_manifest(tmp_path / f"p{percentile}")
        assert done.manifest.percentile == percentile
        assert engine_document(done.manifest, tmp_path)["percentile"] == percentile
        found[percentile] = device_ms(tiny, done.manifest.choices)
    assert 1.3 * found[99] < found[50]
    assert "in 99 of 100 inferences" in shown(deployment_report(done))


def test_verify_judges_by_the_same_percentile(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = replace(task(tiny, tmp_path, middle_ms(tiny)), percentile=95)
    deploy(given, tmp_path / "engine")
    assert verify(tmp_path / "engine")[1].passed
    monkeypatch.setattr("ponas_deploy.engines.time_engine", spread([1.0] * 9 + [2.0]))
    manifest, found = verify(tmp_path / "engine")
    assert (found.percentile, found.meets_budget) == (95, False)
    assert "p95 " in shown(verification_report(manifest, found))


def test_an_older_manifest_promises_the_median(tiny: Space, tmp_path: Path) -> None:
    deploy(task(tiny, tmp_path, 1e3), tmp_path / "engine")
    path = tmp_path / "engine" / MANIFEST
    document = json.loads(path.read_text())
    for key in ("percentile", "warnings"):
        del document[key]
    del document["measured"]["started_s"], document["measured"]["weather"]
    path.write_text(json.dumps(document))
    manifest = read_manifest(tmp_path / "engine")
    assert (manifest.percentile, manifest.warnings) == (50, ())
    assert manifest.measured is not None
    assert (manifest.measured.span_s, manifest.measured.weather) == (0, ())
    path.write_text(json.dumps({**document, "percentile": 51}))
    with pytest.raises(FileFormatError, match="percentile: is 51, expected one of 50, 90, 95, 99"):
        read_manifest(tmp_path / "engine")
    for wrong in ({"rain": 1}, {"others_pct": "many"}):
        measured = {**document["measured"], "weather": [{"number": 0, **wrong}]}
        path.write_text(json.dumps({**document, "measured": measured}))
        with pytest.raises(FileFormatError, match=r"weather\[0\]: is not what a machine did besides"):
            read_manifest(tmp_path / "engine")
    document["measured"]["started_s"] = [1.0]
    path.write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=r"measured.started_s: holds 1 times of \d+ processes"):
        read_manifest(tmp_path / "engine")


# The second look


class Wandering:
    """A device that is as fast as ever at each engine's first timing, and `later` times as slow after it."""

    def __init__(self, later: float) -> None:
        self.later = later
        self.seen: list[Path] = []

    def __call__(
        self, engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0
    ) -> EngineTiming:
        factor = self.later if engine in self.seen else 1.0
        self.seen.append(engine)
        return spread([factor])(engine, backend, settings)


def test_what_is_returned_met_the_budget_in_both_looks_together(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look later everything takes 20 % longer: half of the inferences, so that the median is in between."""
    clock, notes = Wandering(1.2), list[str]()
    monkeypatch.setattr("ponas_deploy.deploy.search.time_engine", clock)
    budget = middle_ms(tiny)
    done = deploy(task(tiny, tmp_path, budget), tmp_path / "engine", on_note=notes.append)
    assert done.chosen.timing is not None
    assert len(done.chosen.timing.processes_ns) == 4
    assert done.chosen.timing.noise_floor_pct == pytest.approx(20, abs=0.1)
    assert device_ms(tiny, done.manifest.choices) * 1.1 <= budget * 1.001
    assert any("with a second look, over the budget" in note for note in notes)
    refused = next(one for one in done.attempts if not one.meets)
    assert device_ms(tiny, refused.choice.choices) <= budget, "it met the budget at first"


def test_a_device_that_never_holds_is_an_error(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.deploy.search.time_engine", Wandering(9.0))
    with pytest.raises(BudgetError, match=r"no engine met .* in \d tries: the fastest one measured"):
        deploy(task(tiny, tmp_path, middle_ms(tiny)), tmp_path / "engine", tries=4)
    assert not (tmp_path / "engine").exists()


def test_the_floor_covers_all_the_time_and_verify_grants_it(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.deploy.search.time_engine", Wandering(1.06))
    done = deploy(task(tiny, tmp_path, middle_ms(tiny)), tmp_path / "engine")
    assert done.chosen.timing is not None
    floor_pct = done.chosen.timing.noise_floor_pct
    assert floor_pct == pytest.approx(6, abs=0.1)
    _, found = verify(tmp_path / "engine")
    assert found.promised_noise_pct == found.noise_pct == pytest.approx(floor_pct)
    limit = (found.budget_ms or 0) / device_ms(tiny, done.manifest.choices)
    for factor, meets in ((limit * 1.055, True), (limit * 1.065, False)):
        monkeypatch.setattr("ponas_deploy.engines.time_engine", spread([factor]))
        assert verify(tmp_path / "engine")[1].meets_budget is meets


def test_verify_looks_twice_before_it_says_no(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(task(tiny, tmp_path, middle_ms(tiny)), tmp_path / "engine")
    slow = iter((spread([1.5]), spread([0.5])))
    monkeypatch.setattr("ponas_deploy.engines.time_engine", lambda *given: next(slow)(*given))
    _, found = verify(tmp_path / "engine")
    assert found.timing is not None
    assert (len(found.timing.processes_ns), found.meets_budget) == (4, True)
    assert next(slow, None) is None


def test_finished_weights_get_a_second_look_too(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = WeightsSource("trained", random_weights, finish=lambda a: random_weights(a, seed=7))
    given = task(tiny, tmp_path, middle_ms(tiny), weights=finish)
    done = deploy(given, tmp_path / "engine")
    assert [len(one.timing.processes_ns) for one in done.attempts if one.timing] == [2, 4]
    monkeypatch.setattr("ponas_deploy.deploy.search.time_engine", Wandering(9.0))
    with pytest.raises(MeasurementError, match=r"other-weights\.safetensors"):
        deploy(given, tmp_path / "other")


def test_two_measurements_are_one() -> None:
    first, later = EngineTiming(((10, 20, 30),), (5.0,)), EngineTiming(((40, 50, 60),), (25.5,))
    both = first.with_later(later)
    assert both == EngineTiming(((10, 20, 30), (40, 50, 60)), (5.0, 25.5))
    assert (both.span_s, both.runs, both.percentile_ms(50)) == (20.5, 6, pytest.approx(35e-6))
    assert both.noise_floor_pct == pytest.approx(150)
    assert both.noise_pct(99) == pytest.approx(100 * (59.8 / 29.8 - 1))
    assert EngineTiming(((1,),)).with_later(later).started_s == ()


# Tables that are not to be trusted


def hopeless(stored: StoredTable) -> StoredTable:
    return with_certificate(stored, kendall_tau=0.2)


def test_a_hopeless_table_is_measured_with_a_warning_and_promises_nothing(
    tiny: Space, tmp_path: Path
) -> None:
    given, notes = task(tiny, tmp_path, 1e3, hopeless(tables(tiny, tmp_path))), list[str]()
    done = deploy(given, tmp_path / "engine", on_note=notes.append)
    (warning,) = done.manifest.warnings
    assert warning == notes[0]
    assert "rank correlation 0.20" in warning
    assert read_manifest(tmp_path / "engine").warnings == (warning,)
    assert "rank correlation 0.20" in shown(deployment_report(done))
    with pytest.raises(MeasurementError, match="No engine is promised by such a table"):
        emit_portable(given, tmp_path / "other")


def test_a_hopeless_table_is_left_out_beside_a_sound_one(tiny: Space, tmp_path: Path) -> None:
    """The hopeless one is of a faster precision, and would win."""
    sound = with_certificate(tables(tiny, tmp_path))
    fast = hopeless(tables(tiny, tmp_path, precision="bf16"))
    done = deploy(task(tiny, tmp_path, middle_ms(tiny), sound, fast), tmp_path / "engine")
    assert done.manifest.conditions.precision == "fp32"
    assert "It is left out." in done.manifest.warnings[0]


def test_a_table_without_a_certificate_is_said_so(tiny: Space, tmp_path: Path) -> None:
    done = deploy(task(tiny, tmp_path, 1e3), tmp_path / "engine")
    absent, margins = done.manifest.warnings
    assert "certificate: is absent" in absent
    assert margins.endswith("no margin can be taken: chosen with the whole budget.")
    assert dict(done.manifest.predicted)["margin"] is None


def test_a_table_is_a_value(tiny: Space, tmp_path: Path) -> None:
    stored = with_certificate(tables(tiny, tmp_path))
    given = Task((stored,), accuracy(tiny, tmp_path), Budget(1.0), tiny, task(tiny, tmp_path, 1.0).weights)
    assert given.trusting(promise=False) == given
    assert isinstance(stored.table, LatencyTable)
    assert np.isfinite(margin(stored.table).factor)  # type: ignore[union-attr]
