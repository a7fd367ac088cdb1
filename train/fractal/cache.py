"""Fractal images on disk: drawn once by several processes, resumed after a kill, read as a memory map."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.bounds import Positive
from ponas_deploy.files.documents import Format, read_document, write_document
from ponas_deploy.files.opening import check_regular
from ponas_deploy.files.records import sha256
from train.fractal.pictures import Pixels, draw
from train.fractal.systems import FractalSettings
from train.progress import OnProgress, TrainingProgress, silent

try:
    import fcntl
except ImportError:  # Windows: two processes that ask for the same images both draw them
    fcntl = None  # type: ignore[assignment]

GENERATOR = "fractal/1"
"""Changes whenever the same settings give other pixels; part of a cache's name."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """`fractals.json`: what was drawn, all of it; `settings` are those of `FractalSettings`."""

    generator: str
    settings: dict[str, int | float]
    images: Positive
    sha256: str


DRAWN = Format("ponas.fractals", 1, Drawn)
HEADER, IMAGES, PARTIAL, JOURNAL = "fractals.json", "images.npy", "images.partial.npy", "done.txt"
_CHUNK = 250  # images drawn at once; what a kill costs at most, a process

Chunk = tuple[int, int, int]
"""A class, the number of its first image, and how many images."""


def fractal_images(
    settings: FractalSettings, cache_dir: Path, *, workers: int = 1, on_progress: OnProgress = silent
) -> tuple[Pixels, NDArray[np.int64]]:
    """All images, class by class: (classes * images_per_class, size, size) uint8, and labels (N,) int64.

    They are drawn once, by `workers` processes (0 or 1: this one), into a folder of `cache_dir` named
    after the settings, and read from there without taking memory afterwards. A killed drawing goes on
    where it stopped; two processes that ask for the same images draw them once.
    Raises PonasError when the disk refuses, FileFormatError when the cache is damaged.
    """
    folder = cache_folder(settings, cache_dir)
    if not (folder / HEADER).exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder / "lock"):
                if not (folder / HEADER).exists():
                    _fill(settings, folder, workers, on_progress)
        except OSError as error:
            raise PonasError(f"{folder} cannot be written: {error.strerror or error}.") from error
    labels = np.repeat(np.arange(settings.classes, dtype=np.int64), settings.images_per_class)
    return _read(settings, folder), labels


def cache_folder(settings: FractalSettings, cache_dir: Path) -> Path:
    """Where images of these settings are kept: everything that changes a pixel is in the name."""
    known = json.dumps({"generator": GENERATOR, **asdict(settings)}, sort_keys=True)
    digest = hashlib.sha256(known.encode()).hexdigest()[:12]
    return cache_dir / f"fractal-{settings.classes}x{settings.images_per_class}-{settings.size}px-{digest}"


def _read(settings: FractalSettings, folder: Path) -> Pixels:
    drawn = read_document(folder / HEADER, DRAWN)
    if drawn.settings != asdict(settings) or drawn.generator != GENERATOR:
        reason = f"belong to other images: delete {folder}, they are drawn again."
        raise FileFormatError(folder / HEADER, "settings", reason)
    check_regular(folder / IMAGES)
    try:
        images: Pixels = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = f"cannot be read ({error}): delete {folder}, the images are drawn again."
        raise FileFormatError(folder / IMAGES, "", reason) from error
    return images


def _fill(settings: FractalSettings, folder: Path, workers: int, on_progress: OnProgress) -> None:
    """Draw what is missing; the header comes last and says that all is there."""
    chunks, partial = list(_chunks(settings)), folder / PARTIAL
    if (folder / IMAGES).exists():  # killed between the last image and the header
        os.replace(folder / IMAGES, partial)
    if not partial.exists():
        (folder / JOURNAL).unlink(missing_ok=True)
        _make_room(settings, partial)
    done = _journal(folder / JOURNAL)
    start = np.load(partial, mmap_mode="r").offset
    missing = [chunk for chunk in chunks if _line(chunk) not in done]
    report = _reporter(settings, missing, on_progress)
    with partial.open("r+b") as file, (folder / JOURNAL).open("a") as journal:
        for chunk, images in _drawn(settings, missing, workers):
            file.seek(start + (chunk[0] * settings.images_per_class + chunk[1]) * settings.size**2)
            file.write(images.tobytes())
            _flush(file)
            journal.write(_line(chunk))
            journal.flush()
            report(chunk)
    os.replace(partial, folder / IMAGES)
    count = settings.classes * settings.images_per_class
    document = Drawn(GENERATOR, asdict(settings), count, sha256(folder / IMAGES))
    write_document(folder / HEADER, DRAWN, document, overwrite=True)
    (folder / JOURNAL).unlink()


def _chunks(settings: FractalSettings) -> Iterator[Chunk]:
    for label in range(settings.classes):
        for first in range(0, settings.images_per_class, _CHUNK):
            yield label, first, min(_CHUNK, settings.images_per_class - first)


def _line(chunk: Chunk) -> str:
    return f"{chunk[0]} {chunk[1]} {chunk[2]}\n"


def _journal(path: Path) -> set[str]:
    """The lines of finished chunks; one cut short by a kill, and the one after it, match no chunk."""
    return set(path.read_text().splitlines(keepends=True)) if path.exists() else set()


def _make_room(settings: FractalSettings, path: Path) -> None:
    """An empty array file of the full size, whole or not at all."""
    shape = (settings.classes * settings.images_per_class, settings.size, settings.size)
    new = path.with_name("images.new.npy")
    np.lib.format.open_memmap(new, mode="w+", dtype=np.uint8, shape=shape)
    os.replace(new, path)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _reporter(
    settings: FractalSettings, missing: list[Chunk], on_progress: OnProgress
) -> Callable[[Chunk], None]:
    total = settings.classes * settings.images_per_class
    found = done = total - sum(chunk[2] for chunk in missing)
    started = time.monotonic()

    def report(chunk: Chunk) -> None:
        nonlocal done
        done += chunk[2]
        rate = (done - found) / max(time.monotonic() - started, 1e-9)
        text = f"fractals: {done:,} of {total:,} images, {rate:,.0f} images/s"
        on_progress(TrainingProgress("data", done, total, text, (("images_per_s", rate),)))

    return report


def _drawn(settings: FractalSettings, chunks: list[Chunk], workers: int) -> Iterator[tuple[Chunk, Pixels]]:
    """The chunks in order with their images, drawn by `workers` processes."""
    if workers <= 1 or len(chunks) <= 1:
        yield from ((chunk, draw(settings, *chunk)) for chunk in chunks)
        return
    # Spawned: a fork of a process that has torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(chunks)), context, _end_with_parent)
    try:
        waiting = iter(chunks)
        running = deque(
            (chunk, pool.submit(draw, settings, *chunk)) for chunk in islice(waiting, 2 * workers)
        )
        while running:
            chunk, future = running.popleft()
            images = future.result()
            running.extend((new, pool.submit(draw, settings, *new)) for new in islice(waiting, 1))
            yield chunk, images
    except BrokenProcessPool as error:
        raise PonasError(
            f"one of {workers} processes that draw fractals was ended from outside: run it again, it goes"
            f" on where it stopped, or use fewer workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Start a thread that ends this process when its parent is killed; a pool's processes wait for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the others wait. A lock ends with its process, also when that is killed."""
    with path.open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
