"""Where torch computes: device, precision, processes, memory, seeds."""

from train.compute.device import Compute, few_threads, threads
from train.compute.memory import enough_memory
from train.compute.seeds import derive, generator, shuffled
from train.compute.share import WHOLE, Share

__all__ = [
    "WHOLE",
    "Compute",
    "Share",
    "derive",
    "enough_memory",
    "few_threads",
    "generator",
    "shuffled",
    "threads",
]
