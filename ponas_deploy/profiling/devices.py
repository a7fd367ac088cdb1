"""The devices that are known: this machine with its GPU and runtimes, and those that have latency tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.backends import Backend, registry
from ponas_deploy.errors import PonasError
from ponas_deploy.files.home import home
from ponas_deploy.machines import gpu
from ponas_deploy.machines.machine import Machine, this_machine
from ponas_deploy.tables import store
from ponas_deploy.tables.store import StoredTable


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime and the precisions it has here; `problem` says why it cannot be used."""

    backend: str
    precisions: tuple[str, ...] = ()
    problem: str = ""


def runtimes(*, on_gpu: bool = False) -> tuple[Runtime, ...]:
    """Every default runtime of the processor or of the GPU, installed or not."""
    if not on_gpu:
        return tuple(_runtime(name, on_gpu=False) for name in registry.default_backends("cpu"))
    found = (_runtime(name, on_gpu=True) for name in registry.default_backends("gpu"))
    return tuple(found_or for one in found for found_or in _or_instead(one))


def _runtime(name: str, *, on_gpu: bool) -> Runtime:
    try:
        return Runtime(name, installed(name, on_gpu=on_gpu).precisions())
    except PonasError as error:
        return Runtime(name, problem=str(error))


def _or_instead(runtime: Runtime) -> tuple[Runtime, ...]:
    """A runtime, and behind one that cannot be used another way to the same engines."""
    other = registry.stand_in_for(runtime.backend)
    return (runtime, _runtime(other, on_gpu=True)) if runtime.problem and other else (runtime,)


def installed(name: str, *, on_gpu: bool) -> Backend:
    """A real runtime on the processor asked for: the fake one is for tests, and measures no machine."""
    backend = registry.real_backend(name)
    registry.refuse_other_processor(backend, on_gpu=on_gpu)
    return backend


@dataclass(frozen=True, slots=True)
class Inventory:
    """This machine, its GPU (empty without one), their runtimes, and latency tables by device.

    `unreadable` says why files of the store at `home` are no tables.
    """

    here: Machine
    runtimes: tuple[Runtime, ...]
    gpu: str
    gpu_runtimes: tuple[Runtime, ...]
    tables: Mapping[str, tuple[StoredTable, ...]]
    home: Path
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device that a `Target` can name; its runtimes are known where it is of this machine."""

    name: str
    is_here: bool
    runtimes: tuple[Runtime, ...]
    tables: tuple[StoredTable, ...]


def inventory() -> Inventory:
    """Look at this machine and its store. Nothing is raised and nothing measured."""
    tables, problems = store.latency_tables()
    name = gpu.this_gpu()
    return Inventory(
        this_machine(),
        runtimes(),
        name or "",
        runtimes(on_gpu=True) if name else (),
        _by_device(tables),
        home(),
        tuple(map(str, problems)),
    )


def devices() -> tuple[KnownDevice, ...]:
    """List the processor and the GPU of this machine, then every other device that has latency tables.

    Returns: this machine's processor first, its GPU where one answers, then the others by name. A runtime
    that cannot be used says why in `problem`; a file of the store that cannot be read is left out. Nothing is
    raised and nothing measured.
    """
    found = inventory()
    here = {found.here.name: found.runtimes, **({found.gpu: found.gpu_runtimes} if found.gpu else {})}
    others = [name for name in found.tables if name not in here]
    return tuple(
        KnownDevice(name, name in here, here.get(name, ()), found.tables.get(name, ()))
        for name in (*here, *others)
    )


def known_devices() -> dict[str, tuple[StoredTable, ...]]:
    """Every device with latency tables that can be read, the user's own and the shipped ones."""
    return _by_device(store.latency_tables()[0])


def _by_device(tables: Sequence[StoredTable]) -> dict[str, tuple[StoredTable, ...]]:
    names = sorted({stored.device for stored in tables})
    return {name: tuple(stored for stored in tables if stored.device == name) for name in names}
