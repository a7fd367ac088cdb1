"""What runs on a board. This one file is sent there: Python 3.8, the standard library, nothing of ours.

It answers requests of the connection that started it, one at a time, until that ends. Programs of the board
that may hang or crash (runtimes that are imported) run in processes of their own. Nothing is measured in it:
a job's worker (`remote/worker.py`, in the archive that is sent for it) does that, detached, and this keeps
files, starts the worker, appends its steps and reads its journal. In the private folder lie

    pack-SHA.zip        the sources that the worker runs from
    blobs/SHA           files by their hash, bounded: those that were not used for longest go first
    lock                held by the worker; its text says for whom
    jobs/ID/            job.json, steps.jsonl, journal.jsonl, errors, ended, seen (changed by whoever looks)

Clocks of boards are wrong and jump: durations are taken from the monotonic one, and times of files are only
compared with one another and with the board's own time.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from contextlib import suppress
from typing import Any, Callable, Iterable, Iterator

try:
    import fcntl
except ImportError:  # no board on Windows carries out jobs, and such a one is still asked what it has
    fcntl = None  # type: ignore[assignment]

PROGRAMS = {
    "trtexec": ("trtexec", "/usr/src/tensorrt/bin/trtexec"),
    "benchmark_app": ("benchmark_app",),
    "onnxruntime_perf_test": ("onnxruntime_perf_test",),
}
RUNTIMES = {
    "onnxruntime": "import onnxruntime as r; print(json.dumps([r.__version__, r.get_available_providers()]))",
    "openvino": "import openvino as r; print(json.dumps([r.__version__, r.Core().available_devices]))",
    "tensorrt": "import tensorrt as r; print(json.dumps([r.__version__, []]))",
    "tensorrt-rtx": "from importlib import import_module as load, util;"
    " r = load('tensorrt_rtx' if util.find_spec('tensorrt_rtx') else 'tensorrt_rtx_bindings');"
    " print(json.dumps([r.__version__, []]))",
    "torch": "import torch as r; print(json.dumps([r.__version__, ['cuda'] * r.cuda.is_available()]))",
    "numpy": "import numpy as r; print(json.dumps([r.__version__, []]))",
}
MODULES = {"tensorrt-rtx": "tensorrt_rtx_bindings"}
"""What is imported last of a runtime, where that is not called as it is."""
RUNTIME_SECONDS = 120
GPU_NAMES = re.compile(r"gv11b|gp10b|ga10b|gb10b|gpu")


MOST_KEPT_BYTES = 512 << 20
"""In `blobs`, where a tenth of the disk's free space is not less."""
PIECE_BYTES = 4 << 20
"""The most of a journal in one answer, and the longest line of a journal or of the steps."""
TOGETHER, TURNS = 32, 40
"""So many files arrive at the same time, a part of each in so many turns."""
GIVEN_BYTES = 1 << 20
"""The most of a file in one answer: who waits for it sees how far it is."""
MOST_JOURNAL_BYTES = 512 << 20
MOST_DEAD_JOBS = 20
DEAD_JOB_S = 24 * 3600
ALONE_S = 3600
"""A host that vanished ends no connection: its server may wait for hours."""
START_S = 120
END_S = 10
GATHER_S = 1.0
"""How long lines are gathered for one answer: traffic while something is timed would disturb it."""
_CODE = (
    "import sys; sys.path[:] = [sys.argv[1]] + [one for one in sys.path if one];"
    " from ponas_deploy.remote.worker import main; main(sys.argv[2:])"
)
_started: list[subprocess.Popen[bytes]] = []  # so that they are waited for


class RefusedError(Exception):
    """A request that is answered with a sentence: it says what is wrong, without a full stop."""


