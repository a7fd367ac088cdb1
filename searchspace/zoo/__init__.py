"""Published networks by name, each a chain of one candidate a layer. A new one is a row of its family."""

from searchspace.zoo.published import PublishedFigures, PublishedNetwork
from searchspace.zoo.registry import published_network, published_networks

__all__ = ["PublishedFigures", "PublishedNetwork", "published_network", "published_networks"]
