"""The plan that a runtime is measured by: what it runs on, and whether each visit costs it a process."""

from __future__ import annotations

from dataclasses import replace

from ponas_deploy.backends import registry
from ponas_deploy.machines import gpu
from ponas_deploy.measuring.protocol import Plan

GPU_PLAN = Plan(sample_ns=2_000_000, settled_ns=50.0)
"""A sample lasts 2 ms: events have steps of half a microsecond, and blocks take tens of microseconds."""


def plan_for(backend: str) -> Plan:
    """How the runtime called `backend` is measured on this machine.

    Where every visit is a process, none is spent on what the process does by itself: samples are not taken
    again and the sentinel is visited seldom. UnknownNameError for a runtime that has no row.
    """
    entry = registry.entry_of(backend)
    plan = GPU_PLAN if entry.runs_on_gpu(present=bool(gpu.this_gpu())) else Plan()
    return replace(plan, retakes=0, sentinel_visits=200) if entry.process_a_visit else plan
