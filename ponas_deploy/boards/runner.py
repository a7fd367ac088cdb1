"""What runs on a board. This one file is sent there: Python 3.8, the standard library, nothing of ours.

It answers requests of the connection that started it, one at a time, until that ends. Programs of the board
that may hang or crash (runtimes that are imported) run in processes of their own.
"""

from __future__ import annotations

import glob
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Any, Callable

PROGRAMS = {
    "trtexec": ("trtexec", "/usr/src/tensorrt/bin/trtexec"),
    "benchmark_app": ("benchmark_app",),
    "onnxruntime_perf_test": ("onnxruntime_perf_test",),
}
RUNTIMES = {
    "onnxruntime": "import onnxruntime as r; print(json.dumps([r.__version__, r.get_available_providers()]))",
    "openvino": "import openvino as r; print(json.dumps([r.__version__, r.Core().available_devices]))",
    "tensorrt": "import tensorrt as r; print(json.dumps([r.__version__, []]))",
    "torch": "import torch as r; print(json.dumps([r.__version__, ['cuda'] * r.cuda.is_available()]))",
    "numpy": "import numpy as r; print(json.dumps([r.__version__, []]))",
}
RUNTIME_SECONDS = 120
GPU_NAMES = re.compile(r"gv11b|gp10b|ga10b|gb10b|gpu")


def serve(take: Callable[[], bytes], send: Callable[[Any], None], folder: str) -> None:
    """Answer requests, JSON objects that `take` reads, until the connection ends."""
    while True:
        request = json.loads(take().decode("utf-8"))
        try:
            send({"answer": ANSWERS[request["ask"]](request, folder)})
        except Exception as error:  # it ends in this answer, not the connection
            send({"error": f"{type(error).__name__}: {error}"})


def echo(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """The round trip."""
    return {}


def describe(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """What this board is and has. What cannot be read is empty, 0 or left out."""
    return {
        "processor": processor(),
        "board": read("/proc/device-tree/model").rstrip("\0").strip(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_mib": memory_mib(),
        "os": os_name(),
        "jetpack": first_line("/etc/nv_tegra_release"),
        "power_mode": power_mode(),
        "gpu_clocks": gpu_clocks(),
        "hottest_c": hottest_c(),
        "python": platform.python_version(),
        "interpreter": sys.executable or "",
        "boot_id": first_line("/proc/sys/kernel/random/boot_id"),
        "folder": folder,
        "free_mib": shutil.disk_usage(folder).free >> 20,
        "runtimes": [runtime(name) for name in RUNTIMES],
        "programs": {name: found for name in PROGRAMS for found in [program(name)] if found},
    }


ANSWERS = {"echo": echo, "describe": describe}


def read(path: str) -> str:
    """A file of the system as text, empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


def first_line(path: str) -> str:
    """Its first line."""
    return read(path).partition("\n")[0].strip()


def processor() -> str:
    """The processor as it calls itself."""
    named = re.search(r"^model name[ \t]*:[ \t]*(.+)$", read("/proc/cpuinfo"), re.MULTILINE)
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def os_name() -> str:
    """The distribution, or the system and its release."""
    named = re.search(r'^PRETTY_NAME="?([^"\n]+)', read("/etc/os-release"), re.MULTILINE)
    return named.group(1) if named else f"{platform.system()} {platform.release()}"


def memory_mib() -> int:
    """The memory in MiB, 0 where it is not known."""
    total = re.search(r"^MemTotal:\s+(\d+) kB", read("/proc/meminfo"), re.MULTILINE)
    return int(total.group(1)) >> 10 if total else 0


def power_mode() -> str:
    """A Jetson's power mode by number and name, another machine's platform profile, or nothing."""
    chosen = re.search(r"pmode:0*(\d+)", read("/var/lib/nvpmodel/status"))
    if not chosen:
        return first_line("/sys/firmware/acpi/platform_profile")
    number = chosen.group(1)
    named = re.search(rf"POWER_MODEL\s+ID=0*{number}\s+NAME=([^\s>]+)", read("/etc/nvpmodel.conf"))
    return f"nvpmodel {number} ({named.group(1)})" if named else f"nvpmodel {number}"


def gpu_clocks() -> dict[str, Any] | None:
    """Current, least and most clock in MHz of a GPU whose clock the kernel governs, and its governor."""
    for folder in sorted(glob.glob("/sys/class/devfreq/*")):
        name = read(os.path.join(folder, "device/of_node/name")).rstrip("\0") or os.path.basename(folder)
        if not GPU_NAMES.search(name):
            continue
        clocks = [first_line(os.path.join(folder, which)) for which in ("cur_freq", "min_freq", "max_freq")]
        if all(clock.isdigit() for clock in clocks):
            now, least, most = [int(clock) / 1e6 for clock in clocks]
            governor = first_line(os.path.join(folder, "governor"))
            return {"now_mhz": now, "least_mhz": least, "most_mhz": most, "governor": governor}
    return None


def hottest_c() -> float | None:
    """The hottest sensor in degrees Celsius, None without one."""
    texts = [first_line(path) for path in glob.glob("/sys/class/thermal/thermal_zone*/temp")]
    found = [int(text) / 1000 for text in texts if text.lstrip("-").isdigit()]
    return max(found) if found else None


def runtime(name: str) -> dict[str, Any]:
    """A Python package by import: its version, what it offers, or why it cannot be used."""
    quiet = "import json, sys; sys.modules['openvino_telemetry'] = None; "  # OpenVINO then has a stand-in
    code = quiet + RUNTIMES[name]
    environment = dict(os.environ, ORT_DISABLE_TELEMETRY="1")
    found: dict[str, Any] = {"name": name, "version": "", "offers": [], "problem": ""}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            env=environment,
            timeout=RUNTIME_SECONDS,
            check=False,
        )
        lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if done.returncode == 0 and lines:
            found["version"], found["offers"] = json.loads(lines[-1])
        elif said and said[-1].startswith(f"ModuleNotFoundError: No module named '{name}'"):
            found["problem"] = "not installed"
        else:
            found["problem"] = said[-1][:300] if said else f"its import ended with code {done.returncode}"
    except subprocess.TimeoutExpired:
        found["problem"] = f"its import took over {RUNTIME_SECONDS} s"
    except (OSError, ValueError) as error:
        found["problem"] = str(error)[:300]
    return found


def program(name: str) -> str:
    """Where a program is, empty where it is not."""
    return next((path for path in map(shutil.which, PROGRAMS[name]) if path), "")
