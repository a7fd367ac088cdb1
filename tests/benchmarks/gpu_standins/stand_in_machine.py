"""The one GPU of a process that has the stand-ins of this folder on its path: see `test_gpu_first.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorrt_standin


class Quick(tensorrt_standin.Machine):
    """Computes once for each input: what is timed a thousand times is the same then."""

    def __init__(self) -> None:
        super().__init__()
        self._inputs: dict[int, tuple[Any, bytes]] = {}

    def enqueue(self, work: Callable[[], None]) -> None:
        super().enqueue(lambda: self._compute(work))

    def _compute(self, work: Any) -> None:
        context = work.__self__
        address = context._addresses[context._session.get_inputs()[0].name]
        given = self.memory[address].raw
        if self._inputs.get(address) == (context, given):
            self.now_ms += tensorrt_standin.MS_A_RUN
        else:
            work()
            self._inputs[address] = context, given


MACHINE = Quick()
