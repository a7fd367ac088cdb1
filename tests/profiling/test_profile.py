"""A whole profile: on the fake device for what must come out, on the real runtimes that it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ponas_deploy.profiling.bench as module
from ponas_deploy.backends import RunSettings
from ponas_deploy.backends.fake import FakeBackend, FakeDevice, FakeSession
from ponas_deploy.errors import BackendError, MeasurementError, TableMismatchError, UnknownNameError
from ponas_deploy.fitting.correction import LEAST_CHECK, LEAST_FIT
from ponas_deploy.machines.conditions import Reading
from ponas_deploy.machines.devfreq import GpuClock
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling import bench
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.progress import ProfilingProgress
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measured_how import LaunchSummary
from ponas_deploy.tables.quality import quality_findings
from searchspace import Architecture, Space, build_space
from searchspace.space import Layer

ROOT = Path(__file__).resolve().parents[2]
QUICK = Plan(max_rounds=10, pause_s=0.0, retakes=0, redone_pct=0)
REAL = Plan(sample_ns=50_000, min_rounds=8, floor_rounds=8, max_rounds=8)


def profiled(space: Space, fake: FakeDevice | None = None, **more: object) -> LatencyTable:
    options: dict[str, object] = {"plan": QUICK, **more}
    return profile(space, FakeBackend(fake or FakeDevice()), **options)  # type: ignore[arg-type]


def test_an_additive_device_is_certified_without_error(tiny: Space) -> None:
    table = profiled(tiny)
    proof = table.certificate
    assert proof is not None
    assert table.correction is not None
    assert len(table.correction.networks) >= LEAST_FIT
    assert len(proof.networks) >= LEAST_CHECK
    assert proof.worst_error_pct < 0.01
    assert proof.noise_floor_pct < 0.01
    assert proof.kendall_tau > 0.99
    fitted = {net.choices for net in table.correction.networks}
    assert fitted.isdisjoint(net.choices for net in proof.networks)


def test_the_table_predicts_what_the_device_takes(tiny: Space) -> None:
    backend, table = FakeBackend(), profiled(tiny)
    for indices in ((0, 0, 0), (3, 3, 3), (1, 2, 3)):
        architecture = Architecture.from_indices(tiny, indices)
        with backend.load(network_bytes(architecture, 1), RunSettings()) as session:
            assert table.predict_ms(architecture.choices) == pytest.approx(session.true_ns / 1e6, rel=1e-3)


def test_everything_a_table_needs_is_in_it_and_survives_a_file(tiny: Space, tmp_path: Path) -> None:
    table = profiled(tiny, device="bench")
    assert table.space == SpaceKey.of(tiny)
    assert table.conditions is not None
    assert table.conditions.text == "bench, fake fp32, 1 thread, batch 1"
    assert table.grid.layers == ("1", "2", "3")
    assert table.grid.candidates == tiny.labels
    assert table.isolated is not None
    keys = [key for key, _ in table.measurements]
    assert keys[:2] == ["stem", "head"]
    assert len(keys) == 2 + 8, "layers 2 and 3 are of one shape and were measured once"
    assert table.isolated.values[1] == table.isolated.values[2]
    assert {"processor", "runtime", "python"} <= dict(table.environment).keys()
    assert table.protocol.rounds
    assert (table.protocol.stopped_by, table.protocol.seed) == ("rounds", 0)
    assert table.protocol.plan == QUICK.numbers()
    for row, intervals in zip(table.grid.values, table.intervals_ms, strict=True):
        assert all(
            low <= value * 1.001 and value <= high * 1.001
            for value, (low, high) in zip(row, intervals, strict=True)
        )
    write_latency_table(table, tmp_path / "table.json")
    again = load_latency_table(tmp_path / "table.json")
    assert again.grid == table.grid
    assert again.certificate is not None
    assert again.certificate.networks[0].choices == table.certificate.networks[0].choices  # type: ignore[union-attr]


def test_a_device_that_does_not_add_up_says_so_in_its_certificate(tiny: Space) -> None:
    proof = profiled(tiny, FakeDevice(interference_pct=30)).certificate
    assert proof is not None
    assert proof.mean_error_pct > 3
    assert proof.mean_error_pct > 10 * proof.noise_floor_pct


def test_blocks_of_a_space_with_one_network_are_scaled_to_it_and_nothing_is_certified(tmp_path: Path) -> None:
    space, device = build_space("MobileNetV3-Small", 32, 10), FakeDevice(interference_pct=30)
    journal = tmp_path / "profile.journal"
    profiled(space, device, device="d", journal=journal, time_budget_s=0.0)
    table = profiled(space, device, device="d", journal=journal)
    assert table.correction is not None
    assert table.isolated is not None
    (network,) = table.correction.networks
    assert network.choices == tuple(label for (label,) in space.labels)
    assert table.predict_ms(network.choices) == pytest.approx(network.measured_ms)
    ((name, factor),) = table.correction.parameters
    assert (table.correction.method, name) == ("scale", "slope")
    assert table.grid == table.isolated.scaled(factor)
    assert table.certificate is None
    write_latency_table(table, tmp_path / "table.json")
    again = load_latency_table(tmp_path / "table.json")
    assert (again.correction and again.correction.method, again.certificate) == ("scale", None)
    notes = [one.message for one in quality_findings(again) if one.severity == "note"]
    assert notes == ["is absent: its space has one network, which the values add up to."]


def test_noise_is_in_the_noise_floor(tiny: Space) -> None:
    table = profiled(tiny, FakeDevice(noise_pct=20))
    assert table.certificate is not None
    assert table.certificate.noise_floor_pct > 0.5
    assert table.unsettled


@pytest.mark.parametrize("batch", [1, 4])
def test_batch_and_precision_and_threads_are_those_asked_for(tiny: Space, batch: int) -> None:
    table = profiled(tiny, settings=RunSettings("bf16", 2), batch=batch)
    assert table.conditions is not None
    assert (table.conditions.precision, table.conditions.threads, table.conditions.batch) == (
        "bf16",
        2,
        batch,
    )


def test_more_images_cost_more(tiny: Space) -> None:
    one, four = (profiled(tiny, batch=batch).grid for batch in (1, 4))
    assert np.all(np.array(four.values) > np.array(one.values))


def test_progress_ascends_and_ends(tiny: Space) -> None:
    seen: list[ProfilingProgress] = []
    profiled(tiny, on_progress=seen.append, time_budget_s=50)
    assert {progress.stage for progress in seen} == {"build", "measure", "fit"}
    assert all(0 <= progress.done <= progress.total for progress in seen)
    assert all(0 <= progress.seconds_left <= 50 for progress in seen)
    assert seen[0].seconds_left > 0, "a time is named before the first block is built"
    assert (seen[-1].stage, seen[-1].done, seen[-1].total, seen[-1].seconds_left) == ("fit", 1, 1, 0.0)


def test_without_time_it_does_the_least_that_a_certificate_needs(tiny: Space) -> None:
    table = profiled(tiny, time_budget_s=0.0)
    assert table.certificate is not None
    assert len(table.certificate.networks) == LEAST_CHECK
    assert table.protocol.rounds == (QUICK.floor_rounds,)
    assert table.protocol.stopped_by == "time"


def test_networks_that_do_not_fit_in_memory_are_measured_in_waves(
    tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "memory_mib", lambda kind: 1)
    table = profiled(tiny, time_budget_s=0.0)
    assert table.certificate is not None
    assert table.certificate.worst_error_pct < 0.01
    assert len(table.protocol.rounds) >= 2


def test_a_space_with_too_few_networks_is_refused(tiny: Space) -> None:
    small = replace(
        tiny, layers=(Layer("1", tiny.layers[0].candidates), Layer("2", tiny.layers[1].candidates))
    )
    with pytest.raises(MeasurementError, match="too few networks"):
        profiled(small)


def test_what_does_not_exist_is_named(tiny: Space) -> None:
    with pytest.raises(UnknownNameError, match="known are"):
        profile(tiny, "tflite")
    with pytest.raises(UnknownNameError, match="bf16, fp32"):
        profile(tiny, "fake", RunSettings("int4", 1))
    with pytest.raises(MeasurementError, match="batch 0"):
        profile(tiny, "fake", batch=0)


def test_a_block_that_the_runtime_refuses_is_named(tiny: Space) -> None:
    class Picky(FakeBackend):
        def load(self, model: bytes, settings: RunSettings):  # type: ignore[no-untyped-def]
            if b"k5e6se@8x" in model:
                raise BackendError("fake", "no such kernel.")
            return super().load(model, settings)

    with pytest.raises(BackendError, match=r"k5e6se@8x16x16-.* was refused .*no such kernel"):
        profile(tiny, Picky(), plan=QUICK)


# --- interrupted


_SLOW_PROFILE = """
    import sys, time
    from pathlib import Path
    sys.path[:0] = [{root!r}, {tests!r}]
    from conftest import tiny_space
    from ponas_deploy.backends.fake import FakeBackend
    from ponas_deploy.measuring.protocol import Plan
    from ponas_deploy.profiling.profile import profile
    plan = Plan(max_rounds=10, pause_s=0.0, retakes=0, redone_pct=0)
    profile(tiny_space(), FakeBackend(), plan=plan, device="d", journal=Path({journal!r}),
            on_progress=lambda progress: time.sleep(0.05 if progress.stage == "measure" else 0))
