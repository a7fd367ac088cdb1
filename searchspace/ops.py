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
class GlobalPool:
    """Average over height and width, flattened: (N, C, H, W) -> (N, C)."""


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


Op = Conv | SqueezeExcite | Residual | GlobalPool | Dropout | Linear

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


def children(op: Op) -> tuple[Op, ...]:
    """The operations inside an operation: a residual's body."""
    if isinstance(op, Residual):
        return op.body
    if isinstance(op, (Conv, SqueezeExcite, GlobalPool, Dropout, Linear)):
        return ()
    assert_never(op)


def walk(ops: tuple[Op, ...]) -> Iterator[Op]:
    """Every operation in order, those inside another one after it."""
    for op in ops:
        yield op
        yield from walk(children(op))


def convolutions(ops: tuple[Op, ...]) -> Iterator[Conv]:
    """The convolutions of `ops` in order, those inside a residual too."""
    return (op for op in walk(ops) if isinstance(op, Conv))


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
        if (found := output_shape(op.body, shape)) != shape:
            raise SpaceError(f"a residual cannot add {found} to its input {shape}: they must be equal.")
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
        elif isinstance(op, (Residual, GlobalPool, Dropout)):
            yield from parameters(children(op), prefix)
        else:
            assert_never(op)


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


_FIRST = frozenset({"Conv", "SqueezeExcite", "Residual", "GlobalPool", "Dropout", "Linear"})


def _as_data(op: Op) -> dict[str, Any]:
    kind = type(op).__name__
    data: dict[str, Any] = {} if kind in _FIRST else {"op": kind}
    for one in fields(op):
        value = getattr(op, one.name)
        if not (one.metadata and value == one.default):
            data[one.name] = as_data(value) if isinstance(value, tuple) else value
    return data
