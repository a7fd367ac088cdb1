"""The numbers that files and options hold, and their bounds: each is written here once.

A type such as `Threads` is checked wherever a document with such a field is read; for a number from an option
`fault` says the same. Upper bounds are far above what anybody has and below what crashes a runtime.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, get_args

from msgspec import Meta

Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
"""A count of anything: a whole number that a float holds too."""
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=2**53)]
Seed: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Threads: TypeAlias = Annotated[int, Meta(ge=1, le=1024)]
"""More threads than a machine has cores only wait; with 100,000 of them a runtime crashes."""
Batch: TypeAlias = Annotated[int, Meta(ge=1, le=65_536)]
Streams: TypeAlias = Annotated[int, Meta(ge=1, le=1024)]
Resolution: TypeAlias = Annotated[int, Meta(ge=1, le=16_384)]
"""Pixels of a side."""
Classes: TypeAlias = Annotated[int, Meta(ge=1, le=10_000_000)]
Epochs: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]
Nanoseconds: TypeAlias = Annotated[int, Meta(ge=1, le=2**53)]
"""A duration: above zero and at most a hundred days."""
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=1e10)]
"""A time that was spent or is left: at most three hundred years."""
AboveZero: TypeAlias = Annotated[float, Meta(gt=0)]
AtLeastZero: TypeAlias = Annotated[float, Meta(ge=0)]
Percent: TypeAlias = Annotated[float, Meta(ge=0, le=100)]
Smoothing: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
"""The share of a label that is spread over all classes."""


def bounds_of(kind: Any) -> tuple[float | None, float | None]:
    """The least and the greatest value of one of these types; None where there is no bound."""
    meta: Meta = get_args(kind)[1]
    return (meta.ge if meta.ge is not None else meta.gt), meta.le


def fault(kind: Any, value: float) -> str:
    """What is wrong with a number as one of these types, for people; empty when nothing is."""
    least, most = bounds_of(kind)
    if least is not None and value < least:
        return f"is {value}, expected {least} or more."
    if most is not None and value > most:
        return f"is {value}, expected {most} or less."
    return ""
