"""The values of `at_startup/waits.py`, for what is called in the process of the tests itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

# For programs that import this file, too.
sys.path.append(str(Path(__file__).parent / "at_startup"))

from waits import PAUSES, SECONDS, python_path

from ponas_deploy.measuring.retries import RETRIES

__all__ = ["AT_ONCE", "python_path"]

_AT_ONCE = replace(RETRIES, **PAUSES)
AT_ONCE = {
    **{
        f"ponas_deploy.{user}.RETRIES": _AT_ONCE
        for user in ("checks.engine", "engines.search", "engines.timing", "measuring.interference")
    },
    "ponas_deploy.measuring.contention.RETRIES": replace(RETRIES, quiet_wait_s=0.1),
    "ponas_deploy.engines.timing.SECONDS": SECONDS,
}
"""Each by its place: `module.NAME`."""
