"""Training on this machine's GPU: how fast the meta network trains, and the default accuracy table.

    python3 -m benchmarks.gpu.train --speed
    python3 -m benchmarks.gpu.train --run /tmp/run --out OUT --minutes 9

`--speed` trains on images that lie on the GPU already and prints images a second, the floating-point rate
beside that of a large matrix product in the same run, and where the time goes. `--run` trains FractalDB by
the ordinary commands, then fits and certifies tables of both methods; when the minutes are over it is
interrupted as by Ctrl-C, and the same command goes on. Tables and log are copied to OUT as soon as they are
there. Each ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [str(ROOT), *(one for one in sys.path if Path(one or ".").resolve() != Path(__file__).parent)]

from benchmarks.gpu.children import run_child  # noqa: E402

DATA = "fractal:classes=60,images=1000,validation=100,test=50,perturbation=0.1"
_SAVING_S = 30.0
"""How long an interrupted command may take to save."""


def main() -> None:
    options = _options()
    print(json.dumps(speed(options) if options.speed else default_tables(options)))


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Images/s of steps of meta training, FLOP/s over those of a matrix product, and shares of time."""
    import torch

    from searchspace import build_space
    from searchspace.cost import count_macs, network_cost
    from train.compute import Compute
    from train.networks import Network
    from train.stages import meta_architecture
    from train.stages.descent import Descent
    from train.stages.loop import sgd

    compute = Compute.on(options.device)
    space = build_space("ponas", options.resolution)
    architecture = meta_architecture(space)
    network = compute.place(Network(architecture)).train()
    images = compute.put(torch.randn(options.batch, 3, options.resolution, options.resolution))
    labels = compute.put(torch.randint(space.classes, (options.batch,)))
    descent = Descent(sgd(network.parameters(), 0.1, 0.9, 4e-5), compute.scaler())

    def step() -> None:
        with compute.precision():
            loss = torch.nn.functional.cross_entropy(network(images), labels)
        descent.backward(loss)
        descent.step()

    step_s = _seconds_each(step, options.steps)
    dtype = compute.autocast or torch.float32
    side = 8192 if compute.device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=compute.device, dtype=dtype) for _ in range(2))
    product_s = _seconds_each(lambda: (left @ right).sum().item(), options.steps)
    # Backward costs twice the forward pass; a multiply-accumulate is two operations.
    flops = 6 * network_cost(count_macs, architecture) * options.batch / step_s
    product_flops = 2 * side**3 / product_s
    found = {
        "device": compute.text,
        "torch": torch.__version__,
        "resolution": options.resolution,
        "batch": options.batch,
        "images_per_s": options.batch / step_s,
        "tflops": flops / 1e12,
        "matrix_product_tflops": product_flops / 1e12,
        "share_pct": 100 * flops / product_flops,
        "time_pct": shares(step, compute.device.type),
    }
    for name, value in found.items():
        print(f"{name.replace('_', ' '):22} {value}")
    return {"benchmark": "gpu.train speed", **found}


def _seconds_each(work: Callable[[], None], times: int) -> float:
    """Seconds a call; each ends with a number on the host, so that the device has finished."""
    for _ in range(3):
        work()
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def shares(step: Callable[[], None], device: str) -> dict[str, float]:
    """Percent of the device's time for each kind of operation, the largest first."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities, record_shapes=True) as profiled:
        step()
    spent = Counter[str]()
    for event in profiled.key_averages(group_by_input_shape=True):
        # The profiler calls whatever is not the CPU "device".
        time_us = event.self_cpu_time_total if device == "cpu" else event.self_device_time_total
        spent[_kind(event.key, event.input_shapes)] += time_us
    total_us = sum(spent.values()) or 1.0
    return {kind: round(100 * time_us / total_us, 1) for kind, time_us in spent.most_common()}


def _kind(operation: str, shapes: Any) -> str:
    if "conv" in operation:
        one_a_channel = any(len(shape) == 4 and shape[1] == 1 and shape[2] > 1 for shape in shapes or ())
        return "depthwise convolutions" if one_a_channel else "other convolutions"
    if "norm" in operation:
        return "batch norm"
    return "everything else"


def default_tables(options: argparse.Namespace) -> dict[str, Any]:
    """Go on with the run and its tables for so many minutes; what is finished."""
    end, run = time.monotonic() + 60 * options.minutes, options.run
    options.out.mkdir(parents=True, exist_ok=True)
    done = list[str]()
    for name, arguments in _commands(run, options.data, options.resolution, options.networks, options.set):
        left_s = end - time.monotonic() - _SAVING_S
        finished = left_s > 0 and _within(left_s, arguments)
        for made in (run / "log.csv", *run.glob("accuracy*.json"), *run.glob("subnets-*.csv")):
            if made.exists():
                shutil.copy(made, options.out)
        if not finished:
            print(f"{name}: not finished; the same command goes on", file=sys.stderr)
            break
        done.append(name)
    return {"benchmark": "gpu.train", "finished": done, "out": str(options.out)}


def _commands(
    run: Path, data: str, resolution: int, networks: int, settings: list[str]
) -> Iterator[tuple[str, list[str]]]:
    chosen = [word for setting in settings for word in ("--set", setting)]
    images = ["--data", data, "--resolution", str(resolution)]
    yield "training", ["train", *images, "--out", str(run), *chosen]
    fitted = run / "accuracy-fitted.json"
    if not fitted.exists():
        yield "fitted table", ["train", "table", "--run", str(run), "--networks", str(networks)]
    for table in (run / "accuracy.json", fitted):
        yield f"certificate of {table.name}", ["table", "certify", str(table), "--run", str(run), *_HUNDRED]


_HUNDRED = ("--networks", "100")


def _within(seconds: float, arguments: list[str]) -> bool:
    """Run one of our commands; interrupt it when the time is over. Exits with its code where it failed."""
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    code = run_child(command, seconds, saving_s=2 * _SAVING_S).code
    if code:
        sys.exit(code)
    return code == 0


def _options() -> argparse.Namespace:
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--speed", action="store_true", help="time meta training; nothing is kept")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--resolution", type=int, help="default: 224 for --speed, 112 otherwise")
    parser.add_argument("--run", type=Path, default=Path("runs/default"))
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-train")))
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call")
    parser.add_argument("--data", default=DATA)
    parser.add_argument("--networks", type=int, default=600, help="to fit the table to")
    parser.add_argument("--set", action="append", default=[], help="as of `ponas train`")
    options = parser.parse_args()
    options.resolution = options.resolution or (224 if options.speed else 112)
    return options


if __name__ == "__main__":
    main()
