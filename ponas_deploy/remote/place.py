"""A board as a place that builds, runs and measures (`measuring.place.Place`), by the steps of a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import INT8, OnBuildProgress, RunSettings, Session, registry
from ponas_deploy.backends.cpu_scales import INT8_FORM
from ponas_deploy.backends.onnx_calibration import INT8_SCALES, Calibration
from ponas_deploy.backends.onnx_prepared import prepared_for_board
from ponas_deploy.backends.onnx_quantised import IntegerForm, form_called
from ponas_deploy.backends.progress import BuildProgress
from ponas_deploy.boards.book import Entry
from ponas_deploy.boards.link import BoardError
from ponas_deploy.errors import BackendError, PonasError, UnknownNameError
from ponas_deploy.files.bounds import Count, Positive
from ponas_deploy.files.documents import converted
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.measuring.build_process import takes_no_images
from ponas_deploy.measuring.engine_process import Taken, Timed
from ponas_deploy.measuring.interference import Snapshot
from ponas_deploy.measuring.interleaved_process import OnRounds, RoundsDone, TakenTogether, TimedTogether
from ponas_deploy.measuring.machine_readings import MachineReadings
from ponas_deploy.remote.job import MOST_FETCHED_BYTES, Job, job_on
from ponas_deploy.remote.pack import runs_on_boards
from ponas_deploy.remote.parcels import parcels
from ponas_deploy.remote.session import BoardSession

Value = TypeVar("Value")

_MOST_FILES = 8
"""An engine has no more files."""


@dataclass(frozen=True, slots=True)
class RuntimeThere:
    """A runtime of a board; `problem` says why it cannot be used."""

    backend: str
    environment: tuple[tuple[str, str], ...] = ()
    precisions: tuple[str, ...] = ()
    on_gpu: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """What a board says of itself now, and of the runtimes that it was asked for."""

    machine: tuple[tuple[str, str], ...]
    name: str
    cores: Positive
    conditions: tuple[tuple[str, str], ...]
    available_mib: Count
    threads_fault: str
    runtimes: tuple[RuntimeThere, ...]


@dataclass(frozen=True, slots=True)
class _TakenThere:
    taken: Taken
    before: Snapshot
    after: Snapshot


@contextmanager
def place_on(entry: Entry, title: str, on_note: OnNote = no_note) -> Iterator[BoardPlace]:
    """A board of the book as a place, for what `title` says; nobody else measures there meanwhile.

    BoardError where it cannot be reached or somebody else measures there.
    """
    with ExitStack() as stack:

        def begin() -> Job:
            return stack.enter_context(job_on(entry, title=title, on_note=on_note))

        yield BoardPlace(entry.name, begin(), begin, stack.close)


@dataclass(slots=True)
class BoardPlace:
    """A board; see `Place`. `name` is that of its tables; `begin` starts a job, `end` ends it."""

    name: str
    _job: Job | None
    begin: Callable[[], Job]
    end: Callable[[], None]
    _keys: Iterator[int] = field(default_factory=count)
    _runtimes: dict[str, RuntimeThere] = field(default_factory=dict)
    _stopped: bool = False

    @property
    def job(self) -> Job:
        """What the board is asked through; BoardError where another one is to begin and cannot."""
        if self._job is None:
            self._job = self.begin()
            if self._stopped:
                self._job.stop()
        return self._job

    def renew(self) -> None:
        """End the worker, with all that is open or under way in it: the next step goes to another one."""
        self._job = None
        self.end()

    def stop(self) -> None:
        """Have the thread that uses this place raise JobStopped soon; another thread calls this."""
        self._stopped = True
        if job := self._job:
            job.stop()

    def value(self, found: Any, kind: type[Value], step: str) -> Value:
        """What a step returned, as a typed value; FileFormatError where it is something else."""
        return converted(found, kind, Path(self.name), step)

    def snapshot(self, found: Snapshot) -> Snapshot:
        """The board at a moment, where it may be that; BoardError where not."""
        if found.counters.cores < 1:
            raise BoardError(self.name, "tells of a machine without a core.")
        return found

    def about(self, backends: Sequence[str] = (), threads: int = 1) -> About:
        """The board now, and these runtimes there."""
        asked = [name for name in backends if runs_on_boards(name)]
        found = self.value(self.job.do("about", threads=threads, backends=asked), About, "about")
        if [one.backend for one in found.runtimes] != asked:
            raise BoardError(self.name, "tells of other runtimes than it was asked for.")
        self._runtimes.update((one.backend, one) for one in found.runtimes)
        return found

    def runtimes(self, names: Sequence[str]) -> tuple[RuntimeThere, ...]:
        """What was said of runtimes first; they are asked for together where nothing was."""
        for name in names:
            if not runs_on_boards(name):
                self._runtimes[name] = RuntimeThere(name, problem="is not used on boards.")
        if lacking := [name for name in names if name not in self._runtimes]:
            self.about(lacking)
        return tuple(self._runtimes[name] for name in names)

    def runtime(self, name: str) -> RuntimeThere:
        """A runtime there; BackendError where it cannot be used."""
        (found,) = self.runtimes([name])
        if found.problem:
            raise BackendError(name, f"on {self.name}: {found.problem}")
        return found

    def backend(self, name: str, on_build: OnBuildProgress | None = None) -> BoardBackend:
        """A runtime there."""
        return BoardBackend(self, name, on_build)

    def environment(self) -> tuple[tuple[str, str], ...]:
        """What the board is."""
        return self.about().machine

    def readings(self) -> MachineReadings:
        """What can be read of the board in a second."""
        return self.value(self.job.do("readings"), MachineReadings, "readings")

    def conditions(self) -> tuple[tuple[str, str], ...]:
        """What it works under now."""
        return self.about().conditions

    def send(
        self,
        models: Mapping[str, bytes],
        backend: str,
        settings: RunSettings,
        calibration: Calibration | None = None,
    ) -> dict[str, str]:
        """Send models for a runtime there as parcels: the hash of each, by its key.

        What a precision makes of them takes packages that boards lack, and is done here. BackendError where
        it cannot be done.
        """
        if registry.prepares(backend, settings.precision):
            scales, form = calibration or Calibration(), self._form(backend)
            models = {
                key: prepared_for_board(backend, model, settings.precision, scales, form)
                for key, model in models.items()
            }
        made, patterns = parcels(models)
        shas = self.job.put([*made.values(), *patterns])
        return dict(zip(made, shas, strict=False))

    def _form(self, backend: str) -> IntegerForm | None:
        """The integers that a runtime on the board's processor takes; None for one that is strongly typed."""
        if registry.strongly_typed(backend):
            return None
        return form_called(dict(self.runtime(backend).environment).get(INT8_FORM, ""))

    def build(
        self,
        model: Path,
        backend: str,
        settings: RunSettings,
        images: NDArray[np.float32] | None,
        on_build: OnBuildProgress | None,
    ) -> Path:
        """Build an engine there; its files are fetched and lie beside the model."""
        scales = _calibration(backend, images)
        sent = self.send({"model": model.read_bytes()}, backend, settings, scales)["model"]

        def on_line(line: Mapping[str, Any]) -> None:
            if on_build and "progress" in line:
                on_build(self.value(line["progress"], BuildProgress, "build"))

        found = self.job.do("build", on_line, model=sent, backend=backend, settings=asdict(settings))
        files = self.value(found, tuple[tuple[str, str], ...], "build")
        if not 0 < len(files) <= _MOST_FILES or any(
            name != Path(name).name or not name.startswith("engine.") for name, _ in files
        ):
            raise BoardError(self.name, "names other files of an engine than an engine has.")
        left = MOST_FETCHED_BYTES
        for name, sha in files:
            content = self.job.fetch(sha, left)
            left -= len(content)
            model.with_name(name).write_bytes(content)
        return model.with_name(files[0][0])

    def take(self, timed: Timed) -> tuple[Taken, tuple[Snapshot, Snapshot] | None]:
        """Time an engine in a fresh process there."""
        reference = ""
        if timed.reference:
            models = {"reference": timed.reference.read_bytes()}
            reference = self.send(models, timed.backend, timed.settings)["reference"]
        found = self.job.do(
            "take",
            files=self.files_of(timed.engine),
            backend=timed.backend,
            settings=asdict(timed.settings),
            seconds=timed.seconds,
            core_ns=timed.core_ns,
            reference=reference,
            back_to_back=timed.back_to_back,
            energy=timed.energy,
        )
        there = self.value(found, _TakenThere, "take")
        taken = there.taken
        if not taken.runs_ns or min((*taken.runs_ns, *taken.reference_ns)) <= 0:
            raise BoardError(self.name, "says that an engine took no time.")
        return there.taken, (self.snapshot(there.before), self.snapshot(there.after))

    def take_together(self, timed: TimedTogether, on_rounds: OnRounds) -> TakenTogether:
        """Time engines in the same rounds, in a fresh process there."""
        among = None
        if timed.reference:
            name, file = timed.reference
            sent = self.send({name: file.read_bytes()}, timed.backend, timed.settings)
            among = (name, sent[name])

        def on_line(line: Mapping[str, Any]) -> None:
            if "rounds" in line:
                on_rounds(self.value(line["rounds"], RoundsDone, "take_engines"))

        found = self.job.do(
            "take_engines",
            on_line,
            engines=[(key, self.files_of(engine)) for key, engine in timed.engines.items()],
            backend=timed.backend,
            settings=asdict(timed.settings),
            plan=asdict(timed.plan),
            seconds=timed.seconds,
            number=timed.number,
            core_ns=timed.core_ns,
            reference=among,
        )
        there = self.value(found, TakenTogether, "take_engines")
        keys = {key for key, _, _ in there.samples}
        if not keys.issuperset(timed.engines) or keys.difference(timed.engines, among or ()):
            raise BoardError(self.name, "tells of other engines than it was asked to time.")
        if any(run_ns <= 0 for _, _, run_ns in there.samples):
            raise BoardError(self.name, "says that an engine took no time.")
        return there

    @contextmanager
    def to_oneself(self, lock: Path, what: str, wait_s: float = 0.0) -> Iterator[None]:
        """The job holds the board's own lock as long as it lives; see `renewed_after_errors`."""
        with self.renewed_after_errors():
            yield

    @contextmanager
    def renewed_after_errors(self) -> Iterator[None]:
        """What is open or under way when something goes wrong meanwhile is not for what is measured next."""
        try:
            yield
        except PonasError:
            self.renew()
            raise

    def files_of(self, engine: Path) -> tuple[tuple[str, str], ...]:
        """Name and hash of the files of an engine, which the board has then; the first one opens it."""
        paths = [engine, *(path for path in sorted(engine.parent.glob("engine.*")) if path != engine)]
        shas = self.job.put([path.read_bytes() for path in paths])
        return tuple((path.name, sha) for path, sha in zip(paths, shas, strict=True))

    def session(self, backend: str, settings: RunSettings, **of: Any) -> BoardSession:
        """Open a session of an engine (`files`) or of a model there."""
        key = f"open-{next(self._keys)}"
        found = self.job.do("open_engine", key=key, backend=backend, settings=asdict(settings), **of)
        compiled = self.value(found, RunSettings, "open_engine")
        if compiled.streams != settings.streams:
            raise BoardError(
                self.name, f"opened {compiled.streams} streams, and {settings.streams} were asked for."
            )
        return BoardSession(self, backend, key, compiled)


