"""What a machine says about itself, read from made-up files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ponas_deploy.devices import (
    Machine,
    describe_machine,
    memory_mib,
    processor_name,
    quota_cores,
    read_conditions,
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


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    assert set(dict(read_conditions(tmp_path).conditions())) <= {"load"}


def test_this_machine() -> None:
    machine = this_machine()
    assert machine is this_machine()
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.name.endswith(f"-{machine.cores}c")
    assert 0 < memory_mib("available") < memory_mib("total") == machine.memory_mib
    environment = dict(machine.environment())
    assert environment["processor"] == machine.processor
    assert all(value for value in environment.values())
