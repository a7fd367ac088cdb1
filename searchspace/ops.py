"""The operations a block is made of, and what each of them is to every reader.

A block is a tuple of operations, described once. Readers build from it: a torch module
(`train/networks/modules.py`), an ONNX graph (`searchspace/graph.py`), a cost (`searchspace/cost.py`), traits
(`ponas_deploy/fitting/correction.py`). Each is a chain of `isinstance` that ends in `assert_never`, so that
the type checker names every reader that a new operation, activation or gate is missing from.
Tensors are NCHW; every convolution pads by `kernel // 2`, so that stride 1 keeps the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, Literal, NoReturn, get_args

from searchspace.errors import SpaceError, UnknownNameError

Activation = Literal["relu", "relu6", "hswish"]
"""`hswish` is x relu6(x + 3) / 6 (arXiv 1905.02244, section 5.2)."""
Gate = Literal["sigmoid", "hard_sigmoid"]
"""`hard_sigmoid` is relu6(x + 3) / 6 (ibid.)."""
Role = Literal["weight", "bias", "norm_weight", "norm_bias", "norm_mean", "norm_var"]
Shape = tuple[int, int, int]
"""Channels, height, width; flattened features are (features, 1, 1)."""

BATCH_NORM_EPS = 1e-5

_ADDED = {"added": True}
"""Marks a field that older tables do not know: `as_data` leaves it out while it has its default."""


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution without bias, then batch norm, then `activation` (None: linear).

    UnknownNameError for another activation; SpaceError for an even kernel, or groups that do not divide the
    channels.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: Activation | None = None

    def __post_init__(self) -> None:
        _refuse_unknown(self.activation)
        if self.kernel % 2 == 0:
            raise SpaceError(f"convolution '{self.name}' has kernel {self.kernel}: take an odd one.")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            channels = f"{self.in_channels} to {self.out_channels} channels"
            raise SpaceError(f"convolution '{self.name}', {channels}, cannot be in {self.groups} groups.")


@dataclass(frozen=True, slots=True)
class SqueezeExcite:
    """Average pool, 1x1 to `hidden`, ReLU, 1x1 back, `gate`, multiply (arXiv 1709.01507).

    UnknownNameError for another gate.
    """

    name: str
    channels: int
    hidden: int
    gate: Gate = field(default="sigmoid", metadata=_ADDED)

    def __post_init__(self) -> None:
        if self.gate not in _GATES:
            raise UnknownNameError("gate", str(self.gate), _GATES)


@dataclass(frozen=True, slots=True)
class Residual:
    """`x + body(x)`."""

    body: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Branches:
    """Rows of operations side by side, their outputs concatenated: (C, H, W) -> (sum of theirs, H', W').

    Each takes the whole input, or with `split` its own equal share of the channels, in order. An empty row
    passes on what it gets. SpaceError for less than two rows.
    """

    rows: tuple[tuple[Op, ...], ...]
    split: bool = False

    def __post_init__(self) -> None:
        if len(self.rows) < 2:
            raise SpaceError(f"branches of {len(self.rows)} rows: at least 2 are needed.")


@dataclass(frozen=True, slots=True)
class Shuffle:
    """Channels a0 a1 ... b0 b1 ... of `groups` equal groups become a0 b0 ... a1 b1 ... (arXiv 1707.01083)."""

    groups: int = 2


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """Average over height and width: (N, C, H, W) -> (N, C), or (N, C, 1, 1) unless it is to `flatten`."""

    flatten: bool = field(default=True, metadata=_ADDED)


@dataclass(frozen=True, slots=True)
class Dropout:
    """Dropout in training; nothing at inference."""

    rate: float


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer, then `activation` (None: none): (N, in_features) -> (N, out_features).

    UnknownNameError for another activation.
    """

    name: str
    in_features: int
    out_features: int
    bias: bool = field(default=True, metadata=_ADDED)
    activation: Activation | None = field(default=None, metadata=_ADDED)

    def __post_init__(self) -> None:
        _refuse_unknown(self.activation)


Op = Conv | SqueezeExcite | Residual | Branches | Shuffle | GlobalPool | Dropout | Linear

_ACTIVATIONS, _GATES = get_args(Activation), get_args(Gate)


def _refuse_unknown(activation: str | None) -> None:
    if activation not in (None, *_ACTIVATIONS):
        raise UnknownNameError("activation", str(activation), _ACTIVATIONS)


def assert_never(value: NoReturn) -> NoReturn:
    """The end of a chain over all operations, activations or gates: what is left over is unknown.

    A reader that forgets one does not pass the type checker; at run time UnknownNameError names it.
    """
    if isinstance(value, str):
        raise UnknownNameError("activation or gate", value, (*_ACTIVATIONS, *_GATES))
    raise UnknownNameError("operation", type(value).__name__, (op.__name__ for op in get_args(Op)))


def inner_rows(op: Op) -> tuple[tuple[Op, ...], ...]:
    """The rows of operations inside an operation: a residual's body, the branches."""
    if isinstance(op, Residual):
        return (op.body,)
    if isinstance(op, Branches):
        return op.rows
    if isinstance(op, (Conv, SqueezeExcite, Shuffle, GlobalPool, Dropout, Linear)):
        return ()
    assert_never(op)


def inner_shape(op: Op, shape: Shape) -> Shape:
    """What each row inside an operation gets of the operation's input.

    SpaceError where its channels cannot be split evenly.
    """
    if not isinstance(op, Branches) or not op.split:
        return shape
    channels, height, width = shape
    if channels % len(op.rows):
        raise SpaceError(f"{channels} channels cannot be split among {len(op.rows)} branches evenly.")
    return channels // len(op.rows), height, width


