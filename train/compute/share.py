"""Equal parts of a batch, one for each process that trains."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Share:
    """One of `processes` equal parts of every batch: that of the process number `rank`, from 0."""

    rank: int = 0
    processes: int = 1

    def of(self, batch: Tensor) -> Tensor:
        """Its rows of a batch; a rest that cannot be shared equally is left out."""
        count = len(batch) // self.processes
        return batch[self.rank * count : (self.rank + 1) * count] if self.processes > 1 else batch


WHOLE = Share()
"""All of a batch, for a process that trains alone."""