@dataclass(slots=True)
class BoardBackend:
    """A runtime on a board; see `backends.Backend`."""

    place: BoardPlace
    name: str
    on_progress: OnBuildProgress | None = None
    _images: NDArray[np.float32] | None = None

    def calibrate(self, images: NDArray[np.float32]) -> None:
        """Take INT8 scales from these images; BackendError where the runtime takes none."""
        _calibration(self.name, images)
        self._images = images

    def precisions(self) -> tuple[str, ...]:
        """The precisions the board runs natively, the default first."""
        return self.place.runtime(self.name).precisions

    def environment(self) -> tuple[tuple[str, str], ...]:
        """Versions and settings that a latency depends on; scales come from what they were made of here."""
        found = self.place.runtime(self.name).environment
        if self._images is None:
            return found
        scales = Calibration(self._images).text
        return tuple((name, scales if name == INT8_SCALES else text) for name, text in found)

    @property
    def uncaptured(self) -> tuple[str, ...]:
        """Why models loaded so far run without a CUDA graph."""
        found = self.place.job.do("uncaptured", backend=self.name)
        return self.place.value(found, tuple[str, ...], "uncaptured")

    def load(self, model: bytes, settings: RunSettings) -> Session:
        """Compile an ONNX model there."""
        self._refuse_unknown(settings)
        sent = self.place.send({"model": model}, self.name, settings, _calibration(self.name, self._images))
        return self.place.session(self.name, settings, model=sent["model"])

    def save(self, model: bytes, settings: RunSettings, folder: Path) -> tuple[Path, ...]:
        """Build an engine there and fetch its files into `folder`."""
        self._refuse_unknown(settings)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "model.onnx"
        file.write_bytes(model)
        engine = self.place.build(file, self.name, settings, self._images, self.on_progress)
        return tuple(folder / name for name, _ in self.place.files_of(engine))

    def open(self, engine: Path, settings: RunSettings) -> BoardSession:
        """A session of an engine there."""
        return self.place.session(self.name, settings, files=self.place.files_of(engine))

    def _refuse_unknown(self, settings: RunSettings) -> None:
        if settings.precision not in self.precisions():
            raise UnknownNameError(
                f"precision of {self.name} on {self.place.name}", settings.precision, self.precisions()
            )


def _calibration(backend: str, images: NDArray[np.float32] | None) -> Calibration:
    """Where INT8 scales come from; BackendError for images that a runtime has no use for."""
    if images is not None and not registry.prepares(backend, INT8):
        raise takes_no_images(backend)
    return Calibration(images)
