"""The values of `at_startup/waits.py`, for what is called in the process of the tests itself."""

from __future__ import annotations

from dataclasses import replace

from waits import PAUSES, SECONDS

from ponas_deploy.measuring.retries import RETRIES

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
