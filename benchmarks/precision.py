"""Latency and accuracy of one network in every precision of ONNX Runtime and OpenVINO, in one run.

    python benchmarks/precision.py ARCH [--weights FILE] [--space S] [--data NAME] [--threads N] [--rounds N]

All engines are timed in the same rounds, one after another. A ratio is to fp32 in ONNX Runtime,
the noise floor how far a second session of that differs from it. Accuracy is on the test
images of the data set that the weights name, through each engine. With --nncf, which needs NNCF, its
quantised models run beside, as ONNX in both runtimes and as OpenVINO's own. Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ponas_deploy.backends import MIXED, RunSettings, Session, get_backend, registry
from ponas_deploy.engines.weights import open_weights
from ponas_deploy.measuring.build_process import calibrated
from searchspace import parse_architecture
from searchspace.graph import network_model

RUNTIMES = ("onnxruntime", "openvino")
AGAIN = "again"
_SAMPLE_NS = 50_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("arch")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--space", default="ponas")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--data")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--nncf", action="store_true")
    asked = parser.parse_args()
    carried = open_weights(asked.weights, asked.data, 0, 0)
    space = carried.space(asked.space, asked.resolution, None)
    source = carried.source(space.resolution)
    architecture = parse_architecture(asked.arch, space)
    tensors = (source.finish or source.tensors)(architecture)
    model = bytes(network_model(architecture, tensors).SerializeToString())
    images = source.images() if source.images else None
    first = (registry.reference_backend(), "fp32")
    with ExitStack() as stack:
        sessions: dict[tuple[str, str], Session] = {}
        for name in RUNTIMES:
            backend = calibrated(get_backend(name), images)
            for precision in (one for one in backend.precisions() if one != MIXED):
                settings = RunSettings(precision, asked.threads)
                sessions[name, precision] = stack.enter_context(backend.load(model, settings))
        settings = RunSettings("fp32", asked.threads)
        if asked.nncf:
            sessions |= _by_nncf(model, images, settings, stack)
        sessions[first[0], AGAIN] = stack.enter_context(get_backend(first[0]).load(model, settings))
        times = _interleaved(sessions, asked.rounds)
        top1 = {
            key: source.top1_pct(session, 1)
            for key, session in sessions.items()
            if source.top1_pct and key[1] != AGAIN
        }
    ratios = {
        key: median(t / f for t, f in zip(taken, times[first], strict=True)) for key, taken in times.items()
    }
    noise = 100 * abs(ratios[first[0], AGAIN] - 1)
    rows = [
        {
            "runtime": runtime,
            "precision": precision,
            "ms": median(times[runtime, precision]) / 1e6,
            "ratio": ratios[runtime, precision],
            "top1_pct": top1.get((runtime, precision)),
        }
        for runtime, precision in times
        if precision != AGAIN
    ]
    for row in rows:
        accuracy = "-" if row["top1_pct"] is None else f"{row['top1_pct']:.2f} %"
        print(
            f"{row['runtime']:12} {row['precision']:23} {row['ms']:8.3f} ms  x {row['ratio']:.3f}  {accuracy}"
        )
    scales = f"{len(images)} images" if images is not None else "random images"
    tested_on = f"; top-1 {source.tested_on}" if top1 else ""
    print(f"noise floor {noise:.1f} %; INT8 scales of {scales}{tested_on}")
    said = {"noise_floor_pct": noise, "int8_scales": scales, "tested_on": source.tested_on}
    print(json.dumps({"rows": rows, **said}))


def _by_nncf(
    model: bytes, images: NDArray[np.float32] | None, settings: RunSettings, stack: ExitStack
) -> dict[tuple[str, str], Session]:
    """Sessions of what NNCF makes of a model, with each of its presets."""
    import nncf
    import onnx
    import openvino

    read = onnx.load_from_string(model)
    given = read.graph.input[0]
    sides = [one.dim_value for one in given.type.tensor_type.shape.dim]
    shown = np.random.default_rng(0).standard_normal((32, *sides[1:])) if images is None else images
    batches = [one[None].astype(np.float32) for one in shown]
    found: dict[tuple[str, str], Session] = {}
    folder = stack.enter_context(TemporaryDirectory())
    for preset in nncf.QuantizationPreset:
        named = nncf.Dataset(batches, lambda image: {given.name: image})
        made = nncf.quantize(read, named, preset=preset, subset_size=len(batches))
        for runtime in RUNTIMES:
            opened = get_backend(runtime).load(made.SerializeToString(), settings)
            found[runtime, f"nncf, {preset.value}, ONNX"] = stack.enter_context(opened)
        own = nncf.quantize(
            openvino.Core().read_model(model), nncf.Dataset(batches), preset=preset, subset_size=len(batches)
        )
        path = Path(folder) / f"{preset.value}.xml"
        openvino.save_model(own, path)
        opened = get_backend("openvino").open(path, settings)
        found["openvino", f"nncf, {preset.value}"] = stack.enter_context(opened)
    return found


def _interleaved(sessions: dict[tuple[str, str], Session], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Nanoseconds a run of each session, one sample a round."""
    runs = {key: max(1, _SAMPLE_NS // max(session.time_ns(3) // 3, 1)) for key, session in sessions.items()}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in sessions}
    for _ in range(rounds):
        for key, session in sessions.items():
            times[key].append(session.time_ns(runs[key]) / runs[key])
    return times


if __name__ == "__main__":
    main()
