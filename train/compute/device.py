"""Where torch computes: the device, its memory layout and its precision.

Channels-last everywhere: on a CPU it trains the PONAS meta network at 32 px 2.2 times faster than
the default layout, on a GPU it is what tensor cores want. CUDA computes under autocast, in bf16 or, on
GPUs that have none, in fp16 with scaled gradients (arXiv 1710.03740, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ponas_deploy.errors import PonasError, UnknownNameError
from train.compute import distributed

Module = TypeVar("Module", bound=nn.Module)
Piece = TypeVar("Piece")
Result = TypeVar("Result")

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Compute:
    """A device to compute on.

    `lanes` are the threads that work on independent pieces at the same time on a CPU; several processes
    have one each, because their exchanges must come in the same order. `autocast` is what operations
    compute in where that is safe, None: float32.
    """

    device: torch.device
    lanes: int = 1
    autocast: torch.dtype | None = None

    @classmethod
    def on(cls, name: str, lanes: int = 1, precision: str = "auto") -> Compute:
        """ "auto", "cpu" or "cuda"; auto takes CUDA where there is one. `lanes` 0: torch's own number.

        `precision`: "auto", "fp32", "bf16" or "fp16"; auto is fp32 on a CPU. Of several processes each takes
        the GPU of its number. Raises PonasError where there is no such GPU, or it has no bf16.
        """
        if name not in DEVICES:
            raise UnknownNameError("device to train on", name, DEVICES)
        if precision not in ("auto", *PRECISIONS):
            raise UnknownNameError("precision", precision, ("auto", *PRECISIONS))
        available = torch.cuda.is_available()
        if name == "cuda" and not available:
            raise PonasError("torch finds no CUDA device: train with the device 'cpu', or 'auto'.")
        if available and name != "cpu":
            return cls(_own_gpu(), autocast=_on_gpu(precision))
        lanes = 1 if distributed.launched() else lanes or torch.get_num_threads()
        return cls(torch.device("cpu"), lanes, PRECISIONS.get(precision))

    @property
    def text(self) -> str:
        """The device, its precision and the number of processes, for people."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        names = {dtype: f"{name} autocast" for name, dtype in PRECISIONS.items() if dtype}
        precision = names[self.autocast] if self.autocast else "float32"
        together = f", {distributed.size()} processes" if distributed.size() > 1 else ""
        return f"{name}, {precision}{together}"

    def place(self, module: Module) -> Module:
        """Move a module here, channels-last."""
        module.to(device=self.device)
        module.to(memory_format=torch.channels_last)
        return module

    def put(self, tensor: Tensor) -> Tensor:
        """Move a tensor here; one of four dimensions becomes channels-last."""
        if tensor.dim() == 4:
            return tensor.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        return tensor.to(self.device, non_blocking=True)

    def precision(self) -> AbstractContextManager[Any]:
        """The context a forward pass runs in."""
        if self.autocast:
            return torch.autocast(self.device.type, dtype=self.autocast)
        return nullcontext()

    def scaler(self) -> torch.amp.GradScaler:
        """What keeps small gradients from vanishing in fp16; without fp16 it changes nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.autocast == torch.float16)

    def each(self, work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> list[Result]:
        """`work` on every piece, at the same time in all lanes; pieces must share nothing that changes.

        Every lane computes in one thread, so the results do not depend on their number. Threads that
        share single operations wait for each other thousands of times a second: with two of them on
        two cores busy with other work (ours at low priority) a step of fine-tuning took about 10 times as
        long as with one; two lanes took 0.7 to 1.4 times as long.
        `work` sets the gradient mode itself: torch keeps it per thread.
        """
        if self.lanes == 1:
            return [work(piece) for piece in pieces]
        with (
            threads(1),
            ThreadPoolExecutor(self.lanes, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            return list(pool.map(work, pieces))

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Torch's own random numbers (dropout) from `seed`; the caller's go on afterwards as before."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield


def _own_gpu() -> torch.device:
    """The GPU of this process; PonasError where a machine has fewer than processes."""
    if not distributed.launched():
        return torch.device("cuda")
    number, count = distributed.local_rank(), torch.cuda.device_count()
    if number >= count:
        raise PonasError(
            f"process {number + 1} of this machine finds only {count} GPUs: start at most {count} processes,"
            f" --nproc-per-node {count}."
        )
    return torch.device("cuda", number)


def _on_gpu(precision: str) -> torch.dtype | None:
    able = torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        return torch.bfloat16 if able else torch.float16
    if precision == "bf16" and not able:
        raise PonasError("this GPU has no bf16: set the precision to fp16, or auto.")
    return PRECISIONS[precision]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads for an operation (0: as many as now), and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SMALL_PX = 112
"""Below this side of the images an operation is too small to be shared by threads."""


def few_threads(resolution: int) -> AbstractContextManager[None]:
    """One CPU thread an operation for small images, torch's own number for others.

    Measuring batch norm statistics on 988 images of 32 px took 5 to 10 times as long with two threads as
    with one, on two cores that were busy with other work.
    """
    return threads(1 if resolution < SMALL_PX else 0)