"""


def killed_in_the_middle(journal: Path) -> None:
    """Start a profile in another process and kill it when some rounds are in the journal."""
    script = _SLOW_PROFILE.format(root=str(ROOT), tests=str(ROOT / "tests"), journal=str(journal))
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)]) as process:
        deadline = time.monotonic() + 60
        while not (journal.exists() and b'"round": 3' in journal.read_bytes()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def test_a_killed_profile_goes_on_where_it_was(tiny: Space, tmp_path: Path) -> None:
    journal = tmp_path / "profile.journal"
    killed_in_the_middle(journal)
    before = journal.read_bytes()
    resumed = profiled(tiny, device="d", journal=journal)
    assert journal.read_bytes().startswith(before[: before.rindex(b"\n") + 1]), "nothing was measured twice"
    through = profiled(tiny, device="d")
    assert resumed.grid == through.grid
    assert resumed.certificate == through.certificate
    assert resumed.measurements == through.measurements
    assert "continuing" in resumed.protocol.journal
    keys = [
        (entry["key"], entry["round"])
        for entry in map(json.loads, journal.read_text(encoding="utf-8").splitlines())
        if "round" in entry
    ]
    assert len(keys) == len(set(keys))


def test_a_journal_cut_in_mid_line_loses_only_that_line(tiny: Space, tmp_path: Path) -> None:
    journal = tmp_path / "profile.journal"
    through = profiled(tiny, device="d", journal=journal)
    data = journal.read_bytes()
    for share in (0.3, 0.6, 0.99):
        journal.write_bytes(data[: int(share * len(data))])
        assert profiled(tiny, device="d", journal=journal).grid == through.grid


def test_a_journal_of_other_conditions_is_not_mixed_in(tiny: Space, tmp_path: Path) -> None:
    journal = tmp_path / "profile.journal"
    profiled(tiny, device="d", journal=journal)
    first = journal.read_bytes()
    table = profiled(tiny, FakeDevice(node_ns=9_000), device="d", journal=journal)
    assert "environment fake_device" in table.protocol.journal
    assert journal.with_name("profile.journal.old-1").read_bytes() == first
    assert table.grid == profiled(tiny, FakeDevice(node_ns=9_000), device="d").grid


@pytest.mark.parametrize(
    ("then", "now", "what"),
    [
        (Reading(governor="ondemand"), Reading(governor="powersave"), "governor ondemand there, powersave"),
        (
            Reading(gpu_clock=GpuClock(306, 1020, 1020)),
            Reading(gpu_clock=GpuClock(306, 306, 1020)),
            "gpu_clocks 1020 MHz there, 306-1020 MHz",
        ),
    ],
    ids=["governor", "GPU clocks"],
)
def test_a_journal_of_other_clocks_is_not_mixed_in(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: Reading, now: Reading, what: str
) -> None:
    journal = tmp_path / "profile.journal"
    monkeypatch.setattr(bench, "read_conditions", lambda: then)
    short = profiled(tiny, device="d", journal=journal, time_budget_s=0.0)
    assert "continuing" in profiled(tiny, device="d", journal=journal, time_budget_s=0.0).protocol.journal
    first = journal.read_bytes()
    monkeypatch.setattr(bench, "read_conditions", lambda: now)
    table = profiled(tiny, device="d", journal=journal)
    assert f"(clocks {what} here)" in table.protocol.journal
    assert journal.with_name("profile.journal.old-1").read_bytes() == first
    with pytest.raises(TableMismatchError, match=f"clocks {what} here"):
        profiled(tiny, device="d", journal=tmp_path / "another", further=short)


def test_a_journal_that_says_nothing_of_clocks_is_gone_on_with(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "profile.journal"
    through = profiled(tiny, device="d", journal=journal)
    header, _, rest = journal.read_text(encoding="utf-8").partition("\n")
    older = {key: value for key, value in json.loads(header).items() if key != "clocks"}
    journal.write_text(f"{json.dumps(older)}\n{rest}", encoding="utf-8")
    monkeypatch.setattr(bench, "read_conditions", lambda: Reading(governor="powersave"))
    resumed = profiled(tiny, device="d", journal=journal)
    assert "continuing" in resumed.protocol.journal
    assert resumed.measurements == through.measurements


def test_launches_are_counted_where_a_runtime_launches(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    assert profiled(tiny).protocol.launches is None
    monkeypatch.setattr(FakeSession, "launch_ns", 10_000_000, raising=False)
    assert profiled(tiny).protocol.launches == LaunchSummary(10_000.0, 10, 10)


# --- measured further


def test_more_time_adds_rounds_to_the_same_table(tiny: Space, tmp_path: Path) -> None:
    short = profiled(tiny, device="d", time_budget_s=0.0)
    write_latency_table(short, tmp_path / "table.json")
    stored = load_latency_table(tmp_path / "table.json")
    longer = profiled(tiny, device="d", journal=tmp_path / "journal", further=stored)
    assert (short.protocol.rounds, longer.protocol.rounds) == ((5,), (10,))
    for (key, before), (same, after) in zip(short.measurements, longer.measurements, strict=True):
        assert (key, before.runs) == (same, after.runs)
        assert after.rounds_ns[:5] == tuple(map(round, before.rounds_ns)), "those from before are kept"
        assert len(after.rounds_ns) == 10
    assert short.certificate is not None
    assert longer.certificate is not None
    checked = [net.choices for net in longer.certificate.networks]
    assert len(checked) > len(short.certificate.networks), "and networks, where there is time for more"
    assert {net.choices for net in short.certificate.networks} <= {*checked}
    assert longer.correction is not None
    assert {net.choices for net in longer.correction.networks}.isdisjoint(checked)
    assert {len(net.measurement.rounds_ns) for net in longer.certificate.networks} == {10}
    assert longer.protocol.interference is not None
    assert longer.protocol.interference.kept_rounds == 15, "5 before, 5 of new networks, 5 of all"
    assert [one.number for one in stored.rounds] == [0, 1, 2, 3, 4]
    assert longer.rounds[:5] == stored.rounds, "with the conditions of each"
    assert len(longer.rounds) == 15


def test_what_was_measured_otherwise_is_not_added_to(tiny: Space, tmp_path: Path) -> None:
    short, journal = profiled(tiny, device="d", time_budget_s=0.0), tmp_path / "journal"
    other = FakeDevice(node_ns=9_000)
    with pytest.raises(
        TableMismatchError, match=r"environment fake_device .* there, .* here\): measure it again"
    ):
        profiled(tiny, other, device="d", journal=journal, further=short)
    with pytest.raises(TableMismatchError, match="protocol seed 0 there, 7 here"):
        profiled(tiny, device="d", journal=journal, further=short, seed=7)
    bare = replace(short, certificate=None)
    with pytest.raises(TableMismatchError, match="does not hold how it was measured"):
        profiled(tiny, device="d", journal=journal, further=bare)
    with pytest.raises(MeasurementError, match="by way of a journal"):
        profiled(tiny, device="d", further=short)
    assert not journal.exists()


# --- the real runtimes


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_short_profile_on_a_real_runtime(tiny: Space, backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    journal = tmp_path / "profile.journal"
    table = profile(tiny, backend, time_budget_s=0.0, plan=REAL, journal=journal)
    proof = table.certificate
    assert proof is not None
    assert min(min(row) for row in table.grid.values) > 0
    assert table.grid.fixed >= 0
    assert all(np.isfinite(net.measured_ms) and net.measured_ms > 0 for net in proof.networks)
    assert backend in dict(table.environment)["runtime"]
    again = profile(tiny, backend, time_budget_s=0.0, plan=REAL, journal=journal)
    assert again.measurements == table.measurements, "a finished journal needs no new measurement"