def serve(take: Callable[[], bytes], send: Callable[[Any], None], folder: str) -> None:
    """Answer requests, JSON objects that `take` reads, until the connection ends, or none come for ALONE_S.

    Requests are pieces of one compressed stream. One with `frames` is followed by frames up to an empty one.
    An answer with data is followed by a frame of each piece, compressed by itself.
    """
    requests = zlib.decompressobj()
    while True:
        if hasattr(signal, "alarm"):
            signal.alarm(ALONE_S)
        request = json.loads(requests.decompress(take()).decode("utf-8"))
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        frames = iter(take, b"") if request["frames"] else iter(())
        request["frames"] = frames
        try:
            found = ANSWERS[request["ask"]](request, folder)
        except Exception as error:  # it ends in this answer, not the connection
            found = None
            message = {"error": sentence(error, folder)}
        for _ in frames:  # what an error left
            pass
        if found is None:
            send(message)
            continue
        answer, *pieces = found if isinstance(found, tuple) else (found,)
        send({"answer": answer})
        for piece in pieces:
            send(zlib.compress(piece))


def sentence(error: Exception, folder: str) -> str:
    """An error in words."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no room is left on its disk: make some, it keeps its files in {folder}"
    return str(error) if isinstance(error, RefusedError) else f"{type(error).__name__}: {error}"


def echo(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """The round trip."""
    return {}


def describe(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """What this board is and has. What cannot be read is empty, 0 or left out."""
    return {
        "processor": processor(),
        "board": read("/proc/device-tree/model").rstrip("\0").strip(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_mib": memory_mib(),
        "os": os_name(),
        "jetpack": first_line("/etc/nv_tegra_release"),
        "power_mode": power_mode(),
        "gpu_clocks": gpu_clocks(),
        "hottest_c": hottest_c(),
        "python": platform.python_version(),
        "interpreter": sys.executable or "",
        "boot_id": first_line("/proc/sys/kernel/random/boot_id"),
        "folder": folder,
        "free_mib": shutil.disk_usage(folder).free >> 20,
        "runtimes": [runtime(name) for name in RUNTIMES],
        "programs": {name: found for name in PROGRAMS for found in [program(name)] if found},
    }


def read(path: str) -> str:
    """A file of the system as text, empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


def first_line(path: str) -> str:
    """Its first line."""
    return read(path).partition("\n")[0].strip()


def processor() -> str:
    """The processor as it calls itself."""
    named = re.search(r"^model name[ \t]*:[ \t]*(.+)$", read("/proc/cpuinfo"), re.MULTILINE)
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def os_name() -> str:
    """The distribution, or the system and its release."""
    named = re.search(r'^PRETTY_NAME="?([^"\n]+)', read("/etc/os-release"), re.MULTILINE)
    return named.group(1) if named else f"{platform.system()} {platform.release()}"


def memory_mib() -> int:
    """The memory in MiB, 0 where it is not known."""
    total = re.search(r"^MemTotal:\s+(\d+) kB", read("/proc/meminfo"), re.MULTILINE)
    return int(total.group(1)) >> 10 if total else 0


def power_mode() -> str:
    """A Jetson's power mode by number and name, another machine's platform profile, or nothing."""
    chosen = re.search(r"pmode:0*(\d+)", read("/var/lib/nvpmodel/status"))
    if not chosen:
        return first_line("/sys/firmware/acpi/platform_profile")
    number = chosen.group(1)
    named = re.search(rf"POWER_MODEL\s+ID=0*{number}\s+NAME=([^\s>]+)", read("/etc/nvpmodel.conf"))
    return f"nvpmodel {number} ({named.group(1)})" if named else f"nvpmodel {number}"


def gpu_clocks() -> dict[str, Any] | None:
    """Current, least and most clock in MHz of a GPU whose clock the kernel governs, and its governor."""
    for folder in sorted(glob.glob("/sys/class/devfreq/*")):
        name = read(os.path.join(folder, "device/of_node/name")).rstrip("\0") or os.path.basename(folder)
        if not GPU_NAMES.search(name):
            continue
        clocks = [first_line(os.path.join(folder, which)) for which in ("cur_freq", "min_freq", "max_freq")]
        if all(clock.isdigit() for clock in clocks):
            now, least, most = [int(clock) / 1e6 for clock in clocks]
            governor = first_line(os.path.join(folder, "governor"))
            return {"now_mhz": now, "least_mhz": least, "most_mhz": most, "governor": governor}
    return None


