"""Tables of once-for-all, ProxylessNAS and FBNet, as their projects write them, become tables of ours."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import tiny_space
from ponas_deploy.commands import app
from ponas_deploy.errors import FileFormatError, MissingExtraError, PonasError
from ponas_deploy.tables.architectures import read_architecture
from ponas_deploy.tables.files import load_latency_table, load_table
from ponas_deploy.tables.importing import import_table, imported
from ponas_deploy.tables.latency_file import write_latency_table
from sample_tables import accuracy_table, write_csv
from searchspace import SPACES, build_space

FIXED = (
    "Conv-input:32x32x3-output:16x16x8",
    "Conv_1-input:8x8x16-output:8x8x32",
    "AvgPool2D-input:8x8x32-output:1x1x32",
    "Logits-input:1x1x32-output:10",
)
FIRST = "expanded_conv-input:16x16x8-output:8x8x16"
OTHERS = "expanded_conv-input:8x8x16-output:8x8x16"
BLOCKS = (
    f"{FIRST}-expand:24-kernel:3-stride:2-idskip:0-se:0-hs:0",
    f"{FIRST}-expand:24-kernel:5-stride:2-idskip:0-se:1-hs:0",
    f"{FIRST}-expand:48-kernel:3-stride:2-idskip:0-se:0-hs:0",
    f"{FIRST}-expand:48-kernel:5-stride:2-idskip:0-se:1-hs:0",
    f"{OTHERS}-expand:48-kernel:3-stride:1-idskip:1-se:0-hs:0",
    f"{OTHERS}-expand:48-kernel:5-stride:1-idskip:1-se:1-hs:0",
    f"{OTHERS}-expand:96-kernel:3-stride:1-idskip:1-se:0-hs:0",
    f"{OTHERS}-expand:96-kernel:5-stride:1-idskip:1-se:1-hs:0",
)
"""What MobileNetV3's estimator of once-for-all looks up for the tiny space, by hand."""


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


