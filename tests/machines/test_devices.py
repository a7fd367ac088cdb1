"""What a machine says about itself, read from made-up files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ponas_deploy.machines.cgroup import free_memory_bytes, held_by_quota_s, quota_cores
from ponas_deploy.machines.conditions import read_conditions, what_to_lock
from ponas_deploy.machines.counters import read_counters
from ponas_deploy.machines.devfreq import GpuClock, read_gpu_clock
from ponas_deploy.machines.machine import (
    Machine,
    describe_machine,
    memory_mib,
    power_mode,
    processor_name,
    this_machine,
)


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("processor", "name"),
    [
        ("AMD EPYC", "amd-epyc-2c"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "intel-xeon-2c"),
        ("AMD Ryzen 7 5800X 8-Core Processor", "amd-ryzen-7-5800x-2c"),
        ("11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", "11th-gen-intel-core-i7-1165g7-2c"),
        ("Raspberry Pi 4 Model B Rev 1.4", "raspberry-pi-4-model-b-rev-1-4-2c"),
        ("", "aarch64-2c"),
    ],
)
def test_the_name_of_a_machine(processor: str, name: str) -> None:
    machine = Machine(processor, "aarch64", 2, None, 4096, "Linux 6.1", "3.11.7")
    assert machine.name == name


def test_a_board_without_a_model_name_is_named_by_its_device_tree(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 108.00\n")
    write(tmp_path, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    assert processor_name(tmp_path) == "NVIDIA Jetson Orin Nano Developer Kit"
    write(tmp_path, "proc/cpuinfo", "model name\t: AMD EPYC\nmodel name\t: AMD EPYC\n")
    assert processor_name(tmp_path) == "AMD EPYC"


X86 = "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nflags\t\t: sse4_2 smep sme avx2 fma bf16\n"
ARM = "Features\t: fp asimd asimddp sve smei16i64\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n"


@pytest.mark.parametrize(
    ("cpuinfo", "model", "sets"),
    [
        (X86, "family 25 model 1", ("avx2", "fma", "sse4_2")),
        (ARM, "implementer 0x41 part 0xd42", ("asimd", "asimddp", "smei16i64", "sve")),
        ("processor\t: 0\nmodel name\t: A processor\nflags\t\t:\nbugs\t\t: spectre\n", "", ()),
        ("", "", ()),
    ],
)
def test_processors_of_one_name_are_told_apart(
    tmp_path: Path, cpuinfo: str, model: str, sets: tuple[str, ...]
) -> None:
    write(tmp_path, "proc/cpuinfo", f"processor\t: 0\n{cpuinfo}\nprocessor\t: 1\n{cpuinfo}")
    machine = describe_machine(tmp_path)
    assert (machine.model, machine.instruction_sets) == (model, sets)
    said = dict(machine.environment())
    assert said.get("processor_model", "") == model
    assert said.get("instruction_sets", "") == " ".join(sets)


def test_the_quota_of_a_container(tmp_path: Path) -> None:
    assert quota_cores(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert quota_cores(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert quota_cores(tmp_path) == 1.5


def test_the_quota_of_an_older_container(tmp_path: Path) -> None:
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert quota_cores(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n")
    assert quota_cores(tmp_path) == 0.5
    assert describe_machine(tmp_path).cores == 1


def test_conditions_are_read_where_they_can_be(tmp_path: Path) -> None:
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1479000\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "41500\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "63000\n")
    found = dict(read_conditions(tmp_path).conditions())
    assert found["governor"] == "performance"
    assert found["frequency_mhz"] == "1479"
    assert found["temperature_c"] == "63"


def test_governors_of_big_and_little_cores_are_all_told(tmp_path: Path) -> None:
    for policy, governor in ((0, "schedutil"), (4, "performance"), (7, "performance")):
        write(tmp_path, f"sys/devices/system/cpu/cpufreq/policy{policy}/scaling_governor", f"{governor}\n")
    found = dict(read_conditions(tmp_path).conditions())
    assert found["governor"] == "performance, schedutil"
    (text,) = what_to_lock(found)
    assert text.startswith(
        "the cores' governors differ (performance, schedutil), so that the clock of some follows the load: `"
    )


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    assert set(dict(read_conditions(tmp_path).conditions())) <= {"load", "affinity"}
    assert power_mode(tmp_path) == ""
    blank = read_counters(tmp_path)
    assert (blank.busy_s, blank.stolen_s, blank.quota_s, blank.hot) == (0, 0, 0, 0)


def test_the_clock_is_the_fastest_of_the_cores_this_process_may_use(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    clock = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    for core, mhz in zip((*cores, 999), (*range(1000, 1000 + len(cores)), 9000), strict=True):
        write(tmp_path, clock.format(core), f"{mhz}000\n")
    reading = read_conditions(tmp_path)
    assert reading.frequency_mhz == 999 + len(cores)
    assert reading.affinity.startswith(str(cores[0]))


def test_what_a_raspberry_pi_says_holds_it_back(tmp_path: Path) -> None:
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    assert read_conditions(tmp_path).throttle == ("under-voltage", "throttled")
    found = dict(read_conditions(tmp_path).conditions())
    assert found["throttle"] == found["throttled_before"] == "under-voltage, throttled"
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "80000\n")
    assert read_conditions(tmp_path).throttle == ()
    assert read_conditions(tmp_path).throttled_before == ("soft temperature limit",)


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ("echo throttled=0x50000", ("under-voltage", "throttled")),
        ("echo throttled=0x0", ()),
        ("echo VCHI initialization failed", ()),
        ("exit 255", ()),
    ],
)
def test_the_program_of_a_raspberry_pi_is_asked_where_there_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, found: tuple[str, ...]
) -> None:
    write(tmp_path, "bin/vcgencmd", f"#!/bin/sh\n{says}\n")
    (tmp_path / "bin/vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert read_conditions(tmp_path).throttled_before == ()
    write(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert read_conditions(tmp_path).throttled_before == found
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert read_conditions(tmp_path).throttled_before == ()


def jetson(root: Path, now: int, least: int, most: int, governor: str = "nvhost_podgov") -> None:
    """The GPU of an Orin, beside another device whose clock the kernel governs."""
    for folder, name, clocks in (
        ("15340000.vic", "vic", (115200000, 115200000, 729600000)),
        ("17000000.ga10b", "ga10b", (now, least, most)),
    ):
        write(root, f"sys/class/devfreq/{folder}/device/of_node/name", f"{name}\0")
        write(root, f"sys/class/devfreq/{folder}/governor", f"{governor}\n")
        for which, clock in zip(("cur_freq", "min_freq", "max_freq"), clocks, strict=True):
            write(root, f"sys/class/devfreq/{folder}/{which}", f"{clock}\n")


def test_the_gpu_clock_of_a_jetson(tmp_path: Path) -> None:
    assert read_gpu_clock(tmp_path) is None
    jetson(tmp_path, 306000000, 306000000, 1020000000)
    found = read_conditions(tmp_path)
    assert found.gpu_clock == GpuClock(306, 306, 1020, "nvhost_podgov")
    assert not found.gpu_clock.locked
    told = dict(found.conditions())
    assert (told["gpu_clock_mhz"], told["gpu_clocks"]) == ("306", "306-1020 MHz")
    assert told["gpu_governor"] == "nvhost_podgov"
    jetson(tmp_path, 1020000000, 1020000000, 1020000000)
    assert dict(read_conditions(tmp_path).conditions())["gpu_clocks"] == "1020 MHz"
    write(tmp_path, "sys/class/devfreq/17000000.ga10b/cur_freq", "unknown\n")
    assert read_gpu_clock(tmp_path) is None


TRANSITIONS = """     From  :   To
           : 306000000 612000000 1020000000   time(ms)
  306000000:         0         3          9     {}
  612000000:         2         0          4     {}