def hottest_c() -> float | None:
    """The hottest sensor in degrees Celsius, None without one."""
    zones = glob.glob("/sys/class/thermal/thermal_zone*")
    # A Jetson's PMIC-Die says 100 degrees always.
    hot = [zone for zone in zones if "pmic" not in first_line(os.path.join(zone, "type")).lower()]
    texts = [first_line(os.path.join(zone, "temp")) for zone in hot]
    found = [int(text) / 1000 for text in texts if text.lstrip("-").isdigit()]
    return max(found) if found else None


def runtime(name: str) -> dict[str, Any]:
    """A Python package by import: its version, what it offers, or why it cannot be used."""
    quiet = "import json, sys; sys.modules['openvino_telemetry'] = None; "  # OpenVINO then has a stand-in
    code = quiet + RUNTIMES[name]
    environment = dict(os.environ, ORT_DISABLE_TELEMETRY="1")
    found: dict[str, Any] = {"name": name, "version": "", "offers": [], "problem": ""}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            env=environment,
            timeout=RUNTIME_SECONDS,
            check=False,
        )
        lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if done.returncode == 0 and lines:
            found["version"], found["offers"] = json.loads(lines[-1])
        elif said and said[-1] == f"ModuleNotFoundError: No module named '{MODULES.get(name, name)}'":
            found["problem"] = "not installed"
        else:
            found["problem"] = said[-1][:300] if said else f"its import ended with code {done.returncode}"
    except subprocess.TimeoutExpired:
        found["problem"] = f"its import took over {RUNTIME_SECONDS} s"
    except (OSError, ValueError) as error:
        found["problem"] = str(error)[:300]
    return found


def program(name: str) -> str:
    """Where a program is, empty where it is not."""
    return next((path for path in map(shutil.which, PROGRAMS[name]) if path), "")


# --- files by their hash


