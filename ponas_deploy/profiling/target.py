"""Where a network shall run, and how: a device, runtimes, precisions, threads and batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ponas_deploy.backends import INT8, MIXED
from ponas_deploy.boards.book import Entry, find_board, read_book
from ponas_deploy.errors import PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.machines import gpu
from ponas_deploy.machines.machine import this_machine, threads_fault
from ponas_deploy.machines.names import slug
from ponas_deploy.tables.store import StoredTable

THIS_MACHINE = "cpu"
AUTO = "auto"
"""The precision that stands for all that are considered where none is named."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a network shall run, and how.

    `device` is `cpu` or `gpu` of this machine, or the name of a device that has latency tables (see
    `devices`). Without `backends` every runtime that is installed is considered (of a board of the device
    book those that it names there, see `used_backends`), without `precisions`, or with AUTO, every precision
    they have; lists are kept as tuples, a lone name as a list of one. `threads` is what the runtime may use,
    `batch` the images of one run, `streams` how many runs go on at once, each with its `threads`. INT8 loses
    accuracy that no table knows: without `precisions` it is considered where `int8` says so. Mixed precision
    is of another space (`searchspace.mixed`), and is considered where it is named.

    Raises PonasError for fewer than one thread or image, and for more threads than this machine has
    processors where it is the device.
    """

    device: str
    backends: Sequence[str] = ()
    precisions: Sequence[str] = ()
    threads: int = 1
    batch: int = 1
    int8: bool = False
    streams: int = 1

    def __post_init__(self) -> None:
        for what in ("backends", "precisions"):
            given = getattr(self, what)
            object.__setattr__(self, what, (given,) if isinstance(given, str) else tuple(given))
        if AUTO in self.precisions:
            if set(self.precisions) != {AUTO}:
                raise PonasError(
                    f"the precision {AUTO} stands for all of them: name it alone, or leave it out."
                )
            object.__setattr__(self, "precisions", ())
        for what in ("threads", "batch", "streams"):
            if getattr(self, what) < 1:
                raise PonasError(f"{what} is {getattr(self, what)}: ask for 1 or more.")
        if (fault := threads_fault(self.all_threads)) and self.local:
            raise PonasError(fault)

    def open_precisions(self, known: Sequence[str]) -> tuple[str, ...]:
        """Those of a runtime that are considered where none was named."""
        return tuple(name for name in known if name != MIXED and (self.int8 or name != INT8))

    @property
    def all_threads(self) -> int:
        """The threads that run at once: those of all streams."""
        return self.threads * self.streams

    @property
    def local(self) -> bool:
        """Whether the device is the machine this runs on: its processor or its GPU."""
        return self._on_processor or self.on_gpu

    @property
    def on_gpu(self) -> bool:
        """Whether the device is the GPU of the machine this runs on."""
        asked = slug(self.device)
        return not self._on_processor and asked in (gpu.GPU, gpu.this_gpu() or gpu.GPU)

    @property
    def device_name(self) -> str:
        """The name tables of the device carry; PonasError where a GPU is asked for and none answers."""
        if self._on_processor:
            return this_machine().name
        if self.on_gpu:
            return gpu.required_gpu()
        board = find_board(self.device)
        return board.name if board else slug(self.device)

    @property
    def board(self) -> Entry | None:
        """The board of the device book that the device is, by its name or an alias."""
        return None if self.local else find_board(self.device)

    @property
    def used_backends(self) -> tuple[str, ...]:
        """The runtimes that were named, else those that the device book names for the board."""
        if self.backends:
            return tuple(self.backends)
        board = self.board
        return board.board.backends if board else ()

    @property
    def is_known(self) -> bool:
        """Whether the device is this machine or in the book."""
        return self.local or self.board is not None

    @property
    def unreachable(self) -> str:
        """A sentence for a device that is neither this machine nor in the book."""
        return (
            f"'{self.device}' is not this machine: `ponas devices add {slug(self.device) or 'NAME'} --host"
            " user@address` adds it as a board."
        )

    @property
    def _on_processor(self) -> bool:
        return slug(self.device) in (THIS_MACHINE, this_machine().name)


def profile_there(target: Target) -> str:
    """The same for one that shall be profiled, and how the table of one without a link comes here."""
    return (
        f"{target.unreachable} Or run `ponas profile --device cpu` (or gpu) on it:"
        f" its table, copied into your store here (`ponas devices` names the folder), serves"
        f" `ponas specialize --device {target.device}`."
    )


def refuse_unknown(target: Target, devices: Mapping[str, object]) -> None:
    """UnknownNameError for what is neither this machine nor in the book nor of `devices`, with tables."""
    if not target.local and target.board is None and target.device_name not in devices:
        names = {THIS_MACHINE, gpu.GPU, *devices, *(entry.name for entry in read_book())}
        raise UnknownNameError("device", target.device, names, advice=profile_there(target))


def device_of(stored: StoredTable) -> Target:
    """Where a table was made, as a target; TableMismatchError where that is no machine we can reach."""
    made_at = stored.conditions
    if stored.device == this_machine().name:
        return Target(THIS_MACHINE, threads=made_at.threads, streams=made_at.streams)
    target = Target(gpu.GPU if stored.device == gpu.this_gpu() else stored.device)
    if target.board:
        return replace(target, backends=made_at.backend, threads=made_at.threads, streams=made_at.streams)
    if not target.local:
        raise TableMismatchError(
            f"{stored.name} is of {stored.device}, this machine is {this_machine().name}: recheck it there."
        )
    return target
