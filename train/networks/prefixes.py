"""Networks of a supernet that compute together: what several of them begin with is computed once.

Networks that choose the same candidates up to some layer are one network up to there: the same weights, and
so the same features and the same batch norm statistics of the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from train.networks.modules import Network, frozen


class SharedPrefixes(nn.Module):
    """Images (N, 3, resolution, resolution) -> the logits of every network, (networks, N, classes).

    A network is the first `starts[i]` parts of the one before it, then `rests[i]`. Its logits are those of
    the network alone, whichever others there are.
    """

    def __init__(self, rests: Sequence[Sequence[nn.Module]], starts: Sequence[int]) -> None:
        super().__init__()
        self.starts, self._rests = tuple(starts), [list(rest) for rest in rests]
        self.parts = nn.ModuleList(part for rest in rests for part in rest)

    @classmethod
    def of(cls, networks: Sequence[Network]) -> SharedPrefixes:
        """Networks of the same supernet, one or more; sorted by their choices they share most."""
        starts = shared_parts([network.architecture.choices for network in networks])
        rests = [network.parts()[start:] for network, start in zip(networks, starts, strict=True)]
        return cls(rests, starts)

    def folded(self) -> SharedPrefixes:
        """A copy for inference only, batch norm folded into convolutions."""
        return SharedPrefixes([list(frozen(rest)) for rest in self._rests], self.starts)

    def forward(self, images: Tensor) -> Tensor:
        """See the class. Features are kept only as long as a later network begins with them."""
        features, found = {0: images}, []
        for place, (start, rest) in enumerate(zip(self.starts, self._rests, strict=True)):
            wanted = set(accumulate(self.starts[place + 1 :], min))
            x = features[start]
            features = {depth: each for depth, each in features.items() if depth in wanted}
            for depth, part in enumerate(rest, start=start + 1):
                x = part(x)
                if depth in wanted:
                    features[depth] = x
            found.append(x)
        return torch.stack(found)


def shared_parts(choices: Sequence[Sequence[str]]) -> list[int]:
    """How many parts each network has in common with the one before it; of the first one none.

    The parts are the stem, the layers and the head, which each network has for itself.
    """
    found = [0]
    for one, other in pairwise(choices):
        same = [mine == theirs for mine, theirs in zip(one, other, strict=True)]
        found.append(1 + [*same, False].index(False))
    return found
