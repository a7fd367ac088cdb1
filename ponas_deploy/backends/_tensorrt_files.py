"""What of TensorRT lies on disk: engines with their record, and the user's cache of engines and timings.

An engine belongs to the GPU, the driver and the TensorRT that it was built with; its record says which, and
is compared before TensorRT sees a byte of it. Kernels are picked by timing, so that building the same model
again gives another engine: what was built is kept, and is what is opened, timed and saved from then on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy import store
from ponas_deploy.backends import RunSettings
from ponas_deploy.errors import BackendError, FileFormatError
from ponas_deploy.records import read_json, write_bytes, write_json

FORMAT = "ponas.tensorrt-engine/1"
ENGINE, RECORD, FED, TIMING_CACHE = (
    "engine.plan",
    "engine.tensorrt.json",
    "engine.onnx",
    "engine.timing-cache",
)
_UNKNOWN = "unknown"

Identity = Mapping[str, str]
"""What an engine is bound to: "gpu", "compute_capability", "driver", "tensorrt"."""


@dataclass(frozen=True, slots=True)
class Cache:
    """The user's engines and kernel timings of one GPU with one TensorRT and driver.

    It lies in the user's store, below `tensorrt/`. Engines that were not used for longest go when all
    together take more than `limit_bytes`.
    """

    folder: Path
    limit_bytes: int = 4 << 30

    @classmethod
    def of(cls, identity: Identity) -> Cache:
        """The cache of this GPU, TensorRT and driver."""
        name = store.slug("-".join(identity.values()))
        return cls(store.home() / "tensorrt" / name)

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
    folder: Path,
    engine: bytes,
    fed: bytes,
    timings: bytes,
    settings: RunSettings,
    identity: Identity,
    plan: str,
) -> tuple[Path, ...]:
    """Write an engine, the ONNX it was built from, the kernel timings and its record; it comes first."""
    files = {ENGINE: engine, FED: fed, TIMING_CACHE: timings}
    for name, content in files.items():
        write_bytes(folder / name, content, overwrite=True)
    document = {
        "precision": settings.precision,
        "build": plan,
        "built_for": dict(identity),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    write_json(folder / RECORD, FORMAT, document, overwrite=True)
    return tuple(folder / name for name in (*files, RECORD))


def read_engine(backend: str, engine: Path, settings: RunSettings, identity: Identity) -> bytes:
    """The bytes of an engine that was built for this machine; BackendError says what it was built for."""
    try:
        record = read_json(engine.with_name(RECORD), FORMAT)
        built_for = dict(record.strings("built_for"))
        precision, wanted = record.text("precision"), dict(record.strings("sha256")).get(ENGINE)
    except FileFormatError as error:
        raise BackendError(backend, f"cannot open the engine: {error}") from error
    if precision != settings.precision:
        raise BackendError(
            backend, f"{engine} is for {precision}, not {settings.precision}: open it with {precision}."
        )
    if differ := different(built_for, identity):
        was, here = (
            ", ".join(f"{_WORDS[name]} {one[name]}" for name in differ) for one in (built_for, identity)
        )
        raise BackendError(
            backend, f"{engine} was built for {was}, and here is {here}: build it again on this machine."
        )
    try:
        content = engine.read_bytes()
    except OSError as error:
        raise BackendError(backend, f"{engine} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(content).hexdigest() != wanted:
        raise BackendError(
            backend,
            f"{engine} was changed or cut short since it was written: build it again on this machine.",
        )
    return content


def different(built_for: Identity, here: Identity) -> tuple[str, ...]:
    """In what an engine's machine and this one differ; what one of them does not know is not compared."""
    return tuple(
        name
        for name in _WORDS
        if _UNKNOWN not in (was := built_for.get(name, _UNKNOWN), now := here.get(name, _UNKNOWN))
        and was != now
    )


_WORDS = {
    "gpu": "the GPU",
    "compute_capability": "compute capability",
    "driver": "driver",
    "tensorrt": "TensorRT",
    "cuda": "a driver for CUDA",
}
