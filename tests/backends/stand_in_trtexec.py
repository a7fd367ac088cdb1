"""A program that behaves like trtexec on a machine without a GPU: options, files, printed lines, exit codes.

Options by version are those of NVIDIA/TensorRT's samples/common/sampleOptions.cpp (release/10.0 to 11.1) that
anybody could want here; formats are those of sampleReporting.cpp and logging.h. An "engine" is the ONNX model
behind a mark, and runs by ONNX's reference. `$STAND_IN` says which mishap is played.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

VERSION = int(os.environ.get("STAND_IN_VERSION", "100300"))
MISHAP = os.environ.get("STAND_IN", "")
MAGIC = b"ptrt"
# Engines of `tensorrt_standin.py` too: the real ones are of one format.
MARKS = (MAGIC, b"plan of the stand-in\n")
STAMP = "[11/20/2026-12:00:00]"
BOTH = (
    *("--onnx", "--saveEngine", "--loadEngine", "--timingCacheFile", "--maxAuxStreams", "--skipInference"),
    *("--noTF32", "--builderOptimizationLevel", "--memPoolSize", "--iterations", "--duration", "--warmUp"),
    *("--exportTimes", "--exportOutput", "--loadInputs", "--infStreams", "--device", "--verbose", "--help"),
)
ELEVEN = ("--noCudaGraph", "--noSpinWait", "--includeDataTransfers", "--maxTactics")
TEN = ("--fp16", "--int8", "--best", "--calib", "--precisionConstraints")
DEPRECATED = ("--stronglyTyped", "--useCudaGraph", "--useSpinWait", "--noDataTransfers")

OUT_OF_MEMORY = """\
{stamp} [E] Error[1]: [defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)
{stamp} [W] [TRT] Requested amount of GPU memory (15485030400 bytes) could not be allocated.
{stamp} [E] Engine could not be created from network
"""
UNSUPPORTED = """\
{stamp} [E] [TRT] ModelImporter.cpp:949: While parsing node number 146 [Tile -> "/Tile_output_0"]:
{stamp} [E] [TRT] ModelImporter.cpp:954: ERROR: ModelImporter.cpp:195 In function parseNode:
{stamp} [E] Failed to parse onnx file
"""
OTHER_ENGINE = """\
{stamp} [E] Error[1]: [runtime.cpp::parsePlan::455] Error Code 1: Serialization (Serialization assertion \
plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)
{stamp} [E] Engine deserialization failed
"""


def say(text: str) -> None:
    print(text.format(stamp=STAMP), end="")


def finish(result: str) -> None:
    say(f"&&&& {result} TensorRT.trtexec [TensorRT v{VERSION}] # {' '.join(sys.argv)}\n")
    sys.exit(result != "PASSED")


def options() -> dict[str, str]:
    found = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    known = {*BOTH, *DEPRECATED, *(ELEVEN if VERSION >= 110000 else TEN)}
    if unknown := [name for name in found if name not in known]:
        for name in unknown:
            say(f"{{stamp}} [E] Unknown option: {name} {found[name]}\n")
        finish("FAILED")
    if VERSION >= 110000:
        for name in DEPRECATED:
            if name in found:
                say(f"{{stamp}} [W] {name} is deprecated.\n")
    return found


def build(found: dict[str, str]) -> None:
    model = Path(found["--onnx"]).read_bytes()
    if MISHAP in ("out of memory", "unsupported"):
        say(OUT_OF_MEMORY if MISHAP == "out of memory" else UNSUPPORTED)
        finish("FAILED")
    Path(found["--timingCacheFile"]).write_bytes(b"timings")
    if MISHAP != "no engine":
        Path(found["--saveEngine"]).write_bytes(MAGIC + model)


def infer(found: dict[str, str]) -> None:
    content = Path(found["--loadEngine"]).read_bytes()
    if not content.startswith(MARKS):
        say(OTHER_ENGINE)
        finish("FAILED")
    if "--exportOutput" in found:
        values = outputs(content.removeprefix(MAGIC), found["--loadInputs"])
        Path(found["--exportOutput"]).write_text(values)
    if "--exportTimes" in found:
        timed(found, 0.02 + len(content) * float(os.environ.get("STAND_IN_MS_A_BYTE", "0")))


def outputs(model: bytes, given: str) -> str:
    import numpy as np
    import onnx
    from onnx.reference import ReferenceEvaluator

    proto = onnx.load_model_from_string(model)
    name, file = given.split(":")
    tensor = proto.graph.input[0].type.tensor_type
    dtype = {1: np.float32, 10: np.float16}[tensor.elem_type]
    shape = [size.dim_value for size in tensor.shape.dim]
    [found] = ReferenceEvaluator(proto).run(None, {name: np.fromfile(file, dtype).reshape(shape)})
    texts = ", ".join(f"{value:g}" for value in np.asarray(found, np.float32).ravel())
    dimensions = "x".join(map(str, found.shape))
    return (
        f'[\n  {{ "name" : "output"\n  , "dimensions" : "{dimensions}"\n  , "values" : [ {texts} ]\n  }}\n]\n'
    )


def timed(found: dict[str, str], run_ms: float) -> None:
    """Runs of `run_ms` with a slow one now and then; as many as asked for, and as the duration holds."""
    count = max(int(found["--iterations"]), round(1000 * float(found["--duration"]) / 0.5))
    # A run that begins in the warm-up and ends after it is counted and not written.
    written = {"few runs": 1, "straddled": count - 1}.get(MISHAP, count)
    times = [run_ms if number % 10 else 1.5 * run_ms for number in range(written)]
    lines, at = [], 250.0
    for took in times:
        at += 0.1
        lines.append(
            f'{{ "startEnqMs" : {at:g}, "endEnqMs" : {at + 0.005:g}, "startH2dMs" : {at:g}'
            f', "endH2dMs" : {at:g}, "startComputeMs" : {at:g}'
            f', "endComputeMs" : {at + took:g}, "startD2hMs" : {at + took:g}'
            f', "endD2hMs" : {at + took:g}, "h2dMs" : 0, "computeMs" : {took:g}, "d2hMs" : 0'
            f', "latencyMs" : {took:g} }}\n'
        )
    text = "[\n  " + ", ".join(lines) + "]\n"
    json.loads(text)
    if MISHAP != "no times":
        Path(found["--exportTimes"]).write_text(text[:-9] if MISHAP == "cut times" else text)
    mean = sum(times) / len(times) * (2 if MISHAP == "other mean" else 1)
    rest = "median = 0.02 ms, percentile(90%) = 0.03 ms, percentile(95%) = 0.03 ms, percentile(99%) = 0.03 ms"
    say("{stamp} [I] === Performance summary ===\n{stamp} [I] Throughput: 9000.5 qps\n")
    say("{stamp} [I] Enqueue Time: min = 0.004 ms, max = 0.02 ms, mean = 0.005 ms, median = 0.005 ms\n")
    say(f"{{stamp}} [I] GPU Compute Time: min = 0.02 ms, max = 0.03 ms, mean = {mean:g} ms, {rest}\n")


def main() -> None:
    banner = (
        ""
        if MISHAP == "another program"
        else f"TensorRT.trtexec [TensorRT v{VERSION}] # {' '.join(sys.argv)}"
    )
    say(f"&&&& RUNNING {banner}\n")
    with Path(os.environ["STAND_IN_LOG"]).open("a") as log:
        log.write(json.dumps(sys.argv[1:]) + "\n")
    found = options()
    if "--help" in found:
        sys.exit(0)
    if "--onnx" in found:
        build(found)
    else:
        infer(found)
    finish("PASSED")


if __name__ == "__main__":
    main()
