"""MMRazor's `fix_subnet` YAML of all generations, and files that only look like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

yaml = pytest.importorskip("yaml", reason="needs the yaml extra (PyYAML)")

from ponas_deploy.errors import ArchitectureError  # noqa: E402
from ponas_deploy.tables.architectures import read_architecture  # noqa: E402
from ponas_deploy.tables.fix_subnet import fix_subnet  # noqa: E402
from searchspace import Architecture, build_space, parse_architecture  # noqa: E402
from searchspace.mmrazor import FIXED, module_of  # noqa: E402


def network(name: str) -> Architecture:
    return parse_architecture(name, build_space("spos-proxyless" if "ANGLE" in name else "spos-shufflenet"))


def entries(architecture: Architecture, *, old: bool = False) -> dict[str, str]:
    """The keys of a file and their labels, written from the facts."""
    space, found = architecture.space, {}
    if space.name in FIXED:
        found["stage_0_block_0" if old else "backbone.layer1.0"] = "mb_k3e1"
    for layer, label in zip(space.layers, architecture.choices, strict=True):
        found[layer.name if old else module_of(space, layer)] = label
    return found


def written(architecture: Architecture, generation: str) -> str:
    new = entries(architecture)
    if generation == "0.x":
        old = {key: {"chosen": [label]} for key, label in entries(architecture, old=True).items()}
        return str(yaml.safe_dump(old, sort_keys=False))
    if generation == "1.0.0rc0":
        return str(yaml.safe_dump(new, sort_keys=False))
    if generation == "draft":
        return str(yaml.safe_dump({"modules": new, "channels": {}}, sort_keys=False))
    if generation == "searched":
        return str(yaml.dump({f"architecture.{key}": {"chosen": np.str_(one)} for key, one in new.items()}))
    return str(yaml.safe_dump({key: {"chosen": label} for key, label in new.items()}, sort_keys=False))


GENERATIONS = ("0.x", "1.0.0rc0", "draft", "1.x", "searched")


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("name", ["SPOS-MMRAZOR", "SPOS-PAPER", "SPOS-ANGLENAS"])
def test_all_generations_are_the_network(name: str, generation: str, tmp_path: Path) -> None:
    path = tmp_path / "best_fix_subnet.yaml"
    path.write_text(written(network(name), generation))
    assert read_architecture(str(path), None, None, 1000) == network(name)


@pytest.mark.parametrize("name", ["SPOS-MMRAZOR", "SPOS-ANGLENAS"])
def test_what_is_written_is_read_again(name: str, tmp_path: Path) -> None:
    path = tmp_path / "subnet.yaml"
    path.write_text(fix_subnet(network(name)))
    assert yaml.safe_load(path.read_text()) == {
        key: {"chosen": label} for key, label in entries(network(name)).items()
    }
    assert read_architecture(str(path), None, None, 1000) == network(name)


def test_the_first_lines_say_what_it_is() -> None:
    assert fix_subnet(network("SPOS-ANGLENAS")).startswith(
        "backbone.layer1.0:\n  chosen: mb_k3e1\nbackbone.layer2.0:\n  chosen: mb_k5e3\n"
    )
    with pytest.raises(
        ArchitectureError, match="of space 'ponas', and MMRazor's YAML is of spos-shufflenet and"
    ):
        fix_subnet(parse_architecture("PONAS-A", build_space("ponas")))


def test_what_stands_beside_a_label_as_meta_is_left_out_and_flow_style_is_read(tmp_path: Path) -> None:
    asked = network("SPOS-ANGLENAS")
    path = tmp_path / "subnet.yaml"
    labels = {key: {"chosen": label, "meta": {"all_choices": ["a"]}} for key, label in entries(asked).items()}
    path.write_text(str(yaml.safe_dump(labels, default_flow_style=True)))
    assert read_architecture(str(path), None, None, 1000) == asked


def test_the_authors_blocks_have_the_same_labels(tmp_path: Path) -> None:
    path = tmp_path / "subnet.yaml"
    path.write_text(written(network("SPOS-PAPER"), "1.x"))
    found = read_architecture(str(path), "spos-shufflenet-authors", None, 1000)
    assert (found.space.name, found.choices) == ("spos-shufflenet-authors", network("SPOS-PAPER").choices)


def test_a_network_in_the_authors_blocks_is_not_written_as_mmrazors() -> None:
    network = parse_architecture("SPOS-PAPER", build_space("spos-shufflenet-authors"))
    with pytest.raises(ArchitectureError, match="space 'spos-shufflenet-authors', and MMRazor's YAML is of"):
        fix_subnet(network)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("shuffle_7x7", "shuffle_9x9", "'shuffle_9x9': known are shuffle_3x3, shuffle_5x5, shuffle_7x7"),
        ("backbone.layers.0.1", "backbone.layers.0.9", "backbone.layers.0.9: is no layer of space"),
        ("backbone.layers.3.3:\n  chosen: shuffle_xception\n", "", r"backbone.layers.3.3: is missing"),
        ("  chosen: shuffle_7x7", "  chosen: [shuffle_7x7, shuffle_3x3]", "names no candidate: one label"),
        ("  chosen: shuffle_7x7", "  chosen: shuffle_7x7\n  mutable_cfg: {}", "holds chosen, mutable_cfg"),
        ("shuffle_7x7", "!!python/object/apply:os.system ['touch ran']", "holds a Python object"),
        ("shuffle_7x7", "!!python/name:os.system", "holds a Python object"),
        ("  chosen: shuffle_7x7", "  chosen: &a shuffle_7x7\n  again: *a", "by an alias"),
        ("backbone.layers.0.1", "!!python/name:os.system backbone.layers.0.1", "holds a Python object"),
        ("shuffle_7x7", "!ruby/object:Gem shuffle_7x7", "line 2: has the tag '!ruby/object:Gem'"),
        ("backbone.layers.0.1", "!foo/bar backbone.layers.0.1", "line 3: has the tag '!foo/bar'"),
        ("  chosen: shuffle_7x7", "  !!set {chosen: }", "has the tag 'tag:yaml.org,2002:set'"),
        ("backbone.layers.0.1", "architecture.backbone.layers.0.0", "with and without 'architecture.'"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_run(
    old: str, new: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "subnet.yaml"
    path.write_text(written(network("SPOS-PAPER"), "1.x").replace(old, new, 1))
    with pytest.raises(ArchitectureError, match=reason):
        read_architecture(str(path), None, None, 1000)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("U11", "O8"),
        ("U11", "U9999"),
        ("numpy.dtype", "numpy.load"),
        ("multiarray.scalar", "multiarray.fromfile"),
        ("!!binary", "!!str"),
    ],
)
def test_a_numpy_string_that_is_none_is_refused(old: str, new: str, tmp_path: Path) -> None:
    text = written(network("SPOS-PAPER"), "searched")
    assert old in text
    path = tmp_path / "subnet.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ArchitectureError, match="of which only NumPy's strings are read; nothing was run"):
        read_architecture(str(path), None, None, 1000)
