"""Several processes that train one network, as torchrun starts them; alone, nothing here does anything.

Every process holds the whole network and takes an equal share of each batch; gradients are added up
before each step, so that all take the same step as one process with the whole batch would. Images to
evaluate and batches that measure statistics are dealt out, the sums put together. Files are read and
written by the first process alone: the others get what it returns, so they need not see the run folder.

An error anywhere ends all: the process that fails first says why, the others end without a message.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic, sleep
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ponas_deploy.errors import PonasError
from train.compute.share import Share
from train.errors import OtherProcessError

if TYPE_CHECKING:  # some builds of torch, those of small boards, have no such modules
    from torch.distributed.distributed_c10d import Store

Result = TypeVar("Result")

_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_EXCHANGE_TIMEOUT = timedelta(hours=6)
"""How long one process may wait for another: the first may have a million images to check."""
_JOINED = itertools.count()
_FAILED, _ENDED = "failed", "ended"
_GRACE_S = 5.0
"""How long a process may take to notice by itself that another has failed."""


class _LostError(PonasError):
    """An exchange failed because a process is gone."""


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return all(name in os.environ for name in _TORCHRUN) and int(os.environ["WORLD_SIZE"]) > 1


def leads() -> bool:
    """Whether this process is the one that writes, prints and draws."""
    return not launched() or os.environ["RANK"] == "0"


def local_rank() -> int:
    """The number of this process on its machine, from 0: the GPU it takes."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else 0


def own_cores() -> int:
    """How many cores of its machine each of several processes may use; 0, for all of them, when alone."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))
    return max((os.cpu_count() or 1) // here, 1) if launched() else 0


def size() -> int:
    """How many processes train together; 1 outside `joined`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return dist.get_rank() if size() > 1 else 0


def share() -> Share:
    """The part of every batch that this process trains on."""
    return Share(rank(), size())


def divided(stage: str, batch: int) -> None:
    """PonasError when a batch cannot be shared equally by all processes."""
    left = batch % size()
    if left:
        fitting = " or ".join(str(near) for near in (batch - left, batch - left + size()) if near)
        raise PonasError(
            f"a batch of {batch} for {stage} cannot be shared equally by {size()} processes:"
            f" train with a batch of {fitting}."
        )


def own_images(count: int) -> Tensor | None:
    """The indices of `count` images that this process evaluates, (n,) int64; None: all of them."""
    return None if size() == 1 else torch.tensor_split(torch.arange(count), size())[rank()]


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Train together with the other processes that torchrun started, where it did: over NCCL or gloo.

    What ends one process ends all. The first to fail raises its own error, the others OtherProcessError.
    """
    if not launched() or size() > 1:
        yield
        return
    if not dist.is_available():
        raise PonasError(
            "this build of torch knows no torch.distributed: start one process, without torchrun."
        )
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    meeting_point, number, count = next(rendezvous("env://"))
    store = PrefixStore(f"ponas/{next(_JOINED)}", meeting_point)  # keys of an earlier one would mislead
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=_EXCHANGE_TIMEOUT)
    ending = threading.Event()
    watcher = threading.Thread(target=_end_with_the_others, args=(store, ending), daemon=True)
    watcher.start()
    try:
        yield
    except BaseException as error:
        if isinstance(error, _LostError):
            _await_a_failure(store)
        first_to_fail = not isinstance(error, OtherProcessError) and _count(store, _FAILED) == 1
        _count(store, _ENDED)
        if number == 0:
            _let_others_end(store, count)
        if not first_to_fail:
            raise OtherProcessError from error
        raise
    finally:
        ending.set()
        watcher.join(_GRACE_S)  # a thread that is in the store when Python ends takes the process with it
    dist.destroy_process_group()


def _end_with_the_others(store: Store, ending: threading.Event) -> None:
    """End this process when another has failed and an exchange with it would wait for ever."""
    with suppress(RuntimeError):  # the store is gone: so is the process that kept it
        while not ending.wait(1.0):
            if store.check([_FAILED]) and not ending.wait(_GRACE_S):
                os._exit(1)


def _await_a_failure(store: Store) -> None:
    until = monotonic() + _GRACE_S
    with suppress(RuntimeError):
        while monotonic() < until and not store.check([_FAILED]):
            sleep(0.1)


def _count(store: Store, key: str) -> int:
    """How many processes have come here; 0 when the store is gone."""
    try:
        return int(store.add(key, 1))
    except RuntimeError:
        return 0


def _let_others_end(store: Store, count: int) -> None:
    """Wait a moment for the others: where torchrun keeps no store, it ends with this process."""
    until = monotonic() + 2.0
    with suppress(RuntimeError):
        while monotonic() < until and store.add(_ENDED, 0) < count:
            sleep(0.05)


@contextmanager
def _exchanging() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise _LostError(
            f"another process of this run ended without an error message ({reason}): what is finished is"
            f" kept, and the same command goes on from there."
        ) from error


def first(work: Callable[[], Result]) -> Result:
    """What `work` returns in the first process, where alone it runs; its PonasError ends all."""
    if size() == 1:
        return work()
    outcome: list[tuple[Result | None, bool]] = [(None, False)]
    failed: PonasError | None = None
    if rank() == 0:
        try:
            outcome = [(work(), False)]
        except PonasError as error:
            outcome, failed = [(None, True)], error
    with _exchanging():
        dist.broadcast_object_list(outcome, src=0)
    return _result_or_error(outcome[0][0], failed, outcome[0][1])


def in_turn(work: Callable[[], Result]) -> Result:
    """`work` in the first process of each machine, then in the others, which find what it kept in a cache."""
    if size() == 1:
        return work()
    result: Result | None = None
    for turn in (local_rank() == 0, local_rank() != 0):
        failed: PonasError | None = None
        if turn:
            try:
                result = work()
            except PonasError as error:
                failed = error
        failures = [False] * size()
        with _exchanging():
            dist.all_gather_object(failures, failed is not None)
        _result_or_error(None, failed, any(failures))
    return result  # type: ignore[return-value]


def _result_or_error(result: Result | None, failed: PonasError | None, anywhere: bool) -> Result:
    if failed:
        raise failed
    if anywhere:
        raise OtherProcessError
    return result  # type: ignore[return-value]


def total(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in place."""
    if size() > 1:
        with _exchanging():
            dist.all_reduce(values)
    return values


def gathered(values: Tensor) -> Tensor:
    """A tensor of every process, stacked: (processes, ...)."""
    parts = [torch.empty_like(values) for _ in range(size())]
    with _exchanging():
        dist.all_gather(parts, values.contiguous())
    return torch.stack(parts)


def add_gradients(parameters: Sequence[torch.nn.Parameter], loss: Tensor) -> Tensor:
    """Add up the gradients of `parameters`, and a scalar loss, over all processes; the loss's sum.

    One exchange of one flat vector, after the whole backward pass.
    """
    if size() == 1:
        return loss
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = total(torch.cat([*(gradient.flatten() for gradient in gradients), loss.reshape(1)]))
    parts = torch.split(flat[:-1], [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return flat[-1]
