"""Steps of `first.py` that go through commands: what the machine is, the tests, the product, tables."""

from __future__ import annotations

import platform
import re
import shutil
import sys
import time
from importlib.metadata import distributions
from typing import Any

from benchmarks.gpu.children import ROOT
from benchmarks.gpu.first_task import LateError, StepError, Task
from benchmarks.gpu.networks import fastest_precision
from ponas_deploy.backends._cuda import Cuda
from ponas_deploy.commands.quantities import LEAST_PROFILE_S
from ponas_deploy.machines.gpu import this_gpu
from ponas_deploy.machines.nvidia import read_gpu

PONAS = (sys.executable, str(ROOT / "cli.py"))
PYTHON_M = (sys.executable, "-m")
BACKENDS, BATCHES = ("torch", "onnxruntime-cuda"), (1, 32)
LATENCIES = ("60%", "80%", "100%", "50%", "70%")
_OURS_S = 15.0
_ENGINE_S = 90.0
"""To build an engine and time it in fresh processes: some budgets whole beat all of them begun."""
_STOPPED = re.compile(r"\w+ stopped after ")
_LEAST = re.compile(r"Ask for (\d+%) or more")
_KINDS = ("cuda", "nvidia", "onnx", "openvino", "tensorrt", "torch", "numpy", "ponas")
_ASKED = {
    "nvidia-smi": ("nvidia-smi", "-q"),
    "tegrastats": ("tegrastats", "--interval", "500"),
    "nvpmodel": ("nvpmodel", "-q"),
    "jetson_clocks": ("jetson_clocks", "--show"),
}


def record(task: Task) -> None:
    """The machine: what its own programs say of it, versions, and `ponas doctor`."""
    said = dict[str, str]()
    device = this_gpu()
    packages = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"]}
    versions = {n: v for n, v in sorted(packages.items()) if n.lower().startswith(_KINDS)}
    reading = read_gpu()
    task.keep(
        device=device,
        versions={"python": platform.python_version(), "system": platform.platform(), **versions},
        environment=dict(reading.environment()),
        conditions=dict(reading.conditions()),
    )
    programs = {name: command for name, command in _ASKED.items() if shutil.which(command[0])}
    ours = {name: (*PONAS, name, "--json") for name in ("devices", "doctor")}
    for name, command in {**programs, **ours}.items():
        # tegrastats never ends by itself.
        limit = 2.0 if name == "tegrastats" else task.left_s
        if name in ours and limit < _OURS_S:
            said[name] = "no time was left for it"
            continue
        try:
            task.run(name, command, limit)
            said[name] = "read"
        except (StepError, OSError) as error:
            said[name] = str(error)
    task.keep(asked=said, summary=f"{device or 'no GPU answers'}; {', '.join(said)}")


def cuda(task: Task) -> None:
    """The CUDA runtime through the cuda-bindings that are installed."""
    found = Cuda("tensorrt")
    gpu = found.gpu
    task.keep(
        gpu=gpu.name,
        capability=list(gpu.capability),
        uuid=gpu.uuid,
        cuda=gpu.cuda,
        fills_queue=found.fills_queue,
        summary=f"{gpu.name}, CUDA {gpu.cuda}, queue {'' if found.fills_queue else 'not '}filled",
    )


def tests(task: Task) -> None:
    """The project's tests that need a GPU."""
    marked = ("mark.gpu", "mark.tensorrt")
    files = [
        str(path)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if any(mark in path.read_text(encoding="utf-8") for mark in marked)
    ]
    command = (*PYTHON_M, "pytest", "-q", "-n", "0", "-m", "gpu or tensorrt", *files)
    printed = task.run("pytest", command, task.left_s)
    task.keep(summary=printed.strip().splitlines()[-1])


