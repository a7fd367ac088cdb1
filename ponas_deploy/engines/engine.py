"""An emitted engine as a value: its folder, and what its manifest says of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.engines.attempt import Attempt
from ponas_deploy.engines.manifest import EngineFigures, Manifest
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.tables.latency import Conditions
from searchspace.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine in a folder: engine files, the portable ONNX network, and a manifest.

    `attempts` are the networks that were built and timed on the way to it and `chosen` the one that it is;
    both are empty for an engine that was exported, read from its folder, or is still to be built.
    `tables_doubted` says whether one of its warnings was of the tables that it was searched by.
    """

    folder: Path
    manifest: Manifest
    chosen: Attempt | None = None
    attempts: tuple[Attempt, ...] = ()
    tables_doubted: bool = False

    @classmethod
    def read(cls, folder: Path | str) -> Engine:
        """The engine in a folder; FileFormatError where its manifest is missing or broken."""
        return cls(Path(folder), read_manifest(Path(folder)))

    @property
    def architecture(self) -> Architecture:
        """The network; as text one candidate label a layer."""
        return self.manifest.architecture

    @property
    def conditions(self) -> Conditions:
        """Device, runtime, precision, threads and batch that it was built for."""
        return self.manifest.conditions

    @property
    def measured(self) -> EngineFigures | None:
        """The measured latency; None where the engine is still to be built on its device."""
        timing = self.manifest.measured
        return EngineFigures.of(timing, self.manifest.percentile) if timing else None

    @property
    def budget(self) -> dict[str, float]:
        """The limits it was chosen for, by column (`latency_ms`, `macs`, ...); empty for an exported one."""
        return dict(self.manifest.budget)

    @property
    def top1_pct(self) -> float | None:
        """Top-1 through the engine in percent of test images; None where there were none."""
        return self.manifest.top1_pct

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, in the order of the outputs; empty where the weights do not say."""
        return self.manifest.class_names

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against the weights, the tables or the measurement, a sentence each."""
        return self.manifest.warnings
