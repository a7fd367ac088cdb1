"""An operation, an activation or a gate that a reader does not know is an error, not a silent identity."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ponas_deploy.checks.blocks import _contains
from ponas_deploy.fitting.correction import traits
from ponas_deploy.profiling.models import block_model
from searchspace import SpaceError, UnknownNameError
from searchspace.cost import count_bytes, count_macs
from searchspace.graph import model
from searchspace.ops import (
    Conv,
    GlobalPool,
    Linear,
    Op,
    Residual,
    SqueezeExcite,
    convolutions,
    count_params,
    output_shape,
    parameters,
    walk,
)

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (8, 4, 4)


@dataclass(frozen=True, slots=True)
class Foreign:
    name: str = "foreign"
    channels: int = 8


READERS: dict[str, Callable[[tuple[Op, ...]], object]] = {
    "parameters": lambda ops: list(parameters(ops, "x")),
    "children": lambda ops: list(walk(ops)),
    "convolutions": lambda ops: list(convolutions(ops)),
    "output shape": lambda ops: output_shape(ops, SHAPE),
    "params": count_params,
    "bytes": count_bytes,
    "macs": lambda ops: count_macs(ops, SHAPE),
    "graph": lambda ops: model([("x", ops)], SHAPE, {}, 1, "x"),
    "timed block": lambda ops: block_model("x", (ops, SHAPE), 1),
    "traits": traits,
    "order of blocks": lambda ops: _contains(ops, ops),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a residual"])
def test_a_foreign_operation_is_refused_by_every_reader(reader: str, inside: bool) -> None:
    foreign: Op = Foreign()  # type: ignore[assignment]
    with pytest.raises(
        UnknownNameError, match="unknown operation 'Foreign': known are Branches, Conv, Dropout"
    ):
        READERS[reader]((Residual((foreign,)) if inside else foreign,))


def test_a_foreign_activation_or_gate_is_refused_when_an_operation_is_made() -> None:
    with pytest.raises(UnknownNameError, match="unknown activation 'gelu': known are hswish, relu, relu6"):
        Conv("conv", 8, 8, activation="gelu")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown activation 'gelu'"):
        Linear("linear", 8, 8, activation="gelu")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown gate 'softmax': known are hard_sigmoid, sigmoid"):
        SqueezeExcite("se", 8, 8, gate="softmax")  # type: ignore[arg-type]


def test_the_graph_refuses_what_came_past_that() -> None:
    conv, squeeze = Conv("conv", 8, 8), SqueezeExcite("se", 8, 8)
    object.__setattr__(conv, "activation", "gelu")
    object.__setattr__(squeeze, "gate", "softmax")
    for op, unknown in ((conv, "gelu"), (squeeze, "softmax")):
        with pytest.raises(UnknownNameError, match=unknown):
            block_model("x", ((op,), SHAPE), 1)


@pytest.mark.parametrize(
    ("op", "said"),
    [
        (Conv("conv", 16, 8), "'conv' takes 16 channels and gets 8"),
        (SqueezeExcite("se", 16, 8), "'se' takes 16 channels and gets 8"),
        (Linear("classifier", 8, 3), "'classifier' takes 8 channels and gets 128"),
        (Residual((Conv("conv", 8, 8, stride=2),)), r"cannot add \(8, 2, 2\) to its input \(8, 4, 4\)"),
    ],
)
def test_an_operation_takes_only_what_fits(op: Op, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        output_shape((op,), SHAPE)


def test_each_operation_tells_its_output_shape() -> None:
    ops = Conv("conv", 8, 12, kernel=3, stride=2), SqueezeExcite("se", 12, 8), Residual((Conv("x", 12, 12),))
    assert output_shape(ops, (8, 5, 4)) == (12, 3, 2)
    assert output_shape((GlobalPool(), Linear("classifier", 8, 3)), SHAPE) == (3, 1, 1)
    assert output_shape((), SHAPE) == SHAPE


@pytest.mark.parametrize(("kernel", "groups", "said"), [(2, 1, "kernel 2"), (3, 3, "8 to 8 .* in 3 groups")])
def test_an_impossible_convolution_is_refused(kernel: int, groups: int, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        Conv("conv", 8, 8, kernel, groups=groups)


WRITTEN = {
    "searchspace/ops.py",
    "searchspace/cost.py",
    "searchspace/graph.py",
    "ponas_deploy/fitting/correction.py",
    "train/networks/modules.py",
    "train/stages/equivalent.py",
}
"""Every reader that is written operation by operation; the others ask these."""


@pytest.mark.parametrize(
    ("known", "more", "readers"),
    [
        ("Op = Conv", 'class New:\n    """New."""\n\n\nOp = New | Conv', WRITTEN),
        ('Activation = Literal["relu"', 'Activation = Literal["gelu", "relu"', None),
        ('Gate = Literal["sigmoid"', 'Gate = Literal["softmax", "sigmoid"', None),
    ],
    ids=["operation", "activation", "gate"],
)
def test_the_type_checker_names_every_reader_that_lacks_one(
    known: str, more: str, readers: set[str] | None, tmp_path: Path
) -> None:
    pytest.importorskip("mypy", reason="needs mypy (the dev extra)")
    for file in (*WRITTEN, "searchspace/errors.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    ops = tmp_path / "searchspace/ops.py"
    text = ops.read_text(encoding="utf-8")
    assert known in text
    ops.write_text(text.replace(known, more, 1), encoding="utf-8")
    found = _mypy(tmp_path)
    assert found == (readers or {"searchspace/graph.py", "train/networks/modules.py"})


def _mypy(folder: Path) -> set[str]:
    """The files in which something may come to `assert_never`; other modules are not looked at."""
    options = ("--follow-imports=skip", "--config-file=", "--namespace-packages", "--explicit-package-bases")
    command = [sys.executable, "-m", "mypy", *options, *sorted(WRITTEN), "searchspace/errors.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return {line.split(":")[0] for line in done.stdout.splitlines() if '"assert_never"' in line}
