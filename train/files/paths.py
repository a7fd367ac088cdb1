"""The folder of a training run, file by file. No torch: `ponas train status` reads it.

    run.json                  the settings it was started with
    run.lock                  the process that trains here; gone when it ends
    log.csv, tensorboard/     how it went; see `train.files.log`
    meta.state.safetensors    the meta network after its last finished epoch; gone when training ends
    meta.safetensors          the meta network
    layers/NAME.safetensors   a finished layer's candidates; gone when the run ends
    network.safetensors       the network so far, with the finished rows in its header; likewise
    steps/NAME.safetensors    the supernet after a finished step of progressive shrinking, which trains spaces
                              with stages; its state after each epoch beside it; gone when the run ends.
                              Likewise the first network, and the supernet whose candidates imitate it, of a
                              run that trains path by path
    supernet.state.safetensors  the supernet that trains path by path, after its last finished epoch; likewise
    weights.safetensors       the supernet: stem, head, every candidate of every layer
    accuracy.json             the accuracy table, written last: the run is complete when it is there

A transfer (`train.runs.transfer`) has `head.state.safetensors` and `fine-tune.state.safetensors`, the
supernet after the last finished epoch of each stage, in place of meta network and layers.

Every file but the log is written whole or not at all, and a file never names one that is not there
yet, so a run killed at any moment continues from its last finished epoch or layer.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.errors import PonasError
from ponas_deploy.files.documents import read_raw
from ponas_deploy.files.weights import read_header
from train.files.documents import RUN, TRANSFER_RUN
from train.files.rows import KEY, rows_of
from train.progress import LayerRow, StageName


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where the files of a run are."""

    folder: Path

    @property
    def run(self) -> Path:
        """What was asked."""
        return self.folder / "run.json"

    @property
    def log(self) -> Path:
        """How it went."""
        return self.folder / "log.csv"

    @property
    def meta_state(self) -> Path:
        """The state of meta training."""
        return self.folder / "meta.state.safetensors"

    @property
    def meta(self) -> Path:
        """The meta network's weights."""
        return self.folder / "meta.safetensors"

    @property
    def supernet_state(self) -> Path:
        """The state of a supernet that trains path by path."""
        return self.folder / "supernet.state.safetensors"

    @property
    def transfer_states(self) -> dict[StageName, Path]:
        """The states of a transfer, by their stage."""
        stages: tuple[StageName, ...] = ("head", "fine-tune")
        return {stage: self.folder / f"{stage}.state.safetensors" for stage in stages}

    @property
    def network(self) -> Path:
        """The network so far, while layers are fine-tuned."""
        return self.folder / "network.safetensors"

    @property
    def weights(self) -> Path:
        """The supernet's weights."""
        return self.folder / "weights.safetensors"

    @property
    def table(self) -> Path:
        """The accuracy table."""
        return self.folder / "accuracy.json"

    def layer(self, name: str) -> Path:
        """A finished layer's candidates."""
        return self.folder / "layers" / f"{name}.safetensors"

    def step(self, name: str) -> Path:
        """What a finished step of the supernet has left."""
        return self.folder / "steps" / f"{name}.safetensors"

    def step_state(self, name: str) -> Path:
        """The state of such a step."""
        return self.folder / "steps" / f"{name}.state.safetensors"

    def rows(self) -> tuple[LayerRow, ...]:
        """The rows that are finished while layers are fine-tuned."""
        if not self.network.exists():
            return ()
        return rows_of(read_header(self.network).get(KEY, "[]"), self.network)

    def sweep(self) -> None:
        """Remove what a process that was killed while it wrote has left."""
        for name in (
            self.run.name,
            self.table.name,
            "subnets-*.csv",
            "search-*.csv",
            "*.safetensors",
            "layers/.*.safetensors",
            "steps/.*.safetensors",
        ):
            pattern = name if "/" in name else f".{name}"
            for half_written in self.folder.glob(f"{pattern}.*"):
                half_written.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a finished run no longer needs."""
        for file in (self.network, self.meta_state, self.supernet_state):
            file.unlink(missing_ok=True)
        for finished_parts in ("layers", "steps"):
            shutil.rmtree(self.folder / finished_parts, ignore_errors=True)


def finished(run: Path) -> Path:
    """The supernet's weights in a run's folder; PonasError when the run did not end."""
    weights = run / "weights.safetensors"
    for needed in (weights, run / "accuracy.json"):
        if not needed.exists():
            raise PonasError(
                f"{run} holds no finished run ({needed.name} is missing): `{_command(run)} --out {run}` with"
                f" the settings it was started with finishes it."
            )
    return weights


def _command(run: Path) -> str:
    document = RunPaths(run).run
    transfer = document.exists() and read_raw(document, RUN, TRANSFER_RUN).format == TRANSFER_RUN
    return "ponas train transfer" if transfer else "ponas train"
