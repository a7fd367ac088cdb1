"""A space with stages, small enough to train its supernet in a test; images from `tiny_training`."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import tiny_training
import torch

import searchspace.spaces.registry
from ponas_deploy.commands.train.fitted import fit_subnets, fitted_table
from ponas_deploy.files.weights import Arrays
from ponas_deploy.tables.accuracy import AccuracyTable
from searchspace.blocks import inverted_bottleneck
from searchspace.elastic import largest_network
from searchspace.ops import Conv, GlobalPool, Linear, SqueezeExcite
from searchspace.space import Candidate, Layer, Space
from searchspace.weights import random_weights
from train.networks import ElasticNetwork, load_arrays
from train.runs import EvaluatedSubnets, Run

KERNELS, WIDTHS = (3, 5, 7), (2, 3, 4)
SUBNETS = (
    "k7e4,k7e4,k7e4,k7e4,k7e4",
    "k3e2,absent,k3e2,absent,absent",
    "k5e3,k3e4,k7e2,k5e2,absent",
    "k3e3,absent,k5e4,k3e2,k7e3",
)


def layer(name: str, inputs: int, outputs: int, stride: int, squeezed: bool, optional: bool) -> Layer:
    candidates = []
    for kernel, expansion in product(KERNELS, WIDTHS):
        width = inputs * expansion
        squeeze = SqueezeExcite("se", width, width // 2, "hard_sigmoid") if squeezed else None
        ops = inverted_bottleneck(inputs, outputs, stride, kernel, width, squeeze, "hswish")
        candidates.append(Candidate(f"k{kernel}e{expansion}", ops))
    return Layer(name, (*candidates, *((Candidate("absent", ()),) if optional else ())))


def space(resolution: int = 16, classes: int = 3) -> Space:
    """Stages of two and three layers, of which the last one and the last two may be absent."""
    layers = (
        layer("A", 4, 8, 2, False, False),
        layer("B", 8, 8, 1, False, True),
        layer("C", 8, 8, 1, True, False),
        layer("D", 8, 8, 1, True, True),
        layer("E", 8, 8, 1, True, True),
    )
    stem = (Conv("conv", 3, 4, kernel=3, stride=2, activation="hswish"),)
    head = (Conv("conv", 8, 16, activation="hswish"), GlobalPool(), Linear("classifier", 16, classes))
    return Space("elastic", stem, layers, head, resolution, classes, stages=(2, 3))


def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run find this space and the tiny images by name."""
    tiny_training.known(monkeypatch)
    monkeypatch.setitem(searchspace.spaces.registry.SPACES, "elastic", space)


def fit(run: Run, found: EvaluatedSubnets) -> AccuracyTable:
    """The table of a run, as `ponas train` makes it."""
    return fitted_table(fit_subnets(run, found, 0), run, found, ())


def random_network() -> ElasticNetwork:
    """Random weights, statistics and matrices, in evaluation mode."""
    network = ElasticNetwork(space())
    random = np.random.default_rng(0)
    tensors: Arrays = random_weights(largest_network(space()))
    for name, parameter in network.named_parameters():
        if ".matrix." in name:
            size = len(parameter)
            tensors[name] = (np.eye(size) + random.normal(0, 0.1, (size, size))).astype(np.float32)
    load_arrays(network, tensors)
    return network.eval()


def images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def at(resolution: int, space: Space) -> Space:
    return replace(space, resolution=resolution)
