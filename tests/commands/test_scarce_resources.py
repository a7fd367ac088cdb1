"""Commands that get no memory, no room on the disk or no more open files: a sentence, no half file."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from running import Place, until

resource = pytest.importorskip("resource", reason="needs resource limits, which this system has not")
pytest.importorskip("onnxruntime")
MIB = 1 << 20
DISK, FILES, MEMORY = resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS
"""A file above its limit is refused as by a full disk: SIGXFSZ is ignored by Python, and the write fails."""

SMALL = ("--space", "ponas", "--resolution", "32", "--classes", "2")
MEASURED = ("--device", "cpu", "--backend", "onnxruntime", *SMALL, "--time", "5")
FIT = ("table", "fit", "rows.csv", "--out", "fitted.json")
EXPORT = ("export", "PONAS-A", *SMALL, "--backend", "onnxruntime", "--out", "engine")
PROFILE = ("profile", *MEASURED, "--out", "tables")
SPECIALIZE = ("specialize", *MEASURED, "--latency", "70%", "--out", "engine")
NETWORKS = ("networks", "--count", "2", *SMALL, "--backend", "onnxruntime", "--out", "measured.csv")
FULL = r"cannot be written(: | \()File too large"
LITTLE = r"[Mm]emory"
CASES = {
    "table fit, disk": (FIT, {DISK: 4096}, FULL),
    "table fit, memory": (FIT, {MEMORY: 150 * MIB}, LITTLE),
    "export, disk": (EXPORT, {DISK: 4096}, FULL),
    "export, files": (EXPORT, {FILES: 8}, "cannot start: .*Too many open files"),
    "export, no memory to begin with": (EXPORT, {MEMORY: 150 * MIB}, "close other programs|[Mm]emory"),
    "profile, disk": (PROFILE, {DISK: 4096}, FULL + r"\): what was measured before is kept in it"),
    "profile, files": (PROFILE, {FILES: 8}, "cannot start: .*Too many open files"),
    "specialize, disk": (SPECIALIZE, {DISK: 4096}, FULL),
    "networks, disk": (NETWORKS, {DISK: 16}, FULL),
}
"""A command, what it may take, and what it says."""


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_had_is_said_and_nothing_half_written(name: str, tmp_path: Path) -> None:
    command, limits, words = CASES[name]
    place = Place(tmp_path)
    rows = [f"{a},{b},{1 + len(a) / 2 + len(b) / 4}" for a in ("x", "xx", "xxx") for b in ("y", "yy", "yyy")]
    (place.out / "rows.csv").write_text("\n".join(["a,b,latency_ms", *3 * rows]) + "\n")
    with place.running(*command, limits=limits) as process:
        output = process.communicate(timeout=120)[0].decode(errors="replace")
        assert process.returncode == 1, output
        until(lambda: not place.processes(), 10)
    assert "Traceback" not in output, output
    assert re.search(words, " ".join(output.split())), output
    assert place.left() == []
    made = {path.name for path in place.out.rglob("*") if path.suffix != ".journal"}
    assert made <= {"rows.csv", "tables"}, os.listdir(place.out)
