"""Processes that hold a lock or keep a core busy."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_HOLDER = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from ponas_deploy.files.lock import machine_to_oneself
    with machine_to_oneself(Path({path!r}), "rpi, onnxruntime fp32, 1 thread, batch 1"):
        print("held", flush=True)
        time.sleep(600)
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    script = textwrap.dedent(_HOLDER.format(root=str(ROOT), path=str(path)))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def burning(processes: int) -> Iterator[None]:
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
