"""The published networks by name, written in capitals or not; each is built when it is asked for."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType

from searchspace.zoo import fairnas, fbnet, mnasnet, mobilenetv2, mobilenetv3, mobilenetv4, proxyless
from searchspace.zoo.published import PublishedNetwork

_FAMILIES = (mobilenetv2, mobilenetv3, mobilenetv4, mnasnet, proxyless, fbnet, fairnas)


@lru_cache(maxsize=1)
def published_networks() -> MappingProxyType[str, PublishedNetwork]:
    """All of them by their name, family by family; none is built."""
    return MappingProxyType({one.name: one for family in _FAMILIES for one in family.NETWORKS})


@lru_cache(maxsize=1)
def _by_capitals() -> dict[str, PublishedNetwork]:
    return {name.upper(): one for name, one in published_networks().items()}


def published_network(name: str) -> PublishedNetwork | None:
    """The one of that name, in capitals or not; None where there is none."""
    return _by_capitals().get(name.strip().upper())
