"""What makes an NVIDIA GPU a good or a bad one to measure on: clocks, others on it, its screen, its driver.

Checks as in `machine`, of which they are part.
"""

from __future__ import annotations

from ponas_deploy.files.findings import Finding
from ponas_deploy.measuring.machine_readings import MachineReadings

_AT_REST_SHARE = 0.9
"""Of the highest clock: a GPU that has more at rest does not change it much under load."""


def gpu_clock_at_rest(readings: MachineReadings) -> Finding | None:
    """Whether the clock follows the load; that of a GPU which the kernel governs is checked by `machine`."""
    gpu = readings.gpu
    if gpu is None or gpu.sm_clock_mhz is None or not gpu.most_sm_clock_mhz:
        return None
    message = f"{gpu.sm_clock_mhz} MHz at rest, {gpu.most_sm_clock_mhz} MHz at most"
    if gpu.sm_clock_mhz >= _AT_REST_SHARE * gpu.most_sm_clock_mhz:
        return Finding("ok", "GPU clock", message)
    advice = (
        "sudo nvidia-smi -lgc MHZ,MHZ with a clock that it keeps under load (-rgc undoes it), unless the"
        " device will run without"
    )
    return Finding("warning", "GPU clock", f"{message}: the clock follows the load", advice)


def gpu_processes(readings: MachineReadings) -> Finding | None:
    """Who else has the GPU open."""
    if readings.gpu is None:
        return None
    others = readings.gpu.processes
    if not others:
        return Finding("ok", "GPU processes", f"nobody else is on {readings.gpu.name}")
    shown = ", ".join(one.text for one in others[:4]) + (", ..." if len(others) > 4 else "")
    message = f"{len(others)} on {readings.gpu.name}: {shown}"
    advice = "stop what computes there: its kernels run between those that are measured"
    return Finding("warning", "GPU processes", message, advice)


def gpu_display(readings: MachineReadings) -> Finding | None:
    """Whether a screen is drawn by it."""
    if readings.gpu is None or readings.gpu.display is None:
        return None
    if not readings.gpu.display:
        return Finding("ok", "GPU display", "no screen is driven by it")
    advice = "measure without the desktop (sudo systemctl isolate multi-user.target), or on another GPU"
    return Finding("warning", "GPU display", "a screen is driven by it: what is drawn takes its time", advice)


def gpu_persistence(readings: MachineReadings) -> Finding | None:
    """Whether the driver stays loaded between the processes of a measurement."""
    if readings.gpu is None or readings.gpu.persistent is None:
        return None
    if readings.gpu.persistent:
        return Finding("ok", "GPU persistence", "on: the driver stays loaded between processes")
    message = "off: each process may load the driver, and find locked clocks undone"
    return Finding("warning", "GPU persistence", message, "sudo nvidia-smi -pm 1")


GPU_CHECKS = (gpu_clock_at_rest, gpu_processes, gpu_display, gpu_persistence)
