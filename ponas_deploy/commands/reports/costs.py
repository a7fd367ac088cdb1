"""What an engine costs besides latency, as it was measured: rows of reports on engines."""

from __future__ import annotations

from collections.abc import Iterator

from ponas_deploy.commands.reports.style import digits
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.search.notation import in_megabytes
from ponas_deploy.tables.latency import Conditions


def measured_rows(timing: EngineTiming, conditions: Conditions) -> Iterator[tuple[str, str]]:
    """Titles and values of throughput, memory and energy, those that were measured or asked for."""
    rate = timing.images_per_s(conditions.batch, conditions.streams)
    if rate is not None:
        streams = f", {conditions.streams} streams" * (conditions.streams > 1)
        yield "measured throughput", f"{digits(rate)} images/s at batch {conditions.batch}{streams}"
    if memory := timing.most_memory:
        gpu = f"; {in_megabytes(memory.gpu_bytes)} of the GPU's" * bool(memory.gpu_bytes)
        yield (
            "peak memory",
            f"{in_megabytes(memory.engine_bytes)}: a process with the engine peaks at"
            f" {in_megabytes(memory.peak_bytes)}, with the runtime alone at"
            f" {in_megabytes(memory.runtime_bytes)}{gpu}",
        )
    if energy := timing.middle_energy:
        yield (
            "energy",
            f"{digits(energy.mj)} mJ an inference, {digits(energy.above_idle_mj)} mJ above what the machine"
            f" takes idle ({digits(energy.idle_w)} W); by {energy.source}, {energy.inferences} inferences,"
            f" noise {timing.energy_noise_pct:.1f} %",
        )
    elif timing.no_energy:
        yield "energy", timing.no_energy