def write_yaml(path: Path, keys: tuple[str, ...], step: float = 1.0) -> Path:
    """Each entry a step slower than the one before, with what else their files hold."""
    lines = [f"{key}:\n  count: 100\n  mean: {step * (1 + place)}" for place, key in enumerate(keys)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.usefixtures("known")
def test_entries_of_once_for_all_fill_the_layers_of_a_space(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML (extra 'yaml') is not installed")
    made = imported(write_yaml(tmp_path / "t.yaml", (*BLOCKS, *FIXED)), tiny_space())
    assert made.table.grid.values == ((1, 2, 3, 4), (5, 6, 7, 8), (5, 6, 7, 8))
    assert made.table.grid.fixed == 9 + 10 + 11 + 12
    assert made.table.grid.candidates == tiny_space().labels
    assert (made.lacking, made.notes) == ((), ())
    assert made.table.space is not None
    assert made.table.space.document() == {
        "name": "tiny", "fingerprint": tiny_space().fingerprint, "resolution": 32, "classes": 10
    }  # fmt: skip


OFA_STAGES = ((24, 2, 0, 0), (40, 2, 1, 0), (80, 2, 0, 1), (112, 1, 1, 1), (160, 2, 1, 1))
"""Channels, stride of the first layer, squeeze-and-excite, h-swish of the stages of OFA-MobileNetV3."""


def ofa_keys() -> dict[tuple[int, bool, int, int], str]:
    """What their estimator looks up at 224 px: (stage, first layer, kernel, expansion), by hand."""
    keys, side, wide = {}, 112, 16
    for stage, (out, stride, squeeze, swish) in enumerate(OFA_STAGES):
        for first, kernel, expansion in product((True, False), (3, 5, 7), (3, 4, 6)):
            after = side // stride
            before, channels = (side, wide) if first else (after, out)
            keys[stage, first, kernel, expansion] = (
                f"expanded_conv-input:{before}x{before}x{channels}-output:{after}x{after}x{out}"
                f"-expand:{channels * expansion}-kernel:{kernel}-stride:{stride if first else 1}"
                f"-idskip:{0 if first else 1}-se:{squeeze}-hs:{swish}"
            )
        side, wide = side // stride, out
    return keys


OFA_FIXED = (
    "Conv-input:224x224x3-output:112x112x16",
    "expanded_conv-input:112x112x16-output:112x112x16-expand:16-kernel:3-stride:1-idskip:1-se:0-hs:0",
    "Conv_1-input:7x7x160-output:7x7x960",
    "AvgPool2D-input:7x7x960-output:1x1x960",
    "Conv_2-input:1x1x960-output:1x1x1280",
    "Logits-input:1x1x1280-output:1000",
)


def test_once_for_alls_own_space_is_filled_and_a_network_takes_what_their_estimator_adds_up(
    tmp_path: Path,
) -> None:
    pytest.importorskip("yaml", reason="PyYAML (extra 'yaml') is not installed")
    keys = ofa_keys()
    listed = (*keys.values(), *OFA_FIXED)
    path, space = write_yaml(tmp_path / "note10.yaml", listed, 0.001), build_space("ofa-mbv3")
    took = {key: 0.001 * (1 + place) for place, key in enumerate(listed)}
    made = imported(path, space)
    assert (made.lacking, made.notes) == ((), ())
    stages = (((5, 3), (3, 3)), ((7, 6),) * 3, ((3, 4),) * 4, ((5, 6), (7, 3)), ((3, 6), (7, 4), (5, 3)))
    choices = tuple(
        f"k{stage[depth][0]}e{stage[depth][1]}" if depth < len(stage) else "absent"
        for stage in stages
        for depth in range(4)
    )
    theirs = sum(took[key] for key in OFA_FIXED) + sum(
        took[keys[number, depth == 0, kernel, expansion]]
        for number, stage in enumerate(stages)
        for depth, (kernel, expansion) in enumerate(stage)
    )
    assert made.table.predict_ms(choices) == pytest.approx(theirs)
    write_latency_table(made.table, tmp_path / "note10.json")
    assert load_latency_table(tmp_path / "note10.json") == made.table
    for lacking in (listed[7], listed[-20]):
        write_yaml(path, tuple(key for key in listed if key != lacking))
        with pytest.raises(FileFormatError, match=rf"lacks . of 190 cells of .* at 224 px: '{lacking}'"):
            import_table(path, space)


@pytest.mark.usefixtures("known")
def test_what_is_lacking_is_listed_and_the_others_are_a_table(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML (extra 'yaml') is not installed")
    keys = (*(key for key in BLOCKS if "-se:0-" in key), BLOCKS[1], *FIXED[:3])
    path, out = write_yaml(tmp_path / "t.yml", keys), tmp_path / "t.json"
    wanted = ("--space", "tiny", "--resolution", "32", "--classes", "10", "--out", str(out))
    found = CliRunner().invoke(app, ["table", "import", str(path), *wanted, "--json"])
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    lacking = {(cell["layer"], cell["candidate"]): cell["key"] for cell in document["lacking"]}
    assert lacking == {
        ("1", "k5e6se"): BLOCKS[3],
        **{(layer, "k5e3se"): BLOCKS[5] for layer in "23"},
        **{(layer, "k5e6se"): BLOCKS[7] for layer in "23"},
        ("head", ""): FIXED[3],
    }
    assert (document["space"], document["cells"]) == (None, 7)
    assert load_latency_table(out).grid.candidates == (("k3e3", "k5e3se", "k3e6"), *2 * (("k3e3", "k3e6"),))
    again = CliRunner().invoke(app, ["table", "import", str(path), *wanted])
    assert "exists already" in again.output
    shown = CliRunner().invoke(app, ["table", "import", str(path), *wanted, "--force"]).stdout
    assert "lacking in layers 2, 3: k5e3se, k5e6se" in shown
    assert f"head: there is no '{FIXED[3]}', it counts nothing." in shown
    assert "5 of 12 cells of space 'tiny' are not in the file" in " ".join(shown.split())


@pytest.mark.usefixtures("known")
def test_a_space_that_the_file_does_not_hold_is_refused_with_the_entry_that_was_looked_for(
    tmp_path: Path,
) -> None:
    pytest.importorskip("yaml", reason="PyYAML (extra 'yaml') is not installed")
    path = write_yaml(tmp_path / "t.yaml", (*BLOCKS[4:], *FIXED))
    with pytest.raises(FileFormatError, match=rf"has not layers 1 of .*layer 1 needs '{BLOCKS[0]}'"):
        imported(path, tiny_space())
    with pytest.raises(FileFormatError, match=r"has no layer of space 'ponas' at 224 px: .* inputs of 32 px"):
        imported(path, build_space("ponas"))
    with pytest.raises(PonasError, match=r"no layers: name the space .* --space \(known are .*ponas, "):
        imported(path, None)


def test_a_table_of_proxylessnas_has_ratios_and_no_squeeze_and_excite(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML (extra 'yaml') is not installed")
    shapes = (
        ("112x112x16", "56x56x32", 2, 0), ("56x56x32", "56x56x32", 1, 1),
        ("56x56x32", "28x28x40", 2, 0), ("28x28x40", "28x28x40", 1, 1),
        ("28x28x40", "14x14x80", 2, 0), ("14x14x80", "14x14x80", 1, 1),
        ("14x14x80", "14x14x96", 1, 0), ("14x14x96", "14x14x96", 1, 1),
        ("14x14x96", "7x7x192", 2, 0), ("7x7x192", "7x7x192", 1, 1),
        ("7x7x192", "7x7x320", 1, 0),
    )  # fmt: skip
    keys = [
        f"expanded_conv-input:{wide}-output:{out}-expand:{expand}-kernel:{kernel}-stride:{stride}-idskip:{skip}"
        for (wide, out, stride, skip), expand, kernel in product(shapes, (3, 6), (3, 5, 7))
    ]
    assert "expanded_conv-input:56x56x32-output:28x28x40-expand:3-kernel:7-stride:2-idskip:0" in keys
    fixed = (
        "Conv-input:224x224x3-output:112x112x32",
        "expanded_conv-input:112x112x32-output:112x112x16-expand:1-kernel:3-stride:1-idskip:0",
        "Conv_1-input:7x7x320-output:7x7x1280",
        "Logits-input:7x7x1280-output:1000",
    )
    made = imported(write_yaml(tmp_path / "mobile_trim.yaml", (*keys, *fixed)), build_space("ponas"))
    ponas = build_space("ponas")
    plain = tuple(tuple(label for label in row if not label.endswith("se")) for row in ponas.labels)
    assert made.table.grid.candidates == plain
    assert {cell.candidate[-2:] for cell in made.lacking} == {"se"}
    assert made.table.grid.fixed == sum(1 + len(keys) + place for place in range(4))
    assert made.table.grid.values[2][2] == 1 + keys.index(
        "expanded_conv-input:56x56x32-output:28x28x40-expand:3-kernel:7-stride:2-idskip:0"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("KEY: {mean: -1}", "KEY.mean: is -1.0, expected 0 or more"),
        ("KEY: {mean: .nan}", "KEY.mean: is '.nan', expected a finite number"),
        ("KEY: {std: 1}", "KEY.mean: is missing"),
        ("KEY: {mean: 1}\nKEY: {mean: 2}", "line 2: the key 'KEY' stands here a second time"),
        ("a: &a {mean: 1}\nKEY: *a", "line 1: is meant a second time by an alias"),
        ("KEY: {mean: 1", "is not valid YAML"),
        ("KEY: \x07", "is not valid YAML"),
        (f"KEY: {'[' * 70}{']' * 70}", "nested more than 64 deep"),
        (f"KEY: {'[' * 9000}{']' * 9000}", "YAML"),
        ("- KEY", "expected an object"),
        ("other: {mean: 1}", "without an entry 'expanded_conv-input:...'"),
    ],
)
def test_a_fault_in_yaml_is_named(tmp_path: Path, text: str, reason: str) -> None:
    pytest.importorskip("yaml", reason="PyYAML (extra 'yaml') is not installed")
    path = tmp_path / "t.yaml"
    path.write_text(text.replace("KEY", BLOCKS[0]))
    with pytest.raises(FileFormatError) as error:
        imported(path, build_space("ponas"))
    assert reason.replace("KEY", BLOCKS[0]) in str(error.value)


def test_without_pyyaml_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ponas-deploy\[yaml\]'"):
        imported(write_yaml(tmp_path / "t.yaml", BLOCKS), build_space("ponas"))


FBNET = "ir_k3_e1 ir_k5_s2 skip\n5129.5 3028.25 1.5\n2449 4480.75 0\n"


def test_a_lookup_table_of_fbnet_is_read_in_microseconds(tmp_path: Path) -> None:
    (tmp_path / "lookup_table.txt").write_text(FBNET)
    made = imported(tmp_path / "lookup_table.txt", None)
    assert made.table.grid.layers == ("1", "2")
    assert made.table.grid.candidates == (("ir_k3_e1", "ir_k5_s2", "skip"),) * 2
    assert made.table.grid.values == ((5.1295, 3.02825, 0.0015), (2.449, 4.48075, 0.0))
    assert made.table.space is None
    with pytest.raises(PonasError, match="layers of its own: leave --space out"):
        imported(tmp_path / "lookup_table.txt", build_space("ponas"))
    with pytest.raises(
        FileFormatError, match=r"is FBNet's lookup table, no table in CSV or JSON: `ponas table import"
    ):
        load_table(tmp_path / "lookup_table.txt")
    with pytest.raises(PonasError, match=r"is FBNet's lookup table, no architecture: `ponas table import"):
        read_architecture(str(tmp_path / "lookup_table.txt"), None, 224, 1000)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a b\n1 2\n3\n", "line 3: has 1 latencies, but the first line names 2 operations."),
        (
            "a b\n1 -2\n",
            "line 2: layer '1' candidate 'b': latency_ms is -0.002, a latency must be above zero.",
        ),
        ("a a\n1 2\n", "line 2: layer '1' candidate 'a' stands here a second time, after line 2."),
        ("a b\n1 1e999\n", "line 2: layer '1' candidate 'b': latency_ms is inf, expected a finite number."),
    ],
)
def test_a_fault_in_a_lookup_table_is_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(FileFormatError) as error:
        imported(tmp_path / "t.txt", None)
    assert str(error.value) == f"{tmp_path / 't.txt'}, {reason}"


def test_an_imported_table_with_a_cell_of_nothing_serves_every_command(tmp_path: Path) -> None:
    (tmp_path / "lut.txt").write_text(FBNET)
    out, loss = tmp_path / "lut.json", tmp_path / "loss.csv"
    run = CliRunner().invoke(app, ["table", "import", str(tmp_path / "lut.txt"), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "networks take" in run.stdout
    rows = [
        f"{layer},{name},{loss}"
        for layer in "12"
        for name, loss in zip(FBNET.split()[:3], "012", strict=True)
    ]
    loss.write_text("\n".join(["layer,candidate,loss_pp", *rows]) + "\n")
    tables = ("--latency-table", str(out), "--accuracy-table", str(loss))
    for command in (
        ("specialize", *tables, "--latency", "5ms"),
        ("specialize", *tables, "--latency", "5ms", "--method", "ga"),
        ("pareto", *tables),
        ("compare", "skip,skip", *tables),
        ("table", "show", str(out)),
        ("table", "check", str(out), str(loss)),
        ("table", "diff", str(out), str(out)),
    ):
        for more in ((), ("--json",)):
            done = CliRunner().invoke(app, [*command, *more])
            assert done.exit_code == 0, (command, done.output, done.exception)


def test_a_table_of_paddleslim_cannot_be_one_of_layers(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text(
        "SD845,paddle-lite,2019-11-01\nconv2d,0,1,1,64,112,112,64,1,3,1,1,1\t5.3\nsoftmax,-1,1,1000,1,1\t0.2\n"
    )
    for read in (lambda: imported(path, None), lambda: load_table(path)):
        with pytest.raises(FileFormatError, match=r"PaddleSlim's latency table, .* single operators"):
            read()


def test_tables_of_ours_need_no_import(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "mine.csv", accuracy_table().loss, "latency_ms")
    with pytest.raises(FileFormatError, match=r"every command as they are: `ponas table check .*mine\.csv`"):
        imported(path, None)
