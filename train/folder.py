"""The folder of a training run: what was asked, how far it is, what came out.

    run.json                  the settings it was started with
    meta.state.safetensors    the meta network after its last finished epoch; gone when training ends
    meta.safetensors          the meta network
    layers/NAME.safetensors   a finished layer's candidates; gone when the run ends
    network.safetensors       the network so far, with the finished rows in its header; likewise
    weights.safetensors       the supernet: stem, head, every candidate of every layer
    accuracy.json             the accuracy table, written last: the run is complete when it is there

Every file is written whole or not at all, and a file never speaks of one that is not there yet, so a
run killed at any moment continues from its last finished epoch or layer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ponas_deploy.errors import FileFormatError, OverwriteError
from ponas_deploy.records import read_json, write_json
from ponas_deploy.weights import Arrays, read_weights, write_weights
from searchspace import Architecture, Space
from train.compute import Compute
from train.data import Splits
from train.errors import RunMismatchError
from train.modules import Network
from train.progress import LayerRow
from train.progressive import TunedLayer
from train.settings import TrainSettings
from train.weights import describe, load_arrays, to_arrays

FORMAT = "ponas.training-run/1"
# These do not change what is trained, only where and how fast.
_FREE = ("device", "workers")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder that belongs to one run."""

    path: Path
    space: Space
    splits: Splits
    seed: int

    @property
    def table(self) -> Path:
        """The accuracy table."""
        return self.path / "accuracy.json"

    @property
    def weights(self) -> Path:
        """The supernet's weights."""
        return self.path / "weights.safetensors"

    @property
    def meta(self) -> Path:
        """The meta network's weights."""
        return self.path / "meta.safetensors"

    @property
    def meta_state(self) -> Path:
        """The state of meta training."""
        return self.path / "meta.state.safetensors"

    def claim(self, settings: TrainSettings) -> None:
        """Start or continue a run here; RunMismatchError when the folder holds a run of other settings."""
        wanted = self._identity(settings)
        path = self.path / "run.json"
        if not path.exists():
            for result in (self.table, self.weights, self.meta):
                if result.exists():
                    raise OverwriteError(result)
            write_json(path, FORMAT, {"settings": wanted})
            return
        found = read_json(path, FORMAT).record("settings").data
        names = sorted(set(found) | set(wanted))
        changes = [
            f"{name} was {found.get(name)}, now {wanted.get(name)}"
            for name in names
            if found.get(name) != wanted.get(name)
        ]
        if changes:
            raise RunMismatchError(self.path, changes)

    def save_meta(self, network: Network) -> None:
        """Keep the meta network; its training state is no longer needed."""
        write_weights(self.meta, to_arrays(network.state_dict()), self._header("network", network))
        self.meta_state.unlink(missing_ok=True)

    def save_layer(self, network: Network, rows: Sequence[LayerRow], tuned: TunedLayer) -> None:
        """Keep a finished layer, then the network with its best candidate and all rows so far."""
        prefix = f"layers.{tuned.row.layer}"
        tensors = {
            f"{prefix}.{label}.{name}": tensor
            for label, block in zip(tuned.row.labels, tuned.candidates, strict=True)
            for name, tensor in block.state_dict().items()
        }
        write_weights(self._layer(tuned.row.layer), to_arrays(tensors), {"layout": "candidates"})
        header = {**self._header("network", network), "rows": json.dumps([asdict(row) for row in rows])}
        write_weights(self._network, to_arrays(network.state_dict()), header)

    def load_network(self, compute: Compute) -> tuple[Network, tuple[LayerRow, ...]]:
        """The network so far and the finished rows; the meta network when there are none yet."""
        return self._load(self._network if self._network.exists() else self.meta, compute)

    def load_meta(self, compute: Compute) -> Network:
        """The meta network."""
        return self._load(self.meta, compute)[0]

    def _load(self, path: Path, compute: Compute) -> tuple[Network, tuple[LayerRow, ...]]:
        file = read_weights(path)
        try:
            network = Network(Architecture(self.space, tuple(file.metadata["choices"].split(","))))
            load_arrays(network, file.tensors)
            rows = tuple(_row(row) for row in json.loads(file.metadata.get("rows", "[]")))
        except (KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
            raise FileFormatError(path, "", f"is not a network of this run ({error}).") from error
        return compute.place(network), rows

    def save_supernet(self, network: Network) -> None:
        """Put stem, head and every candidate of every layer into one file."""
        tensors = to_arrays(network.state_dict())
        supernet: Arrays = {name: tensors[name] for name in tensors if not name.startswith("layers.")}
        for layer in self.space.layers:
            supernet.update(read_weights(self._layer(layer.name)).tensors)
        write_weights(self.weights, supernet, self._header("supernet", network))

    def tidy(self) -> None:
        """Remove what a finished run no longer needs."""
        self._network.unlink(missing_ok=True)
        shutil.rmtree(self.path / "layers", ignore_errors=True)

    @property
    def _network(self) -> Path:
        return self.path / "network.safetensors"

    def _layer(self, name: str) -> Path:
        return self.path / "layers" / f"{name}.safetensors"

    def _header(self, layout: str, network: Network) -> dict[str, str]:
        header = describe(layout, self.space, self.splits, self.seed)
        return {**header, "choices": ",".join(network.architecture.choices)}

    def _identity(self, settings: TrainSettings) -> dict[str, Any]:
        """Everything that decides what comes out, by dotted names."""
        splits = self.splits
        chosen = {name: value for name, value in asdict(settings).items() if name not in _FREE}
        known = {
            "resolution": self.space.resolution,
            "classes": self.space.classes,
            "fingerprint": self.space.fingerprint,
            "images": [len(part.labels) for part in (splits.train, splits.validation, splits.test)],
        }
        plain: dict[str, Any] = json.loads(json.dumps({**chosen, **known}))
        return dict(dotted(plain))


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as pairs of a dotted name and a plain value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _row(values: Mapping[str, Any]) -> LayerRow:
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return LayerRow(**fields)
