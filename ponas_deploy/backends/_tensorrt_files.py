"""What of TensorRT lies on disk: engines with their record, and the user's cache of engines and timings.

An engine belongs to the GPU, the driver and the TensorRT that it was built with (`_engine_record`), one of
TensorRT for RTX to a compute capability and the TensorRT. Kernels
are picked by timing, so that building the same model again gives another engine: what was built is kept, and
is what is opened, timed and saved from then on.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.backends._engine_record import BuiltRecord, Identity, read_record, write_record
from ponas_deploy.backends._tensorrt_library import Library
from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.files.documents import Format
from ponas_deploy.files.home import home
from ponas_deploy.files.records import sha256, write_bytes
from ponas_deploy.machines.names import slug

FORMAT = Format("ponas.tensorrt-engine", 1, BuiltRecord)
ENGINE, FED = "engine.plan", "engine.onnx"


@dataclass(frozen=True)
class Cache:
    """The user's engines and kernel timings of one GPU with one TensorRT and driver.

    It lies in the user's store, below the library's name. Engines that were not used for longest go when all
    together take more than `limit_bytes`.
    """

    folder: Path
    limit_bytes: int = 4 << 30

    @classmethod
    def of(cls, identity: Identity, library: Library) -> Cache:
        """The cache of what engines are bound to."""
        name = slug("-".join(identity.values()))
        return cls(home() / library.backend / name)

    def engine(self, key: str) -> bytes | None:
        """The engine kept under this key, if there is one."""
        path = self._path(key)
        try:
            found = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return found

    def keep(self, key: str, engine: bytes, timings: bytes) -> None:
        """Keep an engine and the kernel timings that its build has added to."""
        write_bytes(self._path(key), engine, overwrite=True)
        if timings:
            write_bytes(self._timings, timings, overwrite=True)
        self._evict(self._path(key))

    def timings(self) -> bytes:
        """The kernel timings kept so far, empty before the first build."""
        try:
            return self._timings.read_bytes()
        except OSError:
            return b""

    @property
    def _timings(self) -> Path:
        return self.folder / "timings"

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.plan"

    def _evict(self, newest: Path) -> None:
        """Drop what was used longest ago; another process may be doing the same."""
        with suppress(OSError):
            found = sorted((p.stat().st_mtime_ns, p.stat().st_size, p) for p in self.folder.glob("*.plan"))
            total = sum(size for _, size, _ in found)
            for _, size, path in found:
                if total <= self.limit_bytes or path == newest:
                    return
                path.unlink(missing_ok=True)
                total -= size


def engine_key(model: bytes, settings: RunSettings, plan: str) -> str:
    """What an engine is kept under: the model that TensorRT is given, and all that it is built with."""
    digest = hashlib.sha256(model)
    digest.update(f"{settings.precision} {plan}".encode())
    return digest.hexdigest()


def write_engine(
    library: Library,
    folder: Path,
    engine: bytes,
    fed: bytes,
    settings: RunSettings,
    identity: Identity,
    plan: str,
) -> tuple[Path, ...]:
    """Write an engine, the ONNX it was built from and its record; the engine comes first."""
    files = {ENGINE: engine, FED: fed}
    for name, content in files.items():
        write_bytes(folder / name, content, overwrite=True)
    record = BuiltRecord(settings.precision, dict(identity), sha256(folder / ENGINE), plan)
    write_record(folder / library.record, FORMAT, record)
    return tuple(folder / name for name in (*files, library.record))


def read_engine(library: Library, engine: Path, settings: RunSettings, identity: Identity) -> bytes:
    """The bytes of an engine that was built for this machine; BackendError says what it was built for."""
    read_record(library.backend, engine.with_name(library.record), FORMAT, engine, settings, identity)
    return engine.read_bytes()
