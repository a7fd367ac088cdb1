"""The one GPU of a process that has the stand-ins of this folder on its path: see `test_gpu_first.py`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import tensorrt_standin


def run_ms(model_bytes: int) -> float:
    """What a run of a model takes here: a line in its size, as sums of blocks are."""
    return 0.01 + 1e-7 * model_bytes


class Quick(tensorrt_standin.Machine):
    """Takes longer for larger models, and computes once for each input: a thousand runs are the same then."""

    def __init__(self) -> None:
        super().__init__()
        self._inputs: dict[int, tuple[Any, bytes]] = {}

    def enqueue(self, work: Callable[[], None]) -> None:
        super().enqueue(lambda: self._compute(work))

    def _compute(self, work: Any) -> None:
        context = work.__self__
        address = context._addresses[context._session.get_inputs()[0].name]
        given = self.memory[address].raw
        before_ms = self.now_ms
        if self._inputs.get(address) != (context, given):
            work()
            self._inputs[address] = context, given
        self.now_ms = before_ms + run_ms(len(context._session._model_bytes))


def mishap() -> str:
    """What befalls this process: $STAND_IN_MISHAP names steps, as in "layers:crash,clocks:hang"."""
    planted = dict(one.split(":") for one in os.environ.get("STAND_IN_MISHAP", "").split(",") if one)
    step = sys.argv[sys.argv.index("--step") + 1] if "--step" in sys.argv else ""
    return planted.get(step, "")


MACHINE = Quick()
if mishap() == "crash":
    os.kill(os.getpid(), signal.SIGKILL)
if mishap() == "hang":
    time.sleep(600)