def lacks(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """Which of these files are not there. Those that are count as used."""
    missing = []
    for sha in map(checked_sha, request["shas"]):
        try:
            os.utime(os.path.join(folder, "blobs", sha))
        except OSError:
            missing.append(sha)
    return {"lacks": missing}


def put(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """Keep files: frames of one compressed stream, in which they come in `turns`."""
    given = [(checked_sha(one["sha"]), int(one["size"])) for one in request["blobs"]]
    make_room(folder, sum(size for _, size in given), {sha for sha, _ in given})
    stream = Unpacked(request["frames"])
    for begin in range(0, len(given), TOGETHER):
        keep_together(folder, stream, given[begin : begin + TOGETHER])
    return {}


def keep_together(folder: str, stream: Unpacked, given: list[tuple[str, int]]) -> None:
    """Write files of these hashes and sizes; those that are not whole do not stay."""
    files: list[Arriving] = []
    try:
        for sha, _ in given:
            files.append(Arriving(folder, sha))
        for number, size in turns([size for _, size in given]):
            for piece in stream.pieces(size):
                files[number].write(piece)
        for file in files:
            file.finish()
    finally:
        for file in files:
            file.drop()


def turns(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Whose bytes come next in a stream of files of these sizes, and how many: a part of each in every turn.

    Compression looks back 32 KB. Graphs of networks are longer, and alike in the same places, which lie near
    each other so: a sixth of the bytes.
    """
    for turn in range(TURNS):
        for number, size in enumerate(sizes):
            if part := size * (turn + 1) // TURNS - size * turn // TURNS:
                yield number, part


def get(request: dict[str, Any], folder: str) -> tuple[dict[str, Any], bytes]:
    """A piece of a file, at most GIVEN_BYTES, and how large all of it is."""
    size, data = piece_of(folder, request["sha"], int(request["offset"]))
    return {"size": size}, data


def piece_of(folder: str, sha: str, offset: int) -> tuple[int, bytes]:
    """The size of a file and what it has from an offset on, at most GIVEN_BYTES."""
    try:
        with open(os.path.join(folder, "blobs", checked_sha(sha)), "rb") as file:
            file.seek(offset)
            return os.fstat(file.fileno()).st_size, file.read(GIVEN_BYTES)
    except FileNotFoundError:
        raise RefusedError(f"it has no file {sha[:12]} (any more)") from None


class Unpacked:
    """A compressed stream that comes in frames."""

    def __init__(self, frames: Iterator[bytes]) -> None:
        self._frames, self._stream = frames, zlib.decompressobj()

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, or those that there are."""
        while size and (piece := self._read(min(size, 1 << 20))):
            size -= len(piece)
            yield piece

    def _read(self, most: int) -> bytes:
        data = self._stream.decompress(self._stream.unconsumed_tail, most)
        while not data:
            frame = next(self._frames, b"")
            if not frame:
                return b""
            data = self._stream.decompress(frame, most)
        return data


def keep(folder: str, pieces: Iterable[bytes], sha: str = "") -> str:
    """Write a file under its hash, which is `sha` if given; nothing of it stays where that fails."""
    file = Arriving(folder, sha)
    try:
        for piece in pieces:
            file.write(piece)
        return file.finish()
    finally:
        file.drop()


class Arriving:
    """A file that is written under its hash, which is `sha` if given."""

    def __init__(self, folder: str, sha: str) -> None:
        self._blobs, self._sha, self._digest = made(folder, "blobs"), sha, hashlib.sha256()
        handle, self._path = tempfile.mkstemp(dir=self._blobs)
        self._file = os.fdopen(handle, "wb")

    def write(self, piece: bytes) -> None:
        """What comes next of it."""
        self._file.write(piece)
        self._digest.update(piece)

    def finish(self) -> str:
        """Put it in its place: its hash; RefusedError where it is another file."""
        self._file.close()
        found = self._digest.hexdigest()
        if self._sha not in ("", found):
            raise RefusedError("a file that was sent there came as another one")
        os.replace(self._path, os.path.join(self._blobs, found))
        return found

    def drop(self) -> None:
        """Remove what is not in its place."""
        with suppress(OSError):  # a full disk
            self._file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._path)


def make_room(folder: str, needed: int, staying: Iterable[str] = ()) -> None:
    """Remove files that were not used for longest until `needed` bytes fit; RefusedError if never."""
    blobs = made(folder, "blobs")
    held: list[tuple[int, int, str]] = []
    for entry in os.scandir(blobs):
        try:
            held.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.name))
        except OSError:  # another connection removed it
            continue
    total = sum(size for _, size, _ in held)
    most = min(MOST_KEPT_BYTES, (shutil.disk_usage(blobs).free + total) // 10)
    if needed > most:
        few, many = most / (1 << 20), needed / (1 << 20)
        raise RefusedError(
            f"files of {many:.1f} MiB do not fit in {few:.1f} MiB, a tenth of its free disk or less"
        )
    for _, size, name in sorted(held):
        if total + needed <= most:
            break
        if name not in staying:
            total -= size
            try:
                os.unlink(os.path.join(blobs, name))
            except OSError:
                continue


def checked_sha(text: str) -> str:
    """A hash, and nothing that leads to another folder."""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise RefusedError("that is no SHA-256")
    return text


def made(*parts: str) -> str:
    """A folder for this user alone, made where it is not there."""
    path = os.path.join(*parts)
    os.makedirs(path, 0o700, exist_ok=True)
    return path


# --- jobs


def start(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """Start a worker. It may lack the archive it runs from, or somebody may be measuring already.

    It may come again for the same job: connections end while an answer is under way.
    """
    if fcntl is None:
        raise RefusedError("its system knows no locks as Linux has them, jobs cannot run there")
    sha = checked_sha(request["pack"])
    if not has_pack(folder, sha):
        return {"lacks": True}
    job = request["job"]
    place = os.path.join(folder, "jobs", checked_job(job))
    lock = take_lock(folder)
    if lock is None:
        held = holder(folder)
        if held["job"] != job:
            return {"busy": held}
    else:
        start_worker(request, folder, place, lock)
    deadline = time.monotonic() + START_S
    while not os.path.getsize(os.path.join(place, "journal.jsonl")):
        if time.monotonic() > deadline or not alive(folder, job):
            why = why_ended(place)
            stop({"job": job, "at_once": True}, folder)
            raise RefusedError(no_start(why))
        time.sleep(0.02)
    return {}


def no_start(why: dict[str, Any]) -> str:
    """Why a worker did not start, and what to do where that is known."""
    if "No module named 'numpy'" in why["said"]:
        return (
            f"its Python, {sys.executable}, has no NumPy, which measuring takes: install it there (on Debian"
            " python3-numpy), or name another interpreter as `python` in the device book"
        )
    return f"its worker did not start ({why['said'] or 'exit code ' + str(why['code'])})"


def start_worker(request: dict[str, Any], folder: str, place: str, lock: int) -> None:
    """Start it with the lock, which is closed here; nothing of it stays where that fails."""
    try:
        remove_dead(folder)
        remove_packs(folder, request["pack"])
        made(place)
        try:
            begin(request, folder, place, lock)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    finally:
        os.close(lock)


def begin(request: dict[str, Any], folder: str, place: str, lock: int) -> None:
    """Write a job's files, sign the lock, and start the process that keeps it from then on."""
    settings = {name: request[name] for name in ("pack", "title", "by", "idle_s", "absent_s")}
    settings["boot_id"] = first_line("/proc/sys/kernel/random/boot_id")
    for name in ("steps.jsonl", "journal.jsonl", "seen"):
        write(os.path.join(place, name), b"")
    write(os.path.join(place, "ended"), b" " * 4096)  # so that there is room for it on a full disk
    write(os.path.join(place, "job.json"), json.dumps(settings).encode())
    held = {"job": os.path.basename(place), "title": request["title"], "by": request["by"]}
    sign(lock, dict(held, since=time.monotonic(), pid=0))
    with open(os.path.join(place, "errors"), "ab") as errors:
        words = [sys.executable, "-c", _CODE, os.path.join(folder, f"pack-{request['pack']}.zip")]
        process = subprocess.Popen(
            [*words, place, str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd=place,
            pass_fds=(lock,),
            start_new_session=True,
        )
    _started.append(process)


def look(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """Tell a worker that has nothing to do that it is still needed."""
    os.utime(os.path.join(job_place(request, folder), "seen"))
    return {}


def follow(request: dict[str, Any], folder: str) -> tuple[Any, ...]:
    """Append a step, if one is given, and answer whole lines of the journal from an offset on.

    It waits for lines: until `wait_s` are over, the step `n` or the worker ended, or some were gathered. The
    files `blobs`, which the step takes, come along in frames; without frames nothing is done where some are
    lacking. `lacks` are those that were. With `fetch` the beginning of the file that the step returned is
    another piece, and `size` that of the whole file.
    """
    place, offset = job_place(request, folder), int(request["offset"])
    missing = lacks({"shas": [one["sha"] for one in request["blobs"]]}, folder)["lacks"]
    if missing and not request["sent"]:
        nothing = (b"",) * (2 if request["fetch"] else 1)
        return ({"next": offset, "ended": None, "lacks": missing, "size": 0}, *nothing)
    if missing:
        put(request, folder)
    for _ in request["frames"]:  # it has them all
        pass
    if request.get("step"):
        append_step(place, request["step"])
    lines, ended = awaited(request, folder, place, offset)
    answer = {"next": offset + len(lines), "ended": ended, "lacks": missing, "size": 0}
    if not request["fetch"]:
        return answer, lines
    answer["size"], data = made_by(lines, step_end(request["n"], "done"), folder)
    return answer, lines, data


def awaited(
    request: dict[str, Any], folder: str, place: str, offset: int
) -> tuple[bytes, dict[str, Any] | None]:
    """The lines that are waited for, and how the worker ended if it did."""
    os.utime(os.path.join(place, "seen"))
    ends = tuple(step_end(request["n"], how) for how in ("done", "error"))
    journal = os.path.join(place, "journal.jsonl")
    deadline, pause, first, checked = time.monotonic() + float(request["wait_s"]), 0.002, 0.0, 0.0
    size, lines, last, living = -1, b"", False, True
    while True:
        now = time.monotonic()
        if now - checked > 1:
            checked, living = now, alive(folder, request["job"])  # first this, then the last lines
        if os.path.getsize(journal) != size or not living:
            size = os.path.getsize(journal)
            lines, last = whole_lines(journal, offset)
        news = [line for line in lines.splitlines() if not line.startswith(b'{"beat"')]
        first = first or (now if news else 0.0)
        enough = len(lines) > PIECE_BYTES // 2 or any(line.startswith(ends) for line in news)
        gathered = first and now - first > GATHER_S and not request["fetch"]  # that takes the end alone
        if enough or now > deadline or gathered or not living:
            return lines, why_ended(place) if last and not living else None
        time.sleep(pause)
        pause = min(2 * pause, 0.25)


def step_end(number: Any, how: str) -> bytes:
    """What the last line of a step begins with."""
    return f'{{"step": {int(number)}, "{how}"'.encode()


def made_by(lines: bytes, done: bytes, folder: str) -> tuple[int, bytes]:
    """The size and the beginning of the file that a step returned; nothing where it has not, or none yet."""
    for line in lines.splitlines():
        if line.startswith(done):
            with suppress(RefusedError):
                return piece_of(folder, str(json.loads(line.decode("utf-8"))["done"]), 0)
    return 0, b""


def stop(request: dict[str, Any], folder: str) -> dict[str, Any]:
    """End a worker, at once or when it has nothing more to do, and remove all of its job."""
    job = request["job"]
    place = os.path.join(folder, "jobs", checked_job(job))
    if not os.path.isdir(place):
        return {}
    if alive(folder, job) and not request["at_once"]:
        append_step(place, json.dumps({"n": 1 + len(read_steps(place)), "do": "end"}))
        until(END_S, lambda: not alive(folder, job))
    if not until(END_S, lambda: killed(folder, job)):
        raise RefusedError("its worker does not end")
    why_ended(place)  # its keeper has written that, and ends
    for process in _started:
        process.poll()
    shutil.rmtree(place)
    return {}


def killed(folder: str, job: str) -> bool:
    """Whether a worker is gone; it is killed where that can be done."""
    if not alive(folder, job):
        return True
    pid = holder(folder)["pid"]
    if pid > 1:  # its keeper has signed
        with suppress(ProcessLookupError):
            os.killpg(pid, 9)
    return False


def until(most_s: float, done: Callable[[], bool]) -> bool:
    """Wait until something is so, for a time."""
    deadline = time.monotonic() + most_s
    while not (found := done()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def why_ended(place: str) -> dict[str, Any]:
    """How a worker that is gone ended: `code` None where nobody could tell."""
    found: dict[str, Any] = {"code": None, "memory": False, "said": "", "rebooted": False}
    if settings_of(place)["boot_id"] != first_line("/proc/sys/kernel/random/boot_id"):
        return dict(found, rebooted=True)
    until(1, lambda: bool(read(os.path.join(place, "ended")).strip()))
    said = read(os.path.join(place, "errors")).strip().splitlines()
    found["said"] = said[-1][:300] if said else ""
    with suppress(ValueError):  # its keeper was killed too
        found.update(json.loads(read(os.path.join(place, "ended"))))
    return found


def append_step(place: str, line: str) -> None:
    """Append a step once, however often it comes: connections end while an answer is under way."""
    with open(os.path.join(place, "steps.jsonl"), "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        there = file.read().splitlines()
        if line.encode() in there:
            return
        if json.loads(line)["n"] != len(there) + 1:
            raise RefusedError("somebody else gives steps to this job")
        size, rest = file.tell(), line.encode() + b"\n"
        try:
            while rest:
                rest = rest[file.write(rest) or 0 :]
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise


def read_steps(place: str) -> list[bytes]:
    """The steps of a job as they stand there."""
    with open(os.path.join(place, "steps.jsonl"), "rb") as file:
        return file.read().splitlines()


def whole_lines(journal: str, offset: int) -> tuple[bytes, bool]:
    """The lines from an offset on that are finished, as many as one answer takes, and whether that is all."""
    with open(journal, "rb") as file:
        file.seek(offset)
        data = file.read(PIECE_BYTES)
    end = data.rfind(b"\n") + 1
    if not end and len(data) == PIECE_BYTES:
        raise RefusedError("a line of its journal is too long")
    return data[:end], len(data) < PIECE_BYTES


def job_place(request: dict[str, Any], folder: str) -> str:
    """The folder of a job that is there."""
    place = os.path.join(folder, "jobs", checked_job(request["job"]))
    if not os.path.isdir(place):
        raise RefusedError(f"it has no job {request['job']} (any more)")
    return place


def checked_job(text: str) -> str:
    """A job's number, and nothing that leads to another folder."""
    if not re.fullmatch("[0-9a-f]{16}", text):
        raise RefusedError("that is no job")
    return text


def settings_of(place: str) -> dict[str, Any]:
    """What a job was started with."""
    return dict(json.loads(read(os.path.join(place, "job.json"))))


def remove_dead(folder: str) -> None:
    """Remove what workers left that ended long ago, or before many others; none runs now."""
    jobs, now = made(folder, "jobs"), time.time()
    found = sorted(((entry.stat().st_mtime, entry.path) for entry in os.scandir(jobs)), reverse=True)
    for number, (changed, path) in enumerate(found):
        if number >= MOST_DEAD_JOBS or now - changed > DEAD_JOB_S:
            shutil.rmtree(path, ignore_errors=True)


def has_pack(folder: str, sha: str) -> bool:
    """Whether the archive is there whole; one that came as a file gets its place."""
    path = os.path.join(folder, f"pack-{sha}.zip")
    try:
        with open(path, "rb") as file:
            if hashlib.sha256(file.read()).hexdigest() == sha:
                return True
    except FileNotFoundError:
        pass
    try:
        os.replace(os.path.join(folder, "blobs", sha), path)
    except FileNotFoundError:
        return False
    return has_pack(folder, sha)


def remove_packs(folder: str, sha: str) -> None:
    """Remove the archives of other versions; no worker runs now."""
    for path in glob.glob(os.path.join(glob.escape(folder), "pack-*.zip")):
        if os.path.basename(path) != f"pack-{sha}.zip":
            os.unlink(path)


def write(path: str, data: bytes) -> None:
    """A small file for this user alone."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


# --- the lock: it ends with the worker that holds it, however that ends


def take_lock(folder: str) -> int | None:
    """The lock, as an open file; None where somebody has it."""
    lock = open_lock(folder)
    if until(0.5, lambda: locked(lock, fcntl.LOCK_EX)):  # who only looks has it for a moment
        return lock
    os.close(lock)
    return None


def alive(folder: str, job: str) -> bool:
    """Whether the worker of a job lives."""
    lock = open_lock(folder)
    try:
        return not locked(lock, fcntl.LOCK_SH) and holder(folder)["job"] == job
    finally:
        os.close(lock)


def locked(lock: int, how: int) -> bool:
    """Lock an open file; False where somebody else has it."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_lock(folder: str) -> int:
    """The file of the lock."""
    return os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)


def sign(lock: int, held: dict[str, Any]) -> None:
    """Say in the lock who holds it: one write of a fixed length, so that nobody reads half of it."""
    os.pwrite(lock, json.dumps(held).encode().ljust(4096), 0)


def holder(folder: str) -> dict[str, Any]:
    """Who holds the lock, and for how many seconds."""
    found: dict[str, Any] = {"job": "", "title": "", "by": "", "pid": 0, "since": time.monotonic()}
    with suppress(ValueError):  # it has not signed yet
        found.update(json.loads(read(os.path.join(folder, "lock"))))
    found["held_s"] = time.monotonic() - found.pop("since")
    return found


ANSWERS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "echo": echo,
    "describe": describe,
    "lacks": lacks,
    "put": put,
    "get": get,
    "start": start,
    "look": look,
    "follow": follow,
    "stop": stop,
}
