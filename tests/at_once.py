"""Other tests keep the cores busy and none judges time: values by which nothing waits until it is quiet."""

from __future__ import annotations

from dataclasses import replace

from ponas_deploy.measuring.retries import RETRIES

_AT_ONCE = replace(RETRIES, contended_processes_s=0.0, process_pause_s=0.0, later_s=0.0, gap_s=0.0)
AT_ONCE = {
    **{
        f"ponas_deploy.{user}.RETRIES": _AT_ONCE
        for user in ("checks.engine", "engines.search", "engines.timing", "measuring.interference")
    },
    "ponas_deploy.measuring.contention.RETRIES": replace(RETRIES, quiet_wait_s=0.1),
    "ponas_deploy.engines.timing.SECONDS": 0.1,
}
"""Each by its place: `module.NAME`."""
