"""Stock networks as ONNX models: built once by their library, then read from the user's store.

As well as they can be deployed: means over all pixels are written as the pooling that they are, which
runtimes keep in the layout of convolutions (about 3 % of a network with squeeze-and-excite in ONNX Runtime).

What times them needs no torch, and a second run builds nothing. A file stands below the name and version of
the library that built it, its SHA-256 beside it; one that is not as it was written is built again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ponas_deploy.engines.stock import StockNetwork
from ponas_deploy.errors import FileFormatError, MissingExtraError, PonasError
from ponas_deploy.files.home import home
from ponas_deploy.files.notes import Advance, OnNote
from ponas_deploy.files.opening import read_text
from ponas_deploy.files.records import sha256, write_bytes

EXTRA = "stock"
"""The extra of the package that brings the libraries."""
_EXPORT = "export1"
"""Changes with what is built of a network, so that older files are not read."""


@dataclass(frozen=True, slots=True)
class StockModel:
    """A stock network and the file of its ONNX model, which was `built_by` a version of its library."""

    network: StockNetwork
    path: Path
    built_by: str


def stock_models(
    networks: Sequence[StockNetwork], batch: int, on_note: OnNote, advance: Advance
) -> tuple[StockModel, ...]:
    """The models of stock networks for a batch. Those that cannot be built are named and left out."""
    found, missing = list[StockModel](), dict[str, list[str]]()
    for number, network in enumerate(networks):
        advance(number, len(networks), "building the stock networks")
        try:
            found.append(stock_model(network, batch))
        except PonasError as error:
            missing.setdefault(str(error), []).append(network.name)
    for reason, names in missing.items():
        on_note(f"left out, for {reason.rstrip('.')}: {', '.join(names)}.")
    return tuple(found)


def stock_model(network: StockNetwork, batch: int) -> StockModel:
    """The model of one network, from the store or built into it.

    MissingExtraError where it is in no version in the store, and its library or torch is not installed;
    PonasError where the library does not know it.
    """
    here = _installed(network.builder)
    for path in _stored(network, batch, here):
        if _is_whole(path):
            return StockModel(network, path, path.parent.name)
    return _built(network, batch)


def _built(network: StockNetwork, batch: int) -> StockModel:
    try:
        from train.networks import stock
    except ImportError as error:
        raise MissingExtraError(f"torch, which builds {network.builder}'s networks,", EXTRA) from error
    library = f"{network.builder}-{stock.builder_version(network.builder)}-{_EXPORT}"
    try:
        data = stock.stock_model(
            network.builder, network.constructor, network.resolution, batch, fuse=network.fuse
        )
        model = with_global_pooling(data)
    except PonasError:
        raise
    except Exception as error:  # torch and the libraries raise errors of every kind
        why = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
        raise PonasError(f"an error in {library.removesuffix(f'-{_EXPORT}')}: {why}.") from error
    path = _folder() / library / _file_name(network, batch)
    write_bytes(path, model, overwrite=True)
    write_bytes(_record(path), sha256(path).encode(), overwrite=True)
    return StockModel(network, path, library)


def with_global_pooling(model: bytes) -> bytes:
    """The same model, with GlobalAveragePool for means over height and width that keep their dimensions."""
    import onnx

    proto = onnx.load_model_from_string(model)
    values = onnx.shape_inference.infer_shapes(proto).graph.value_info
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    for node in proto.graph.node:
        given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        rank = ranks.get(node.input[0]) if node.op_type == "ReduceMean" else None
        axes = sorted(axis % 4 for axis in given.get("axes", ()))
        if rank == 4 and axes == [2, 3] and given.get("keepdims", 1):
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
    return bytes(proto.SerializeToString())


def _installed(builder: str) -> str | None:
    try:
        return version(builder)
    except PackageNotFoundError:
        return None


def _stored(network: StockNetwork, batch: int, here: str | None) -> Iterator[Path]:
    """The files of a network by the version that is installed, or by any where none is, the latest first."""
    name = _file_name(network, batch)
    if here is not None:
        yield _folder() / f"{network.builder}-{here}-{_EXPORT}" / name
        return
    files = _folder().glob(f"{network.builder}-*-{_EXPORT}/{name}")
    yield from sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)


def _folder() -> Path:
    return home() / "stock"


def _file_name(network: StockNetwork, batch: int) -> str:
    return f"{network.constructor}-{network.resolution}px-b{batch}.onnx"


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _is_whole(path: Path) -> bool:
    try:
        return path.is_file() and sha256(path) == read_text(_record(path)).strip()
    except FileFormatError:
        return False