def walk(ops: tuple[Op, ...]) -> Iterator[Op]:
    """Every operation in order, those inside another one after it."""
    for op in ops:
        yield op
        for row in inner_rows(op):
            yield from walk(row)


def convolutions(ops: tuple[Op, ...]) -> Iterator[Conv]:
    """The convolutions of `ops` in order, those inside another operation too."""
    return (op for op in walk(ops) if isinstance(op, Conv))


def stride_of(ops: tuple[Op, ...]) -> int:
    """How many times fewer rows of pixels come out of `ops` than go in; branches have one stride."""
    own = (op.stride if isinstance(op, Conv) else 1 for op in ops)
    inside = (stride_of(max(inner_rows(op), key=len, default=())) for op in ops)
    return prod(own) * prod(inside)


def output_shape(ops: tuple[Op, ...], shape: Shape) -> Shape:
    """The shape after `ops`; SpaceError where an operation takes another one than it gets."""
    for op in ops:
        shape = _output_shape(op, shape)
    return shape


def _output_shape(op: Op, shape: Shape) -> Shape:
    channels, height, width = shape
    if isinstance(op, Conv):
        _refuse_other(op.name, op.in_channels, channels)
        return op.out_channels, -(-height // op.stride), -(-width // op.stride)
    if isinstance(op, SqueezeExcite):
        _refuse_other(op.name, op.channels, channels)
        return shape
    if isinstance(op, Residual):
        if (body := output_shape(op.body, shape)) != shape:
            raise SpaceError(f"a residual cannot add {body} to its input {shape}: they must be equal.")
        return shape
    if isinstance(op, Branches):
        found = [output_shape(row, inner_shape(op, shape)) for row in op.rows]
        if len({(high, wide) for _, high, wide in found}) > 1:
            raise SpaceError(
                f"branches cannot concatenate {' and '.join(map(str, found))}: they differ in size."
            )
        return sum(wide for wide, _, _ in found), *found[0][1:]
    if isinstance(op, Shuffle):
        if channels % op.groups:
            raise SpaceError(f"{channels} channels cannot be shuffled in {op.groups} groups of one size.")
        return shape
    if isinstance(op, Dropout):
        return shape
    if isinstance(op, GlobalPool):
        return channels, 1, 1
    if isinstance(op, Linear):
        _refuse_other(op.name, op.in_features, prod(shape))
        return op.out_features, 1, 1
    assert_never(op)


def _refuse_other(name: str, takes: int, gets: int) -> None:
    if takes != gets:
        raise SpaceError(f"'{name}' takes {takes} channels and gets {gets}: they must be equal.")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One tensor of a network: its name in a weights file, its shape, what it is for."""

    name: str
    shape: tuple[int, ...]
    role: Role

    @property
    def trainable(self) -> bool:
        """Whether it counts as a parameter (running statistics do not)."""
        return self.role not in ("norm_mean", "norm_var")


def parameters(ops: tuple[Op, ...], prefix: str) -> Iterator[Parameter]:
    """Every tensor of `ops`, named below `prefix`, in the order of the operations."""
    for op in ops:
        if isinstance(op, Conv):
            yield from _conv_parameters(op, f"{prefix}.{op.name}")
        elif isinstance(op, SqueezeExcite):
            name, wide, narrow = f"{prefix}.{op.name}", op.channels, op.hidden
            yield Parameter(f"{name}.reduce.weight", (narrow, wide, 1, 1), "weight")
            yield Parameter(f"{name}.reduce.bias", (narrow,), "bias")
            yield Parameter(f"{name}.expand.weight", (wide, narrow, 1, 1), "weight")
            yield Parameter(f"{name}.expand.bias", (wide,), "bias")
        elif isinstance(op, Linear):
            name = f"{prefix}.{op.name}"
            yield Parameter(f"{name}.weight", (op.out_features, op.in_features), "weight")
            if op.bias:
                yield Parameter(f"{name}.bias", (op.out_features,), "bias")
        else:
            for row in inner_rows(op):
                yield from parameters(row, prefix)


def _conv_parameters(op: Conv, name: str) -> Iterator[Parameter]:
    shape = (op.out_channels, op.in_channels // op.groups, op.kernel, op.kernel)
    yield Parameter(f"{name}.conv.weight", shape, "weight")
    channels = (op.out_channels,)
    yield Parameter(f"{name}.norm.weight", channels, "norm_weight")
    yield Parameter(f"{name}.norm.bias", channels, "norm_bias")
    yield Parameter(f"{name}.norm.running_mean", channels, "norm_mean")
    yield Parameter(f"{name}.norm.running_var", channels, "norm_var")


def count_params(ops: tuple[Op, ...], shape: Shape | None = None) -> int:
    """Trainable values of `ops`, on an input of any shape."""
    return sum(prod(parameter.shape) for parameter in parameters(ops, "") if parameter.trainable)


def as_data(ops: tuple[Op, ...]) -> list[dict[str, Any]]:
    """Operations as JSON values, for fingerprints: the same for as long as the operations are the same.

    The first six classes are told apart by their fields, as in the first tables; later ones have their name.
    """
    return [_as_data(op) for op in ops]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return _as_data(value) if isinstance(value, get_args(Op)) else value


_FIRST = frozenset({"Conv", "SqueezeExcite", "Residual", "GlobalPool", "Dropout", "Linear"})


def _as_data(op: Op) -> dict[str, Any]:
    kind = type(op).__name__
    data: dict[str, Any] = {} if kind in _FIRST else {"op": kind}
    for one in fields(op):
        value = getattr(op, one.name)
        if not (one.metadata and value == one.default):
            data[one.name] = _plain(value)
    return data