*1020000000:        10         3          0     {}
Total transition : 31
"""


def test_the_mean_clock_between_two_readings(tmp_path: Path) -> None:
    """The kernel counts the time at each clock (drivers/devfreq/devfreq.c, trans_stat_show)."""
    jetson(tmp_path, 1020000000, 306000000, 1020000000)
    table = tmp_path / "sys/class/devfreq/17000000.ga10b/trans_stat"
    found = []
    for spent_ms in ((5000, 100, 300), (5000, 600, 1800), (5000, 600, 1800)):
        table.write_text(TRANSITIONS.format(*spent_ms), encoding="utf-8")
        found.append(read_gpu_clock(tmp_path))
    first, second, third = found
    assert first.spent_ms == ((306, 5000), (612, 100), (1020, 300))
    assert second.mean_since(first) == pytest.approx((612 * 500 + 1020 * 1500) / 2000)
    assert third.mean_since(second) is None, "no time has passed"
    table.write_text("Not Supported.\n", encoding="utf-8")
    assert read_gpu_clock(tmp_path).mean_since(third) is None
    assert second.mean_since(read_gpu_clock(tmp_path)) is None


def test_a_sensor_that_always_says_100_degrees_is_no_heat(tmp_path: Path) -> None:
    for number, (kind, temp) in enumerate(
        (("PMIC-Die", 100000), ("tj-thermal", 48500), ("CPU-therm", 47000))
    ):
        write(tmp_path, f"sys/class/thermal/thermal_zone{number}/type", f"{kind}\n")
        write(tmp_path, f"sys/class/thermal/thermal_zone{number}/temp", f"{temp}\n")
    assert read_conditions(tmp_path).temperature_c == 48.5


def test_what_follows_the_load_is_said_with_the_command_that_ends_it() -> None:
    free = {"gpu_clocks": "306-1020 MHz", "gpu_governor": "nvhost_podgov", "governor": "schedutil"}
    mode = "nvpmodel 1 (25W)"
    gpu, cpu = what_to_lock(free, mode)
    assert gpu == (
        "the GPU's clock is not locked (306-1020 MHz, governor nvhost_podgov), so that latencies follow the"
        " load: `sudo jetson_clocks` there locks it, at the highest clock of power mode nvpmodel 1 (25W)."
    )
    assert cpu.startswith(
        "the governor is schedutil, so that the clock follows the load: `sudo jetson_clocks`"
    )
    assert what_to_lock({"gpu_clocks": "1020 MHz", "governor": "performance"}, mode) == ()
    (pi,) = what_to_lock({"governor": "ondemand"})
    assert "`sudo cpupower frequency-set -g performance` there ends that" in pi
    assert what_to_lock({}) == ()
    (hidden,) = what_to_lock(free, where="", gpu_only=True)
    assert hidden.endswith("`sudo jetson_clocks` locks it, at the highest clock of the power mode.")


def test_the_power_mode(tmp_path: Path) -> None:
    write(tmp_path, "sys/firmware/acpi/platform_profile", "balanced\n")
    assert power_mode(tmp_path) == "balanced"
    write(tmp_path, "var/lib/nvpmodel/status", "pmode:0002 fmode:quiet\n")
    assert power_mode(tmp_path) == "nvpmodel 2"
    models = "< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=15W >\n"
    write(tmp_path, "etc/nvpmodel.conf", models)
    assert power_mode(tmp_path) == "nvpmodel 2 (15W)"
    assert ("power_mode", "nvpmodel 2 (15W)") in describe_machine(tmp_path).environment()


def test_what_was_counted(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    lines = [f"cpu{core} 100 20 30 5000 9 1 2 40 7 0" for core in (*cores, 999)]
    write(tmp_path, "proc/stat", "\n".join(["cpu  9 9 9 9 9 9 9 9 9 9", *lines, "intr 5"]))
    write(tmp_path, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "3\n")
    write(tmp_path, "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "4\n")
    counted, a_second = read_counters(tmp_path), os.sysconf("SC_CLK_TCK")
    assert counted.cores == len(cores)
    assert counted.busy_s == pytest.approx(len(cores) * 153 / a_second), "waiting and idling are no work"
    assert counted.stolen_s == pytest.approx(len(cores) * 40 / a_second)
    assert counted.hot == 7


def test_time_goes_on_in_the_real_counters() -> None:
    before = read_counters()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    after = read_counters()
    assert after.own_s - before.own_s >= 0.3
    assert after.busy_s - before.busy_s >= 0.2, "what this process did is part of it"
    assert after.at_s > before.at_s


GROUPS = "0::/user.slice/ponas\n", "5:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n"
NEW, OLD = "sys/fs/cgroup/user.slice/ponas", "sys/fs/cgroup/cpu/docker/1"


@pytest.mark.parametrize(
    ("group", "files", "quota", "held_s"),
    [
        (
            GROUPS[0],
            {f"{NEW}/cpu.max": "50000 100000", f"{NEW}/cpu.stat": "throttled_usec 2500000"},
            0.5,
            2.5,
        ),
        (
            GROUPS[1],
            {
                f"{OLD}/cpu.cfs_quota_us": "150000",
                f"{OLD}/cpu.cfs_period_us": "100000",
                f"{OLD}/cpu.stat": "nr_throttled 7\nthrottled_time 1500000000",
            },
            1.5,
            1.5,
        ),
        (GROUPS[0], {}, None, 0.0),
    ],
    ids=["version 2", "version 1", "none"],
)
def test_the_quota_of_this_process_and_what_it_held_up(
    tmp_path: Path, group: str, files: dict[str, str], quota: float | None, held_s: float
) -> None:
    write(tmp_path, "proc/self/cgroup", group)
    for name, text in files.items():
        write(tmp_path, name, f"{text}\n")
    assert (quota_cores(tmp_path), held_by_quota_s(tmp_path)) == (quota, held_s)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        (GROUPS[0], ("user.slice/ponas/memory.max", "user.slice/ponas/memory.current", "inactive_file")),
        (
            GROUPS[1],
            (
                "memory/docker/1/memory.limit_in_bytes",
                "memory/docker/1/memory.usage_in_bytes",
                "total_inactive_file",
            ),
        ),
    ],
)
def test_memory_is_what_the_container_may_still_take(
    tmp_path: Path, group: str, names: tuple[str, str, str]
) -> None:
    assert free_memory_bytes(tmp_path) is None
    limit, used, files_at_hand = names
    write(tmp_path, "proc/self/cgroup", group)
    write(tmp_path, f"sys/fs/cgroup/{limit}", "1000000\n")
    write(tmp_path, f"sys/fs/cgroup/{used}", "700000\n")
    stat = (tmp_path / "sys/fs/cgroup" / limit).with_name("memory.stat")
    stat.write_text(f"inactive_file 100\n{files_at_hand} 200000\n")
    assert free_memory_bytes(tmp_path) == 500_000
    write(tmp_path, f"sys/fs/cgroup/{limit}", "max\n")
    assert free_memory_bytes(tmp_path) is None


def test_this_machine() -> None:
    machine = this_machine()
    assert machine is this_machine()
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.name.endswith(f"-{machine.cores}c")
    assert 0 < memory_mib("available") < memory_mib("total") == machine.memory_mib
    environment = dict(machine.environment())
    assert environment["processor"] == machine.processor
    assert all(value for value in environment.values())
