"""The check of a machine on recorded readings, what it reads on made-up files, and one real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from conftest import tiny_space
from ponas_deploy.boards.book import Entry
from ponas_deploy.checks.machine import (
    MachineCheck,
    check_machine,
    doctor_document,
    examine,
    runtimes_installed,
)
from ponas_deploy.checks.noise_floor import NoiseFloor, measure_noise_floor
from ponas_deploy.commands import app
from ponas_deploy.commands.reports.doctor import doctor_report
from ponas_deploy.engines import timing
from ponas_deploy.errors import MeasurementError, PonasError
from ponas_deploy.files.documents import encoded
from ponas_deploy.files.findings import Finding
from ponas_deploy.files.lock import machine_to_oneself
from ponas_deploy.machines.conditions import Reading
from ponas_deploy.machines.devfreq import GpuClock
from ponas_deploy.machines.machine import Machine, this_machine
from ponas_deploy.measuring import machine_readings
from ponas_deploy.measuring.interference import Round
from ponas_deploy.measuring.machine_readings import Busy, MachineReadings
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.devices import Runtime
from ponas_deploy.tables import store
from rendered import shown

MACHINE = Machine("AMD EPYC", "x86_64", 2, None, 8000, "Linux 6.1", "3.11.7")
QUIET = MachineReadings(
    machine=MACHINE,
    reading=Reading(load=0.1, governor="performance", temperature_c=45.0, affinity="0-1"),
    governors=("performance",),
    turbo=False,
    passive_c=95.0,
    available_mib=6000,
)
RUNTIMES = (Runtime("onnxruntime", ("fp32",)), Runtime("openvino", ("fp32", "bf16")))
STEADY = NoiseFloor("onnxruntime", 0.4, 1.0, 0.6, 1.1, 3.0)


def found(about: str, **changes: object) -> Finding:
    """What is said of one thing when the readings of a quiet machine are changed."""
    everything = examine(replace(QUIET, **changes), STEADY, RUNTIMES)  # type: ignore[arg-type]
    (finding,) = [one for one in everything if one.about == about]
    return finding


def overall(findings: tuple[Finding, ...], measured: NoiseFloor | None = STEADY) -> str:
    """The severity of the whole machine."""
    return MachineCheck(QUIET, measured, findings).severity


def test_a_quiet_machine_has_nothing_wrong() -> None:
    everything = examine(QUIET, STEADY, RUNTIMES)
    assert {finding.severity for finding in everything} == {"ok"}
    assert not any(finding.advice for finding in everything)
    assert overall(everything) == "ok"
    assert len({finding.about for finding in everything}) == len(everything)


@pytest.mark.parametrize(
    ("about", "changes", "severity", "message", "advice"),
    [
        (
            "other processes",
            {
                "interference": Round(0, others_pct=61.0),
                "busy": (Busy("python", 2, 118), Busy("ffmpeg", 1, 4)),
            },
            "error",
            "61 % of the cores (python x2 118 % of a core, ffmpeg 4 % of a core)",
            "stop them or wait",
        ),
        (
            "other processes",
            {"interference": Round(0, others_pct=9.0)},
            "warning",
            "9 % of the cores",
            "close",
        ),
        ("load", {"reading": Reading(load=3.2)}, "error", "load average 3.2 on 2 cores", "wait"),
        ("load", {"reading": Reading(load=1.4)}, "warning", "load average 1.4", "wait"),
        ("steal", {"interference": Round(0, stolen_pct=8.0)}, "error", "took 8.0 %", "dedicated cores"),
        ("steal", {"interference": Round(0, stolen_pct=1.0)}, "warning", "took 1.0 %", "dedicated cores"),
        ("virtual machine", {"hypervisor": "KVM"}, "warning", "virtual machine (KVM)", "another time"),
        (
            "container quota",
            {"machine": replace(MACHINE, quota_cores=1.5)},
            "warning",
            "1.5 cores' time",
            "--cpuset-cpus",
        ),
        (
            "container quota",
            {"machine": replace(MACHINE, quota_cores=1.5), "interference": Round(0, quota_pct=12.0)},
            "error",
            "held up 12 % of the time",
            "--cpuset-cpus",
        ),
        (
            "throttling",
            {"interference": Round(0, held=("heat", "under-voltage"))},
            "error",
            "under-voltage",
            "cool",
        ),
        ("temperature", {"reading": Reading(temperature_c=90.0)}, "warning", "90 °C", "cool down"),
        ("battery", {"battery_pct": 63.0}, "error", "63 % left", "plug it in"),
        (
            "power mode",
            {"machine": replace(MACHINE, power_mode="nvpmodel 2 (15W)")},
            "warning",
            "nvpmodel 2 (15W)",
            "nvpmodel -m",
        ),
        (
            "power mode",
            {"machine": replace(MACHINE, power_mode="low-power")},
            "warning",
            "low-power",
            "choose",
        ),
        ("governor", {"governors": ("powersave",)}, "warning", "powersave: the clock follows", "cpupower"),
        ("governor", {"governors": ()}, "warning", "cannot be read here", "inside one run"),
        (
            "GPU clock",
            {
                "reading": Reading(gpu_clock=GpuClock(306, 306, 1020, "nvhost_podgov")),
                "machine": replace(MACHINE, power_mode="nvpmodel 0 (MAXN)"),
            },
            "warning",
            "306 MHz now, 306-1020 MHz, governor nvhost_podgov: the clock follows the load",
            "sudo jetson_clocks",
        ),
        (
            "GPU clock",
            {"reading": Reading(gpu_clock=GpuClock(200, 200, 800, "simple_ondemand"))},
            "warning",
            "200-800 MHz, governor simple_ondemand",
            "raise min_freq",
        ),
        ("turbo", {"turbo": True}, "warning", "depends on heat", "switch it off"),
        ("cores", {"siblings": ("0-1",)}, "warning", "share a physical core: 0-1", "physical cores"),
        ("memory", {"available_mib": 300, "swapped_mib": 900}, "error", "900 MiB are swapped out", "close"),
    ],
)
def test_what_disturbs_is_named_with_what_to_do(
    about: str, changes: dict[str, object], severity: str, message: str, advice: str
) -> None:
    finding = found(about, **changes)
    assert finding.severity == severity
    assert message in finding.message
    assert advice in finding.advice


def test_what_is_right_is_not_found_fault_with() -> None:
    for mode in ("nvpmodel 0 (MAXN)", "performance"):
        assert found("power mode", machine=replace(MACHINE, power_mode=mode)).severity == "ok"
    locked = found("GPU clock", reading=Reading(gpu_clock=GpuClock(1020, 1020, 1020)))
    assert (locked.severity, locked.message) == ("ok", "1020 MHz now, locked")
    unknown = examine(replace(QUIET, turbo=None, battery_pct=None, available_mib=None), STEADY, RUNTIMES)
    assert {"turbo", "battery", "memory"}.isdisjoint(finding.about for finding in unknown)


@pytest.mark.parametrize(
    ("rounds_pct", "processes_pct", "severity"),
    [(0.5, 1.9, "ok"), (0.5, 4.0, "warning"), (7.0, 1.0, "error")],
)
def test_the_measured_noise_decides(rounds_pct: float, processes_pct: float, severity: str) -> None:
    steady = replace(STEADY, rounds_pct=rounds_pct, processes_pct=processes_pct)
    busy = replace(QUIET, interference=Round(0, others_pct=90.0))
    everything = examine(busy, steady, RUNTIMES)
    assert everything[0].about == "noise floor"
    assert everything[0].severity == overall(everything, steady) == severity
    assert everything[1].severity == "error", "the worst comes first"
    assert overall(examine(busy, None, RUNTIMES)) == "error"


@pytest.mark.parametrize(("shared_pct", "severity"), [(3.0, ""), (12.0, "warning"), (60.0, "error")])
def test_neighbours_that_no_counter_shows_are_named(shared_pct: float, severity: str) -> None:
    everything = examine(QUIET, replace(STEADY, shared_pct=shared_pct), RUNTIMES)
    said = [one for one in everything if one.about == "neighbours"]
    assert [one.severity for one in said] == ([severity] if severity else [])
    assert all(f"shared the core in {shared_pct:.0f} % of the samples" in one.message for one in said)


def test_the_runtimes_are_counted() -> None:
    assert found("runtimes").message == "onnxruntime (fp32), openvino (fp32, bf16)"
    half = runtimes_installed((RUNTIMES[0], Runtime("openvino", problem="not there")))
    assert half.message == "onnxruntime (fp32); not here: openvino"
    assert runtimes_installed((Runtime("openvino", problem="not there"),)).severity == "error"


def test_the_report_says_what_to_do_below_what_was_found() -> None:
    busy = replace(QUIET, interference=Round(0, others_pct=61.0))
    text = shown(doctor_report(MachineCheck(busy, STEADY, examine(busy, STEADY, RUNTIMES))))
    assert text.startswith(f"{MACHINE.name}: a good place to measure")
    lines = [line.strip() for line in text.splitlines()]
    assert any(line.startswith("error  other processes  other processes used 61 %") for line in lines)
    assert any(line.startswith("-> stop them or wait") for line in lines)


# What is read


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def test_turbo_is_read_from_either_driver(tmp_path: Path) -> None:
    assert machine_readings.turbo(tmp_path) is None
    write(tmp_path, {"sys/devices/system/cpu/cpufreq/boost": "0\n"})
    assert machine_readings.turbo(tmp_path) is False
    write(tmp_path, {"sys/devices/system/cpu/intel_pstate/no_turbo": "0\n"})
    assert machine_readings.turbo(tmp_path) is True


def test_cores_governors_and_siblings_are_those_of_this_process(tmp_path: Path) -> None:
    assert (machine_readings.governors((0, 1), tmp_path), machine_readings.siblings((0, 1), tmp_path)) == (
        (),
        (),
    )
    cpu = "sys/devices/system/cpu/cpu"
    for core, governor, shared in ((0, "performance", "0,4"), (1, "powersave", "1,5"), (2, "ondemand", "2")):
        write(
            tmp_path,
            {
                f"{cpu}{core}/cpufreq/scaling_governor": f"{governor}\n",
                f"{cpu}{core}/topology/thread_siblings_list": f"{shared}\n",
            },
        )
    assert machine_readings.governors((0, 1), tmp_path) == ("performance", "powersave")
    assert machine_readings.siblings((0, 2), tmp_path) == ("0,4",)
    assert machine_readings.siblings((2,), tmp_path) == ()


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({}, ""),
        ({"proc/cpuinfo": "flags\t\t: fpu sse avx\n"}, ""),
        ({"proc/cpuinfo": "flags\t\t: fpu hypervisor avx\n"}, "unknown"),
        (
            {"proc/cpuinfo": "flags : hypervisor\n", "sys/class/dmi/id/sys_vendor": "Amazon EC2\n"},
            "Amazon EC2",
        ),
        ({"sys/hypervisor/type": "xen\n"}, "xen"),
    ],
)
def test_a_guest_is_recognised(tmp_path: Path, files: dict[str, str], name: str) -> None:
    write(tmp_path, files)
    assert machine_readings.hypervisor(tmp_path) == name


def test_the_lowest_temperature_that_slows_down_counts(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone"
    write(
        tmp_path,
        {
            f"{zone}0/trip_point_0_type": "critical\n",
            f"{zone}0/trip_point_0_temp": "105000\n",
            f"{zone}0/trip_point_1_type": "passive\n",
            f"{zone}0/trip_point_1_temp": "95000\n",
            f"{zone}1/trip_point_0_type": "passive\n",
            f"{zone}1/trip_point_0_temp": "88000\n",
        },
    )
    assert machine_readings.passive_c(tmp_path) == 88.0
    assert machine_readings.passive_c(tmp_path / "nothing") is None


def test_this_machine_can_be_read() -> None:
    seen = machine_readings.read_machine(0.05)
    assert seen.machine.memory_mib >= (seen.available_mib or 0) > 0
    assert all(busy.share_pct >= 2 and busy.count >= 1 for busy in seen.busy)
    assert json.loads(json.dumps(encoded(doctor_document(MachineCheck(seen, None, ())))))["readings"][
        "machine"
    ]["processor"]


def test_who_works_is_counted_from_the_systems_files_as_psutil_counts(tmp_path: Path) -> None:
    spinning = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(spinning) as process:
        try:
            while psutil.Process(process.pid).cpu_times().user < 0.2:
                time.sleep(0.02)
            before_s = psutil.Process(process.pid).cpu_times()
            found = {number: (name, seconds) for (number, name), seconds in machine_readings.used_s().items()}
            after_s = psutil.Process(process.pid).cpu_times()
        finally:
            process.kill()
    name, used_s = found[process.pid]
    assert name.startswith("python")
    assert sum(before_s[:2]) - 0.02 <= used_s <= sum(after_s[:2]) + 0.02
    assert os.getpid() not in found
    write(tmp_path, {"proc/self/stat": "", "proc/7/stat": "7 (a (b) 1 2) S " + " ".join(map(str, range(40)))})
    assert machine_readings.used_s(tmp_path) == {(7, "a (b) 1 2"): (10 + 11) / os.sysconf("SC_CLK_TCK")}


@pytest.mark.parametrize(
    ("files", "left_pct"),
    [
        ({"AC/online": "1\n", "BAT0/type": "Battery\n", "BAT0/capacity": "80\n"}, None),
        (
            {
                "AC/online": "0\n",
                "BAT0/type": "Battery\n",
                "BAT0/capacity": "63\n",
                "BAT0/status": "Discharging\n",
            },
            63.0,
        ),
        (
            {
                "mouse/type": "Battery\n",
                "mouse/scope": "Device\n",
                "mouse/capacity": "9\n",
                "mouse/status": "Discharging\n",
            },
            None,
        ),
    ],
)
def test_a_battery_is_read_where_it_is_used(
    tmp_path: Path, files: dict[str, str], left_pct: float | None
) -> None:
    write(tmp_path, {f"sys/class/power_supply/{name}": text for name, text in files.items()})
    assert machine_readings.battery_pct(tmp_path) == left_pct


def test_what_is_swapped_out_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": "SwapTotal:  4194304 kB\nSwapFree:   4092928 kB\n"})
    assert machine_readings.swapped_mib(tmp_path) == 99


# The noise floor


def test_a_device_without_noise_is_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    steady = measure_noise_floor("fake", tiny_space())
    assert steady.rounds_pct == pytest.approx(0, abs=1e-3)
    assert steady.processes_pct == pytest.approx(0, abs=1e-3)
    assert steady.tail == pytest.approx(1, abs=1e-3)
    with (
        machine_to_oneself(store.lock_path(), "a test"),
        pytest.raises(MeasurementError, match="is being measured already"),
    ):
        measure_noise_floor("fake", tiny_space())


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(sample_ns=300_000, min_rounds=4, floor_rounds=4, max_rounds=4, retakes=0, redone_pct=0)
    monkeypatch.setattr("ponas_deploy.checks.noise_floor._PLAN", plan)
    monkeypatch.setattr("ponas_deploy.engines.timing.PROCESSES", 2)


@pytest.mark.usefixtures("few_rounds")
def test_the_command_measures_and_says_one_document() -> None:
    done = CliRunner().invoke(app, ["doctor", "--backend", "onnxruntime", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["noise"]["p50_ms"] > 0
    assert document["checks"][0]["about"] == "noise floor"
    assert document["verdict"] == document["checks"][0]["severity"]
    assert all(check["advice"] or check["severity"] == "ok" for check in document["checks"])
    with machine_to_oneself(store.lock_path(), "a test"):
        busy = CliRunner().invoke(app, ["doctor"])
    assert busy.exit_code == 0
    assert "the noise floor is not measured: this machine is being measured already" in busy.stderr
    assert "place to measure" in busy.stdout
    assert CliRunner().invoke(app, ["doctor", "--backend", "tvm"]).exit_code == 1


@pytest.mark.usefixtures("few_rounds")
def test_a_board_reads_itself_and_its_own_noise(board: Entry) -> None:
    pytest.importorskip("onnxruntime")
    found = check_machine("onnxruntime", board.name)
    assert shown(doctor_report(found)).startswith(f"{board.name}: ")
    assert doctor_document(found).machine == board.name
    assert found.readings.machine.processor == this_machine().processor
    assert found.readings.available_mib
    assert found.noise_floor is not None
    assert found.noise_floor.rounds_pct >= 0
    assert found.noise_floor.p50_ms > 0
    (runtimes,) = [one for one in found.findings if one.about == "runtimes"]
    assert runtimes.message.startswith("onnxruntime (fp32")
    with pytest.raises(PonasError, match=r"'nowhere' is not this machine: `ponas devices add nowhere"):
        check_machine(device="nowhere")
