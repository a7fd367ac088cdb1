"""The authors' own files of Once-for-all: `net.config` and settings, read by content and back as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ponas_deploy.commands import app
from ponas_deploy.tables.architectures import architecture_in, named_by, read_architecture, resolution_of
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from searchspace import ArchitectureError, build_space

# Written down from the authors' code: stem, stages, strides, activations, squeeze-and-excite.
WIDTHS = {"ofa-mbv3": (16, (24, 40, 80, 112, 160)), "ofa-mbv3-w1.2": (24, (32, 48, 96, 136, 192))}
STRIDES, SQUEEZED = (2, 2, 2, 1, 2), (False, True, False, True, True)
ACTIVATIONS = ("relu", "relu", "h_swish", "h_swish", "h_swish")
KERNELS, RATIOS, DEPTHS = (3, 5, 7, 3), (6, 3, 4, 6), (2, 3, 4, 2, 3)
CHOICES = tuple(
    f"k{KERNELS[place]}e{RATIOS[place]}" if place < depth else "absent"
    for depth in DEPTHS
    for place in range(4)
)


def net_config(space: str, key: str = "mobile_inverted_conv") -> dict[str, Any]:
    stem, stages = WIDTHS[space]
    first = convolution(stem, stem, 3, 1, 1, "relu", False)
    blocks, inputs = (
        [{"name": "MobileInvertedResidualBlock", key: first, "shortcut": {"name": "IdentityLayer"}}],
        stem,
    )
    for stage, (width, depth) in enumerate(zip(stages, DEPTHS, strict=True)):
        for place in range(depth):
            one = convolution(
                inputs, width, KERNELS[place], 1 if place else STRIDES[stage], RATIOS[place],
                ACTIVATIONS[stage], SQUEEZED[stage],
            )  # fmt: skip
            shortcut = {"name": "IdentityLayer", "in_channels": [width]} if place else None
            blocks.append({"name": "MobileInvertedResidualBlock", key: one, "shortcut": shortcut})
            inputs = width
    return {
        "name": "MobileNetV3",
        "bn": {"eps": 1e-5},
        "first_conv": {"out_channels": stem},
        "blocks": blocks,
    }


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int, ratio: int, act: str, squeezed: bool
) -> dict[str, Any]:
    return {
        "name": "MBInvertedConvLayer",
        "in_channels": inputs,
        "out_channels": outputs,
        "kernel_size": kernel,
        "stride": stride,
        "expand_ratio": ratio,
        "mid_channels": inputs * ratio,
        "act_func": act,
        "use_se": squeezed,
    }


SETTINGS = {"ks": list(KERNELS) * 5, "e": list(RATIOS) * 5, "d": list(DEPTHS)}


def written(folder: Path, content: object) -> str:
    path = folder / "net.config"
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize("key", ["mobile_inverted_conv", "conv"])
@pytest.mark.parametrize("space", WIDTHS)
def test_a_net_config_says_its_space_and_comes_back_as_text(space: str, key: str, tmp_path: Path) -> None:
    file = written(tmp_path, net_config(space, key))
    found = read_architecture(file, None, None, 1000)
    assert (found.space.name, found.space.resolution, found.choices) == (space, 224, CHOICES)
    assert architecture_in(found.text, found.space) == found


def test_settings_say_depths_and_a_resolution(tmp_path: Path) -> None:
    settings = {**SETTINGS, "ks": [*KERNELS[:2], 99, 99, *SETTINGS["ks"][4:]], "r": [160]}
    file = written(tmp_path, settings)
    found = read_architecture(file, "ofa-mbv3-w1.2", None, 1000)
    assert (found.space.name, found.space.resolution, found.choices) == ("ofa-mbv3-w1.2", 160, CHOICES)
    with pytest.raises(ArchitectureError, match="at 160 px, and 224 px were asked for"):
        read_architecture(file, "ofa-mbv3", 224, 1000)
    with pytest.raises(ArchitectureError, match="say no width: name the space, --space ofa-mbv3 or --space"):
        read_architecture(file, None, None, 1000)
    written(tmp_path, {**SETTINGS, "r": 192})
    assert named_by(file, "ofa-mbv3").resolution == 192
    written(tmp_path, SETTINGS)
    assert named_by(file, "ofa-mbv3").resolution is None


def test_files_of_networks_that_are_compared_say_one_resolution(tmp_path: Path) -> None:
    at_160 = written(tmp_path, {**SETTINGS, "r": [160]})
    assert resolution_of([at_160, "PONAS-A"], "ofa-mbv3", None) == 160
    assert resolution_of([at_160], "ofa-mbv3", [160]) == 160
    assert resolution_of(["PONAS-A"], None, [192]) is None
    for others in ([192], [160, 192], []):
        with pytest.raises(ArchitectureError, match="is at 160 px, and --resolution asks for others"):
            resolution_of([at_160], "ofa-mbv3", others)
    grid = Grid.over(build_space("ofa-mbv3"), ([1.0] * len(row) for row in build_space("ofa-mbv3").labels))
    table = LatencyTable(grid, SpaceKey.of(build_space("ofa-mbv3", 192)))
    write_latency_table(table, tmp_path / "192.json")
    told = CliRunner().invoke(app, ["compare", at_160, "--latency-table", str(tmp_path / "192.json")])
    assert told.exit_code == 1
    assert "is at 160 px, and the latency tables are for others" in " ".join(told.output.split())
    (tmp_path / "other").mkdir()
    at_192 = written(tmp_path / "other", {**SETTINGS, "r": 192})
    with pytest.raises(ArchitectureError, match="name networks of one resolution"):
        resolution_of([at_160, at_192], "ofa-mbv3", None)


def test_what_describe_prints_is_read_back_in_its_own_space(tmp_path: Path) -> None:
    runner = CliRunner()
    file = written(tmp_path, net_config("ofa-mbv3"))
    first = runner.invoke(app, ["describe", file, "--json"])
    assert first.exit_code == 0, first.output
    (tmp_path / "again.json").write_text(first.stdout)
    again = runner.invoke(app, ["describe", str(tmp_path / "again.json"), "--json"])
    assert again.stdout == first.stdout
    assert json.loads(again.stdout)["choices"] == list(CHOICES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"d": [2, 3, 4, 2]}, r"d: has 4 entries, and space 'ofa-mbv3' 5"),
        ({"ks": [3] * 19}, "ks: has 19 entries, and space 'ofa-mbv3' 20"),
        ({"d": [2, 3, 5, 2, 3]}, r"d\[2\]: is 5, and the stage has 4 layers"),
        ({"d": [1, 3, 4, 2, 3]}, r"d\[0\]: leaves out layer 'L1', which is never absent"),
        ({"ks": [9] * 20}, r"ks\[0\]: makes layer 'L0' 'k9e6': known are k3e3"),
        ({"e": ["6"] * 20}, r"e\[0\]"),
        ({"r": [128, 224]}, "r: names 2 resolutions, expected one"),
        ({"r": [0]}, r"r\[0\]: "),
        ({"r": -4}, "r: "),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_their_place(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchitectureError, match=said):
        read_architecture(written(tmp_path, {**SETTINGS, **change}), "ofa-mbv3", None, 1000)


def test_a_net_config_that_does_not_fit_is_refused_by_its_place(tmp_path: Path) -> None:
    config = net_config("ofa-mbv3")
    blocks = config["blocks"]
    for changed, said in (
        (blocks[:-3], "has 4 stages"),
        ([*blocks[:3], *[blocks[2]] * 3, *blocks[3:]], "starts a stage of 5 blocks, expected 4"),
        ([*blocks[:2], {"shortcut": {}}, *blocks[3:]], r"blocks\[2\]\.mobile_inverted_conv: is missing"),
        (
            with_change(blocks, "use_se", True),
            r"blocks\[2\]\.use_se: is True, and that of 'k5e3' in layer 'L1'",
        ),
        (with_change(blocks, "expand_ratio", 2.5), r"blocks\[2\]: makes layer 'L1' 'k5e2\.5': known are"),
        (with_change(blocks, "mid_channels", 8), r"blocks\[2\]\.mid_channels: is 8"),
        ("none", "blocks"),
    ):
        file = written(tmp_path, {**config, "blocks": changed})
        with pytest.raises(ArchitectureError, match=said):
            read_architecture(file, "ofa-mbv3", None, 1000)
        with pytest.raises(ArchitectureError, match="is of no space that is known here: "):
            read_architecture(file, None, None, 1000)
    with pytest.raises(
        ArchitectureError, match="is a network of once-for-all, and space 'ponas' has no stages"
    ):
        architecture_in(written(tmp_path, config), build_space("ponas"))


def with_change(blocks: list[dict[str, Any]], key: str, value: object) -> list[dict[str, Any]]:
    changed = {**blocks[2], "mobile_inverted_conv": {**blocks[2]["mobile_inverted_conv"], key: value}}
    return [*blocks[:2], changed, *blocks[3:]]
