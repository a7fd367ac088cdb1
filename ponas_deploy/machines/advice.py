"""What a person is told to type about a device: by its name, unless it is this machine's processor."""

from __future__ import annotations

import shlex

from ponas_deploy.machines.machine import this_machine
from ponas_deploy.machines.names import slug


def is_this_processor(device: str) -> bool:
    """Whether a device is the processor of this machine, as tables carry its name; empty for it too."""
    return not device or slug(device) == this_machine().name


def command_for(command: str, device: str) -> str:
    """A command with the device that it is about, as a text shows it: `ponas profile --device jetson`."""
    there = "" if is_this_processor(device) else f" --device {shlex.quote(device)}"
    return f"`{command}{there}`"


def doctor_command(device: str) -> str:
    """The command that says what disturbs a device."""
    return command_for("ponas doctor", device)
