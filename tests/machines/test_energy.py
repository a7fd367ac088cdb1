"""Energy counters of a made-up /sys, and what is said where none can be read."""

from __future__ import annotations

import sys
from pathlib import Path
from time import sleep
from types import SimpleNamespace

import pytest

from ponas_deploy.machines.energy import (
    EnergyCounter,
    EnergyMeter,
    EnergyTaken,
    energy_counter,
    idle_watts,
    no_counter,
)
from ponas_deploy.machines.process_memory import gpu_memory_bytes, peak_resident_bytes


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def domain(root: Path, number: str, name: str, energy_uj: int, most_uj: int = 1000) -> Path:
    folder = root / "sys/class/powercap" / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{most_uj}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder / "energy_uj"


def test_rapl_counts_packages_and_their_memory_once(tmp_path: Path) -> None:
    package = domain(tmp_path, "0", "package-0", 100)
    memory = domain(tmp_path, "0:1", "dram", 5)
    domain(tmp_path, "0:0", "core", 60)
    domain(tmp_path, "1", "psys", 900)
    counter = energy_counter(on_gpu=False, root=tmp_path)
    assert counter is not None
    assert counter.source == "RAPL dram, package-0"
    with EnergyMeter(counter) as meter:
        package.write_text("300\n")
        memory.write_text("15\n")
    assert meter.joules == pytest.approx(210e-6)
    assert meter.seconds > 0


def test_a_counter_that_wrapped(tmp_path: Path) -> None:
    package = domain(tmp_path, "0", "package-0", 900, most_uj=1000)
    domain(tmp_path, "1", "package-1", 10, most_uj=1000)
    counter = energy_counter(on_gpu=False, root=tmp_path)
    assert counter is not None
    with EnergyMeter(counter) as meter:
        package.write_text("100\n")
    assert meter.joules == pytest.approx(200e-6)


def test_a_counter_for_root_alone_is_named_with_what_allows_it(tmp_path: Path) -> None:
    domain(tmp_path, "0", "package-0", 1).write_text("")  # as a file that may not be read
    assert energy_counter(on_gpu=False, root=tmp_path) is None
    said = no_counter(on_gpu=False, root=tmp_path)
    assert "intel-rapl:0/energy_uj may be read by root alone" in said
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj" in said


def test_no_counter_is_said(tmp_path: Path) -> None:
    assert energy_counter(on_gpu=False, root=tmp_path) is None
    assert energy_counter(on_gpu=True, root=tmp_path) is None
    assert "(RAPL) nor the power monitor" in no_counter(on_gpu=False, root=tmp_path)
    assert "NVML counts no energy" in no_counter(on_gpu=True, root=tmp_path)


def rail(root: Path, number: int, label: str, mv: int, ma: int | None) -> None:
    folder = root / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"in{number}_label").write_text(f"{label}\n")
    (folder / f"in{number}_input").write_text(f"{mv}\n")
    if ma is not None:
        (folder / f"curr{number}_input").write_text(f"{ma}\n")


def test_the_monitor_of_a_jetson_counts_the_rail_that_feeds_the_board(tmp_path: Path) -> None:
    rail(tmp_path, 1, "VDD_IN", 5000, 2000)
    rail(tmp_path, 2, "VDD_CPU_GPU_CV", 5000, 500)
    rail(tmp_path, 7, "sum of shunt voltages", 100, None)
    for on_gpu in (False, True):
        counter = energy_counter(on_gpu=on_gpu, root=tmp_path)
        assert counter is not None
        assert counter.source == "INA3221 VDD_IN"
        assert counter.watts is not None
        assert counter.watts() == pytest.approx(10.0)
    with EnergyMeter(counter) as meter:
        sleep(0.03)
    assert meter.joules / meter.seconds == pytest.approx(10.0, rel=0.2)
    assert idle_watts(counter, 0.03) == pytest.approx(10.0, rel=0.2)


def test_rails_that_are_parts_are_added_up(tmp_path: Path) -> None:
    rail(tmp_path, 1, "VDD_GPU_SOC", 5000, 1000)
    rail(tmp_path, 2, "VDD_CPU_CV", 5000, 400)
    counter = energy_counter(on_gpu=True, root=tmp_path)
    assert counter is not None
    assert counter.watts is not None
    assert counter.watts() == pytest.approx(7.0)


def test_the_monitor_as_older_systems_show_it(tmp_path: Path) -> None:
    folder = tmp_path / "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    folder.mkdir(parents=True)
    (folder / "rail_name_0").write_text("POM_5V_IN\n")
    (folder / "in_power0_input").write_text("3210\n")
    counter = energy_counter(on_gpu=False, root=tmp_path)
    assert counter is not None
    assert counter.watts is not None
    assert counter.watts() == pytest.approx(3.21)


class NVMLError(Exception):
    """As in pynvml."""


def nvml(**more: object) -> SimpleNamespace:
    names: dict[str, object] = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetCount": lambda: 1,
    }
    return SimpleNamespace(**{**names, **more})


def test_a_gpu_counts_millijoules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counted = iter([1_000_000, 1_000_000, 1_002_500])
    bindings = nvml(nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(counted))
    monkeypatch.setitem(sys.modules, "pynvml", bindings)
    counter = energy_counter(on_gpu=True, root=tmp_path)
    assert counter is not None
    with EnergyMeter(counter) as meter:
        pass
    assert (counter.source, meter.joules) == ("NVML", 2.5)


def test_a_gpu_that_counts_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(handle: object) -> int:
        raise NVMLError("Not Supported")

    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlDeviceGetTotalEnergyConsumption=refuse))
    assert energy_counter(on_gpu=True, root=tmp_path) is None


def test_energy_of_an_inference_with_and_without_what_idling_takes() -> None:
    taken = EnergyTaken("RAPL package-0", inferences=100, joules=10.0, seconds=1.0, idle_w=4.0)
    assert (taken.mj, taken.above_idle_mj) == (100.0, 60.0)
    assert EnergyTaken("RAPL package-0", 100, 3.0, 1.0, 4.0).above_idle_mj == 0.0


def test_constant_power_is_what_it_is() -> None:
    counter = EnergyCounter("constant", watts=lambda: 2.0)
    assert idle_watts(counter, 0.02) == pytest.approx(2.0)


def test_the_peak_of_this_process_and_of_one_that_says_nothing(tmp_path: Path) -> None:
    before = peak_resident_bytes()
    held = bytearray(64 << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    assert peak_resident_bytes() >= before > 10 << 20
    assert peak_resident_bytes() >= 64 << 20
    assert peak_resident_bytes(tmp_path) == 0
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("Name:\tx\nVmHWM:\t   2040 kB\nVmRSS:\t   20 kB\n")
    assert peak_resident_bytes(tmp_path) == 2040 * 1024


def test_what_a_process_holds_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    running = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=700), SimpleNamespace(pid=1, usedGpuMemory=9)]
    monkeypatch.setitem(
        sys.modules, "pynvml", nvml(nvmlDeviceGetComputeRunningProcesses=lambda handle: running)
    )
    assert gpu_memory_bytes() == 700
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_memory_bytes() == 0
