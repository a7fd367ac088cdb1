"""What lies beside an engine that belongs to one machine: precision, what it was built for, its sha256.

An engine is bound to a GPU, a driver and a runtime; opened elsewhere a runtime says something about magic
numbers, or takes it and is slow. So the record is compared before the runtime sees a byte. It is read with
the standard library alone, since boards have no msgspec.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Mapping, TypeVar

from ponas_deploy.backends.protocol import RunSettings
from ponas_deploy.errors import BackendError, FileFormatError
from ponas_deploy.files.documents import Format, RawDocument, read_raw
from ponas_deploy.files.records import in_words, sha256, write_json

Identity = Mapping[str, str]
"""What an engine is bound to, by the names below; what is not known is empty or "unknown", and what a machine
has not is left out."""

_WORDS = {
    "board": "the board",
    "gpu": "the GPU",
    "multiprocessors": "multiprocessors:",
    "compute_capability": "compute capability",
    "l4t": "Jetson Linux",
    "driver": "driver",
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT for RTX",
    "onnxruntime": "ONNX Runtime",
    "cuda": "a driver for CUDA",
}
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class EngineRecord:
    """The record of an engine file; a runtime that keeps more has a type of its own below this one."""

    precision: str
    built_for: Mapping[str, str]
    sha256: str

    @classmethod
    def values(cls, found: RawDocument) -> dict[str, Any]:
        """The values of its fields in a file; FileFormatError names one that is missing or no such value."""
        built_for = checked(found, "built_for", dict, "an object")
        for name, value in built_for.items():
            if not isinstance(value, str):
                raise found.error(f"built_for.{name}", f"is {in_words(value)}, expected text.")
        texts = {key: checked(found, key, str, "text") for key in ("precision", "sha256")}
        return {**texts, "built_for": built_for}


@dataclass(frozen=True)
class BuiltRecord(EngineRecord):
    """That of an engine which another program or a plan built; `build` says how, in words."""

    build: str = ""

    @classmethod
    def values(cls, found: RawDocument) -> dict[str, Any]:
        """The same, and how it was built."""
        build = checked(found, "build", str, "text") if "build" in found else ""
        return {**super().values(found), "build": build}


Kept = TypeVar("Kept", bound=EngineRecord)
Value = TypeVar("Value")


def checked(found: RawDocument, key: str, kind: type[Value], words: str) -> Value:
    """What stands at a key of a record, which is `words`; FileFormatError where it is missing or is not."""
    if key not in found.data:
        raise found.error(key, "is missing.")
    value = found.data[key]
    if not isinstance(value, kind):
        raise found.error(key, f"is {in_words(value)}, expected {words}.")
    return value


def write_record(path: Path, kind: Format[Kept], record: Kept) -> None:
    """Write the record of an engine file, over an older one."""
    write_json(path, kind.tag, asdict(record), overwrite=True)


def read_record(
    backend: str, path: Path, kind: Format[Kept], engine: Path, settings: RunSettings, identity: Identity
) -> Kept:
    """The record of an engine that was built for this machine; BackendError says what it was built for."""
    try:
        record = kind.type(**kind.type.values(read_raw(path, kind)))
    except FileFormatError as error:
        raise BackendError(backend, f"cannot open the engine: {error}") from error
    precision, wanted, built_for = record.precision, record.sha256, record.built_for
    if precision != settings.precision:
        raise BackendError(
            backend, f"{engine} is for {precision}, not {settings.precision}: open it with {precision}."
        )
    if differ := _different(built_for, identity):
        was, here = (
            ", ".join(f"{_WORDS[name]} {one.get(name) or _UNKNOWN}" for name in differ)
            for one in (built_for, identity)
        )
        raise BackendError(
            backend, f"{engine} was built for {was}, and here is {here}: build it again on this machine."
        )
    try:
        found = sha256(engine)
    except FileFormatError as error:
        raise BackendError(backend, f"cannot open the engine: {error}") from error
    except OSError as error:
        raise BackendError(backend, f"{engine} cannot be read: {error.strerror}.") from error
    if found != wanted:
        raise BackendError(
            backend,
            f"{engine} was changed or cut short since it was written: build it again on this machine.",
        )
    return record


def _different(built_for: Identity, here: Identity) -> tuple[str, ...]:
    """In what an engine's machine and this one differ; what is not known of either is equal to nothing."""
    return tuple(
        name
        for name in _WORDS
        if (name in built_for or name in here)
        and (built_for.get(name) != here.get(name) or here[name] in ("", _UNKNOWN))
    )
