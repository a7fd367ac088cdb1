"""Torch modules of a space, and weights in and out of them."""

from train.networks.checkpoints import Checkpoint, read_checkpoint
from train.networks.crop import crop, refuse_untrainable
from train.networks.elastic import ElasticNetwork, refuse_inelastic
from train.networks.importance import sort_channels
from train.networks.modules import BatchNorm, Block, Network, frozen, initialise
from train.networks.prefixes import SharedPrefixes, shared_parts
from train.networks.weights import (
    describe,
    load_arrays,
    refuse_other_images,
    refuse_other_tensors,
    to_arrays,
)

__all__ = [
    "BatchNorm",
    "Block",
    "Checkpoint",
    "ElasticNetwork",
    "Network",
    "SharedPrefixes",
    "crop",
    "describe",
    "frozen",
    "initialise",
    "load_arrays",
    "read_checkpoint",
    "refuse_inelastic",
    "refuse_other_images",
    "refuse_other_tensors",
    "refuse_untrainable",
    "shared_parts",
    "sort_channels",
    "to_arrays",
]
