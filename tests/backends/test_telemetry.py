"""The runtimes report nothing from processes of ours: an empty home holds only our own files afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SESSION = """
    import sys, time
    import numpy as np
    from ponas_deploy.backends import RunSettings, get_backend
    from searchspace.architecture import parse_architecture
    from searchspace.graph import network_model
    from searchspace.spaces import build_space
    from searchspace.weights import random_weights

    name = sys.argv[1]
    network = parse_architecture("PONAS-A", build_space("ponas", 32, 2))
    model = network_model(network, random_weights(network, 0), 1)
    with get_backend(name).load(model.SerializeToString(), RunSettings()) as session:
        session.run(np.zeros((1, 3, 32, 32), dtype=np.float32))
    time.sleep(0.5)
"""


def files_after(home: Path, *command: str) -> list[str]:
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "SYSTEMROOT", "TMPDIR")}
    environment = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, *command], env=environment, cwd=home, check=True, capture_output=True)
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_session_leaves_nothing_in_an_empty_home(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    assert files_after(tmp_path / "home", "-c", textwrap.dedent(SESSION), name) == []


def test_the_doctor_leaves_nothing_in_an_empty_home(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    found = files_after(tmp_path / "home", str(ROOT / "cli.py"), "devices")
    assert found == []


def test_this_very_test_sees_what_the_runtimes_write(tmp_path: Path) -> None:
    """Imported as they come, both write into the home; where a version does not, there is nothing to see."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    found = files_after(tmp_path / "home", "-c", "import onnxruntime, openvino, time; time.sleep(0.5)")
    if not found:
        pytest.skip("these versions write nothing into an empty home")
    assert any("onnxruntime" in name or "openvino" in name for name in found)
