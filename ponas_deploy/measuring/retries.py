"""Every rule by which something is measured or started again: what it is against, and when it ends.

All rooms take these numbers from here. The same rules as a table, with the measurements that each one rests
on: `docs/measuring.md`. Behind them stands what needs no second time: the machine's level, taken out of every
sample of a profile (`detrend`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Retries:
    """The rules, from the smallest thing to the largest. Names end in what is counted or in their unit."""

    sample_retakes: int = 3
    """A sample during which another process got the core, or that was held up (a stopped process, a paused
    machine), is taken again so often; then the fastest counts."""
    quiet_wait_s: float = 2.0
    quiet_wait_most_s: float = 4.0
    """A sample waits while something shares the core, and is taken again when something did meanwhile: for
    the first number of seconds, and then as long as quiet samples took, up to the second one at a time."""
    redone_pct: float = 25.0
    """The most rounds of a profile that are taken again because of what the machine did besides; and where
    levels are not taken out, the most visits after which a sentinel had become slower."""
    redone_in_vain_rounds: int = 2
    """When so many rounds were taken again and none was good since, the machine is simply like that."""
    extra_time_share: float = 0.5
    """When most rounds of a profile were disturbed, it goes on for up to this share of the time it was given,
    to take them again while nothing disturbs."""
    gap_s: float = 0.5
    """Before each of those, so many seconds must pass in which nothing disturbs."""
    look_s: float = 2.0
    """Before a table that was made while the machine was busy is made again, it must be quiet for so long."""
    round_pauses: int = 8
    sentinel_pauses: int = 4
    """Before that, so many pauses of the plan; the sentinel's grow twofold and end when it is itself
    again."""
    redone_processes_pct: float = 50.0
    """The most processes timing an engine that are taken again because of what the machine did besides."""
    contended_processes_s: float = 15.0
    """One whose core was shared is taken again for so long, however many there are."""
    process_pause_s: float = 0.5
    process_starts: int = 2
    """So often a process that times an engine is started when it dies."""
    later_s: float = 10.0
    """Before an engine that is over its budget is timed once more: what slows a machine down lasts seconds
    to minutes. Both measurements count as one."""
    later_times: int = 3
    """So often a search waits when nothing met the budget; so many first measurements that a second one took
    back are no tries; and so often an engine with its final weights is built."""
    worker_starts: int = 3
    worker_starts_at_a_step: int = 2
    """So often a process that profiles is started, and so often when it ended at one and the same step."""


RETRIES = Retries()