def product(task: Task) -> None:
    """A short profile, five budgets, and each engine verified."""
    space = ("--space", "ponas", "--resolution", str(task.resolution))
    where = ("--device", "gpu", "--backend", "tensorrt", "--precision", "fp16")
    if not (task.folder / "profiled.txt").exists():
        seconds = round(0.3 * task.left_s)
        if seconds < LEAST_PROFILE_S:
            raise LateError("there was no time for a profile")
        task.run("profile", (*PONAS, "profile", *where, *space, "--time", f"{seconds}s"), 0.6 * task.left_s)
        (task.folder / "profile.txt").rename(task.folder / "profiled.txt")

    def met(latency: str) -> dict[str, Any]:
        name = f"engine-{latency.rstrip('%')}"
        folder = task.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        asked = ("--tries", "1", "--out", str(folder), "--json", "--latency", latency)
        limit_s = max(_ENGINE_S, task.left_s / len(LATENCIES[LATENCIES.index(latency) :]))
        chosen = _specialized(task, name, (*where, *space, *asked), min(limit_s, task.left_s))
        # Of a missed budget and of one that cannot be told its exit codes are 1 and 3.
        verify = (*PONAS, "verify", str(folder), "--json")
        verified = task.run_json(f"{name}-verified", verify, task.left_s, accepted=(0, 1, 3))
        return {"specialized": chosen, "verified": verified}

    rows = task.each(LATENCIES, met)
    good = sum(row["verified"]["passed"] for row in rows if "verified" in row)
    task.finish(f"{good} of {len(rows)} budgets met and verified", rows)


def _specialized(task: Task, name: str, asked: tuple[str, ...], limit_s: float) -> Any:
    """What `specialize` printed; `asked` ends with the budget. Of an impossible one the least is taken."""
    start = time.monotonic()
    try:
        return task.run_json(name, (*PONAS, "specialize", *asked), limit_s)
    except StepError as error:
        least = _LEAST.search(str(error))
        if not least:
            raise
    left_s = limit_s - (time.monotonic() - start)
    return task.run_json(name, (*PONAS, "specialize", *asked[:-1], least[1]), left_s)


def torch(task: Task) -> None:
    """Every path of the torch backend once, and how fast the meta network trains."""
    px = ("--resolution", str(task.resolution))
    commands = {
        "smoke": (*PYTHON_M, "benchmarks.gpu.profile", "--smoke", *px),
        "speed": (*PYTHON_M, "benchmarks.gpu.train", "--speed", *px),
    }

    def ran(name: str) -> dict[str, Any]:
        share = 0.6 * task.left_s if name == "smoke" else task.left_s
        return {"result": task.run_json(name, commands[name], share)}

    rows = task.each(commands, ran)
    failed = [n for row in rows for n, v in row.get("result", {}).items() if str(v).startswith("FAILED")]
    said = f"{len(rows)} ran" + (f", failed in the first: {', '.join(failed)}" if failed else "")
    task.finish(said, rows)


def tables(task: Task) -> None:
    """Certified tables, fronts and budgets met through torch and ONNX Runtime, batch 1 and 32."""
    names = [f"{backend}:{batch}" for batch in BATCHES for backend in BACKENDS]

    def certified(wanted: str) -> dict[str, Any]:
        share_s = task.left_s / len(names[names.index(wanted) :])
        backend, batch = wanted.split(":")
        config = f"{backend}:{fastest_precision(backend)}:{batch}"
        name = config.replace(":", "-")
        out = ("--out", str(task.folder / name), "--minutes", f"{max(20.0, share_s) / 60:.3f}")
        asked = ("--configs", config, "--resolution", str(task.resolution))
        command = (*PYTHON_M, "benchmarks.gpu.profile", *out, *asked)
        [result] = task.run_json(name, command, task.left_s)["results"]
        if result["errors"] and all(_STOPPED.match(error) for error in result["errors"]):
            raise LateError(f"{name}: {result['errors'][-1]}")
        return {"result": result, **({"error": result["errors"][-1]} if result["errors"] else {})}

    rows = task.each(names, certified)
    said = [
        f"{row['key']} {row['result']['met_again']}/{row['result']['budgets']} met"
        for row in rows
        if "result" in row
    ]
    task.finish(", ".join(said), rows)
