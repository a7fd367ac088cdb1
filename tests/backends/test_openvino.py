"""What is OpenVINO's own: its plug-in and the signals of a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino")
DROPPED_ELSEWHERE = """
import signal, threading
from ponas_deploy.backends import get_backend

held = [get_backend("openvino")]
other = threading.Thread(target=held.clear)
other.start()
other.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_no_segmentation_fault_when_another_thread_dropped_the_backend() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DROPPED_ELSEWHERE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
