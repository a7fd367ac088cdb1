"""Launch-bound blocks: those that take the GPU less time than the host needs to launch one run.

A GPU session times K runs with its queue filled, which is what a block is worth inside a network. Run by
itself a launch-bound block takes the launch's time; and a network of which all blocks are is as slow as its
launches wherever it is not one CUDA graph. So they are counted, and the table says how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING

from ponas_deploy.backends import Backend, Session
from ponas_deploy.backends.protocol import CapturesGraphs, Launches
from ponas_deploy.tables.rounds import LaunchSummary

if TYPE_CHECKING:
    from ponas_deploy.tables.measured_how import MeasurementProtocol


def launch_summary(sessions: Mapping[str, Session], run_ns: Mapping[str, float]) -> LaunchSummary | None:
    """How many of the timed sessions are launch-bound, for a table's protocol.

    `run_ns` is what each takes, by key. None for runtimes that launch nothing (no `Launches`, or 0 ns).
    """
    launched = {
        key: session.launch_ns
        for key, session in sessions.items()
        if isinstance(session, Launches) and session.launch_ns and key in run_ns
    }
    if not launched:
        return None
    bound = sum(run_ns[key] < launch_ns for key, launch_ns in launched.items())
    return LaunchSummary(round(median(launched.values()) / 1e3, 1), bound, len(launched))


def not_captured(backend: Backend) -> str:
    """How many models so far run without the CUDA graph that they should run in, and why the first does."""
    if not isinstance(backend, CapturesGraphs) or not (reasons := backend.uncaptured):
        return ""
    return f"{len(reasons)} models run without a CUDA graph, the first one: {reasons[0]}"


def launch_notes(protocol: MeasurementProtocol) -> tuple[str, ...]:
    """What a report says of launches; nothing where all is as it should be."""
    notes, launches = [], protocol.launches
    if launches and launches.bound_blocks:
        notes.append(
            f"{launches.bound_blocks} of {launches.blocks} blocks take the GPU less than the"
            f" {launches.launch_us:.1f} us that a launch takes the host: alone they are launch-bound, in a"
            " network they count what the table says."
        )
    if protocol.not_captured:
        notes.append(
            f"{protocol.not_captured.rstrip('.')}. Their times hold the launch of every operator; a newer"
            " driver or runtime may capture them."
        )
    return tuple(notes)
