"""An archive carried to a board: run there with NumPy and a runtime alone, and its result brought back."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import tiny_space
from ponas_deploy.backends.onnx_interface import read_interface
from ponas_deploy.commands import app
from ponas_deploy.errors import FileFormatError, OverwriteError, PonasError, TableMismatchError
from ponas_deploy.machines.conditions import clock_settings
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.bundle import MAIN, BundleOptions, levels, make_bundle
from ponas_deploy.profiling.bundle_result import import_result, tables_of
from ponas_deploy.profiling.models import blocks_of
from ponas_deploy.profiling.serving_tables import serving
from ponas_deploy.profiling.target import Target
from ponas_deploy.remote.parcels import unpacked
from ponas_deploy.tables.files import load_latency_table
from running import until
from sample_tables import write_csv
from searchspace import SPACES, Architecture, build_space
from searchspace.cost import cost_table, count_macs
from searchspace.mixed import is_int8

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="boards run Linux")

Change = Callable[[dict[str, bytes]], None]
PX = 96
"""Large enough that slower cells are slower networks on a busy machine too."""
TABLE = f"onnxruntime-fp32-t1-b1-tiny-{PX}px-10c.json"


@pytest.fixture(autouse=True, scope="module")
def _tiny_is_known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, "tiny", tiny_space)
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It asks for two runtimes, of which the boards here have one."""
    path = tmp_path_factory.mktemp("bundle") / "ponas bundle.pyz"
    make_bundle(tiny_space(PX), BundleOptions(("onnxruntime", "openvino"), ("fp32",), seconds=4.0), path)
    return path


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the board has beside the standard library: NumPy and one runtime."""
    folder = tmp_path_factory.mktemp("packages")
    for package in ("numpy", "onnxruntime"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for part in Path(spec.origin).parent.parent.glob(f"{package}*"):
            (folder / part.name).symlink_to(part)
    return folder


def command(archive: Path, packages: Path | None, *arguments: str) -> dict[str, Any]:
    """A Python as a board has it: no site-packages, none of our environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(archive.parent)}
    if packages:
        environment["PYTHONPATH"] = str(packages)
    return {"args": [sys.executable, "-S", "-s", *arguments, str(archive)], "env": environment}


def run(archive: Path, packages: Path | None, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        **command(archive, packages, *arguments), cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def brought(bundle: Path, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of running it once, and nothing else in its folder."""
    folder = tmp_path_factory.mktemp("board")
    done = run(bundle, packages, folder)
    assert done.returncode == 0, done.stderr
    (result,) = folder.iterdir()
    assert f"done: {result.name}" in done.stdout
    assert f"ponas profile --import {result.name}" in done.stdout
    assert "openvino fp32 is left out: openvino: " in done.stdout
    assert " s left" in done.stdout
    again = run(bundle, packages, folder)
    assert (again.returncode, again.stdout.count("\n")) == (0, 3), "it is done already"
    return result


# --- all the way


def test_a_published_network_comes_back_with_its_blocks_scaled_to_it(packages: Path, tmp_path: Path) -> None:
    archive, folder = tmp_path / "one.pyz", tmp_path / "board"
    folder.mkdir()
    options = BundleOptions(("onnxruntime",), ("fp32",), seconds=2.0)
    make_bundle(build_space("MobileNetV3-Small", 32, 10), options, archive)
    done = run(archive, packages, folder)
    assert done.returncode == 0, done.stderr
    (made,) = import_result(next(folder.iterdir()), out=tmp_path)
    assert (made.table.correction and made.table.correction.method, made.table.certificate) == ("scale", None)


def test_its_result_becomes_a_certified_table_that_serves_the_device(brought: Path, tmp_path: Path) -> None:
    invoke = CliRunner().invoke
    done = invoke(app, ["profile", "--import", str(brought), "--name", "Lab Pi", "--json"])
    assert done.exit_code == 0, done.output
    assert "openvino fp32 was left out on the board" in done.stderr
    assert "goes on with it" not in done.stderr
    (made,) = json.loads(done.stdout)["tables"]
    assert made["conditions"]["device"] == "lab-pi"
    table = load_latency_table(Path(made["path"]))
    assert table.certificate is not None
    assert len(table.rounds) >= table.protocol.plan["floor_rounds"]
    assert dict(table.environment).items() >= dict(this_machine().environment()).items()
    assert table.protocol.at_start.keys() == table.protocol.at_end.keys() != set()
    checked = invoke(app, ["table", "check", made["path"], "--json"])
    (file,) = json.loads(checked.stdout)["files"]
    errors = {one["about"] for one in file["findings"] if one["severity"] == "error"}
    assert errors <= {"certificate"}, "a busy machine makes a bad one"
    tiny = tiny_space(PX)
    assert [stored.name for stored in serving(Target("lab-pi"), tiny)] == [made["name"]]
    loss = write_csv(tmp_path / "loss.csv", table.grid, "loss_pp")
    options = ["--space", "tiny", "--resolution", str(PX), "--classes", "10", "--accuracy-table", str(loss)]
    asked = ["specialize", "--latency-table", made["name"], *options, "--latency", "1s", "--json"]
    chosen = invoke(app, asked)
    assert chosen.exit_code == 0, chosen.output
    assert json.loads(chosen.stdout)["choices"]
    with pytest.raises(OverwriteError):
        import_result(brought, name="lab-pi")
    import_result(brought, name="lab-pi", overwrite=True)


def test_the_device_is_what_the_board_says_of_itself(brought: Path, tmp_path: Path) -> None:
    (stored,) = import_result(brought, out=tmp_path)
    assert stored.path == tmp_path / TABLE
    assert stored.conditions.device == this_machine().name
    assert this_machine().name in brought.name


def test_it_runs_unpacked_and_with_a_clock_that_stands_at_1970(
    bundle: Path, packages: Path, tmp_path: Path
) -> None:
    folder, board = tmp_path / "unpacked", tmp_path / "board"
    board.mkdir()
    quick = changed(bundle, tmp_path / "quick.pyz", text("bundle.json", '"seconds": 4.0', '"seconds": 0.5'))
    with ZipFile(quick) as archive:
        archive.extractall(folder)
    first = "import runpy, sys, time; time.time = lambda: 100.0; sys.argv = sys.argv[1:];"
    for place in (folder, quick):
        done = run(place, packages, board, "-c", f"{first} runpy.run_path(sys.argv[0], run_name='__main__')")
        assert done.returncode == 0, done.stderr
        (result,) = board.iterdir()
        with ZipFile(result) as archive:
            assert archive.testzip() is None
            assert set(archive.namelist()) == {"bundle.json", "result.json", "0.journal"}
            assert {member.date_time[0] for member in archive.infolist()} == {1980}
            (ended,) = (
                one
                for one in json.loads(archive.read("result.json"))["profiles"].values()
                if "at_start" in one
            )
            assert entries(archive.read("0.journal"))[0]["clocks"] == clock_settings(ended["at_start"])
        result.unlink()


def test_it_goes_on_after_a_kill_and_one_process_at_a_time_runs_it(
    bundle: Path, packages: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(**command(bundle, packages), cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        until(
            lambda: (found := list(tmp_path.rglob("0.journal"))) and found[0].read_bytes().count(b"\n") > 99
        )
        second = run(bundle, packages, tmp_path)
        process.send_signal(signal.SIGKILL)
    (journal,) = tmp_path.rglob("0.journal")
    before = journal.read_bytes()
    journal.write_bytes(before + b'{"key": "cut sh')
    assert second.returncode == 1
    assert "is in use by another process" in second.stderr
    assert list(tmp_path.glob("*.zip")) == []
    done = run(bundle, packages, tmp_path)
    assert done.returncode == 0, done.stderr
    samples = len({(line["key"], line["round"]) for line in entries(before) if "ns" in line})
    assert f"going on with {samples} samples of before" in done.stdout
    (result,) = tmp_path.iterdir()
    with ZipFile(result) as archive:
        after = archive.read("0.journal")
    assert after.startswith(before)
    once_more = {
        one["number"]
        for line in entries(after)
        if (one := line.get("interference")) and (one["again"] or one["discarded"])
    }
    taken = [(line["key"], line["round"]) for line in entries(after) if "ns" in line]
    settled = [one for one in taken if one[1] not in once_more]
    assert len(set(settled)) == len(settled), "nothing is measured twice"
    assert len(tables_of(result)) == 1


def entries(journal: bytes) -> list[dict[str, Any]]:
    """Its whole lines."""
    return [json.loads(line) for line in journal.split(b"\n")[:-1]]


def test_the_command_writes_the_same_archive_every_time(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "jetson.pyz"
    options = ["--space", "tiny", "--resolution", str(PX), "--classes", "10", "--backend", "onnxruntime"]
    asked = ["bundle", *options, "--backend", "openvino", "--precision", "fp32", "--time", "5s", "--out"]
    done = CliRunner().invoke(app, [*asked, str(out)])
    assert done.exit_code == 0, done.output
    assert "on the board: python3 jetson.pyz" in done.stderr
    changed(bundle, tmp_path / "same.pyz", text("bundle.json", '"seconds": 4.0', '"seconds": 5.0'))
    with ZipFile(out) as made, ZipFile(tmp_path / "same.pyz") as same:
        assert made.namelist() == same.namelist()
        assert all(made.read(name) == same.read(name) for name in made.namelist())
    assert out.stat().st_size < 1e6
    again = CliRunner().invoke(app, [*asked, str(out)])
    assert (again.exit_code, "exists already" in again.output) == (1, True)


def test_the_plan_holds_growing_groups_of_networks_of_the_space() -> None:
    space = tiny_space(PX)
    found = levels(space, [np.array(row, float) for row in cost_table(count_macs, space)[1]], 0)
    assert (len(found[0].fit), len(found[0].check)) == (16, 12)
    for less, more in pairwise(found):
        assert set(less.fit) < set(more.fit)
        assert set(less.check) < set(more.check)
    last = (*found[-1].fit, *found[-1].check)
    assert len({Architecture.from_text(space, text).text for text in last}) == len(last)


# --- where it cannot run


def test_any_python_reads_its_beginning_and_an_old_one_is_a_sentence(bundle: Path) -> None:
    ast.parse(MAIN, feature_version=(3, 5))
    found = 0
    for version in ("2.7", "3.6", "3.7"):
        python = shutil.which(f"python{version}")
        if not python or subprocess.run([python, "--version"], capture_output=True, check=False).returncode:
            continue
        found += 1
        done = subprocess.run([python, str(bundle)], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "this archive needs Python 3.8 or newer with NumPy" in done.stderr
        assert f"is Python {version}" in done.stderr
        assert "Traceback" not in done.stderr
    if not found:
        pytest.skip("there is no Python older than 3.8 to run it with: its beginning was parsed")


def test_a_board_without_numpy_or_a_runtime_is_told_what_it_lacks(
    bundle: Path, packages: Path, tmp_path: Path
) -> None:
    without = run(bundle, None, tmp_path)
    assert (without.returncode, without.stderr.count("\n")) == (1, 1)
    assert "cannot import NumPy" in without.stderr
    (tmp_path / "bare").mkdir()
    for part in packages.glob("numpy*"):
        (tmp_path / "bare" / part.name).symlink_to(part.resolve())
    done = run(bundle, tmp_path / "bare", tmp_path)
    assert done.returncode == 1
    assert "nothing was measured: onnxruntime: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_runtime_that_no_board_has_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bundle", "--backend", "torch", "--out", str(tmp_path / "b.pyz")])
    assert done.exit_code == 1
    assert "unknown runtime of a board 'torch'" in done.output
    assert list(tmp_path.glob("*.pyz")) == []


def test_models_for_a_runtime_that_takes_them_typed_are_written_here(tmp_path: Path) -> None:
    """A board need not have the package onnx."""
    with pytest.raises(PonasError, match="models for tensorrt are written for a precision here: name one"):
        make_bundle(tiny_space(PX), BundleOptions(("tensorrt",)), tmp_path / "b.pyz")
    make_bundle(tiny_space(PX), BundleOptions(("onnxruntime", "trtexec"), ("fp16",)), tmp_path / "b.pyz")
    with ZipFile(tmp_path / "b.pyz") as archive:
        for name in (name for name in archive.namelist() if name.startswith("blobs/")):
            (tmp_path / Path(name).name).write_bytes(archive.read(name))
        plan = json.loads(archive.read("bundle.json"))
    for profile, mark in zip(plan["profiles"], ("", "fp16"), strict=True):
        parcel = (tmp_path / profile["models"]["stem"]).read_bytes()
        model = unpacked(parcel, lambda sha: tmp_path / sha)
        assert read_interface("a test", model).metadata.get("ponas.prepared_for", "") == mark


def test_models_of_mixed_precision_say_which_of_their_layers_are_in_int8(tmp_path: Path) -> None:
    options = BundleOptions(("openvino",), ("mixed",))
    make_bundle(tiny_space(PX), options, tmp_path / "b.pyz")
    with ZipFile(tmp_path / "b.pyz") as archive:
        plan = json.loads(archive.read("bundle.json"))
        for name in (name for name in archive.namelist() if name.startswith("blobs/")):
            (tmp_path / Path(name).name).write_bytes(archive.read(name))
    (profile,) = plan["profiles"]
    assert (plan["space"]["name"], profile["precision"]) == ("tiny-mixed", "mixed")
    cells = [key for key in plan["blocks"] if is_int8(key)]
    assert 0 < len(cells) < len(plan["blocks"])
    for key in cells:
        parcel = (tmp_path / profile["models"][key]).read_bytes()
        model = unpacked(parcel, lambda sha: tmp_path / sha)
        assert read_interface("a test", model).metadata["ponas.prepared_for"] == "mixed"
    with pytest.raises(PonasError, match="mixed precision has fp32 and int8 in each layer"):
        make_bundle(tiny_space(PX), BundleOptions(("openvino",), ("mixed", "fp32")), tmp_path / "c.pyz")


def test_options_that_the_bundle_decides_are_a_usage_error() -> None:
    done = CliRunner().invoke(app, ["profile", "--import", "r.zip", "--device", "pi", "--space", "ponas"])
    assert done.exit_code == 2
    assert "--device, --space: not with --import" in " ".join(done.output.split())


@pytest.mark.skipif(this_machine().cores < 2, reason="there is one core")
def test_a_bundle_on_two_streams_comes_back_as_a_table_of_two(packages: Path, tmp_path: Path) -> None:
    archive, folder = tmp_path / "two.pyz", tmp_path / "board"
    folder.mkdir()
    options = BundleOptions(("onnxruntime",), ("fp32",), seconds=1.0, streams=2)
    make_bundle(build_space("MobileNetV3-Small", 32, 10), options, archive)
    done = run(archive, packages, folder)
    assert done.returncode == 0, done.stderr
    (made,) = import_result(next(folder.iterdir()), out=tmp_path)
    assert made.conditions.streams == 2
    assert "-t1-b1-s2-" in made.path.name
    options = BundleOptions(("onnxruntime",), ("fp32",), threads=500, streams=2)
    make_bundle(build_space("MobileNetV3-Small", 32, 10), options, archive, overwrite=True)
    done = run(archive, packages, folder)
    assert done.returncode == 1
    assert "1000 threads were asked for" in done.stderr


def test_a_bundle_on_streams_is_of_runtimes_that_have_them(tmp_path: Path) -> None:
    asked = ["bundle", "--backend", "tensorrt", "--precision", "fp16", "--streams", "2"]
    done = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "b.pyz")])
    assert done.exit_code == 1
    assert "is measured on one stream only" in done.output
    assert list(tmp_path.glob("*.pyz")) == []


def test_a_result_of_before_there_were_streams_is_of_one(brought: Path, tmp_path: Path) -> None:
    def before(members: dict[str, bytes]) -> None:
        plan = members["bundle.json"].replace(b', "streams": 1', b"")
        assert plan != members["bundle.json"]
        shas = [sha256(content).hexdigest().encode() for content in (members["bundle.json"], plan)]
        for name, content in members.items():
            members[name] = content.replace(*shas)
        members["bundle.json"] = plan

    (table,) = tables_of(changed(brought, tmp_path / "r.zip", before))
    assert table.conditions is not None
    assert table.conditions.streams == 1


# --- a stranger's file


def changed(brought: Path, to: Path, change: Change) -> Path:
    """The same result with other members."""
    with ZipFile(brought) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with ZipFile(to, "w", ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return to


def sample(**values: Any) -> Change:
    """The journal's last sample with other values."""

    def change(members: dict[str, bytes]) -> None:
        lines = members["0.journal"].splitlines()
        place = max(number for number, line in enumerate(lines) if b'"ns"' in line)
        lines[place] = json.dumps({**json.loads(lines[place]), **values}).encode()
        members["0.journal"] = b"\n".join(lines) + b"\n"

    return change


def text(member: str, old: str, new: str) -> Change:
    def change(members: dict[str, bytes]) -> None:
        assert old.encode() in members[member]
        members[member] = members[member].replace(old.encode(), new.encode(), 1)

    return change


def without_a_block(members: dict[str, bytes]) -> None:
    key = json.dumps(next(iter(blocks_of(tiny_space(PX))))).encode()
    lines = members["0.journal"].splitlines(keepends=True)
    members["0.journal"] = b"".join(line for line in lines if key not in line)


def one_network_less(members: dict[str, bytes]) -> None:
    lines = members["0.journal"].splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith(b'{"fit"'))
    chosen = json.loads(lines[place])
    lines[place] = json.dumps({**chosen, "fit": chosen["fit"][1:]}).encode()
    members["0.journal"] = b"\n".join(lines) + b"\n"


TAMPERED: dict[str, tuple[Change, str]] = {
    "a time below zero": (sample(ns=-1.0), "ns: is -1"),
    "no time": (sample(ns=0.0), "ns: is 0"),
    "a time without end": (sample(ns=float("inf")), "finite"),
    "next to no time": (sample(ns=1e-9), "what no clock says"),
    "a time of years": (sample(ns=1e18), "a number beyond"),
    "text for a time": (sample(ns="1"), "ns: is"),
    "a round far away": (sample(round=10**9), "what no clock says"),
    "no runs": (sample(runs=0), "runs: is 0"),
    "what nobody asked for": (sample(key="k9e9@1x1x1"), "which the plan does not ask for"),
    "a block is missing": (without_a_block, "has too few rounds of stem"),
    "other networks": (one_network_less, "other networks than a group of the plan's"),
    "another plan": (text("bundle.json", '"seed": 0', '"seed": 0 '), "is the result of another plan"),
    "a journal of another plan": (text("0.journal", '"bundle": "', '"bundle": "0'), "names another plan"),
    "another runtime": (text("0.journal", '"backend": "onnx', '"backend": "other'), "conditions: are others"),
    "another protocol": (text("0.journal", '"seed": "0"', '"seed": "1"'), "something else was measured"),
    "another precision": (text("0.journal", '"precision": "fp32"', '"precision": "../"'), "are others"),
    "half a line": (text("0.journal", '{"fit"', '{"fit'), "is not valid JSON"),
    "not text": (lambda members: members.update({"0.journal": b"\xff\n"}), "is not text"),
    "an empty journal": (lambda members: members.update({"0.journal": b""}), "is empty"),
    "no journal": (lambda members: members.pop("0.journal") and None, "is not in it"),
    "no plan": (lambda members: members.pop("bundle.json") and None, "is not in it"),
    "another end": (text("result.json", '"stopped_by": "', '"stopped_by": "un'), "stopped_by: is"),
    "no profile": (text("result.json", '"0":', '"7":'), "are others than the plan has"),
    "a member that climbs": (lambda members: members.update({"../0.journal": b""}), "no result holds"),
    "an absolute member": (lambda members: members.update({"/etc/cron.d/x": b""}), "no result holds"),
    "a member with an escape code": (lambda m: m.update({"\x1b[31m.journal": b""}), "holds '\\x1b[31m"),
    "a bomb": (lambda m: m.update({"1.journal": bytes(65 << 20)}), "has more than 64 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_a_result_that_somebody_changed_is_refused_in_a_sentence(
    brought: Path, tmp_path: Path, name: str
) -> None:
    change, words = TAMPERED[name]
    with pytest.raises(FileFormatError) as refused:
        import_result(changed(brought, tmp_path / "r.zip", change), out=tmp_path / "tables")
    assert words in str(refused.value)
    assert str(refused.value).isprintable()
    assert not (tmp_path / "tables").exists()


def test_a_plan_of_another_space_or_protocol_is_of_another_version(brought: Path, tmp_path: Path) -> None:
    for old, new in (('"fingerprint": "', '"fingerprint": "0'), ('"max_rounds": 40', '"max_rounds": 41')):
        with pytest.raises(TableMismatchError, match="make a new bundle"):
            tables_of(changed(brought, tmp_path / "r.zip", text("bundle.json", old, new)))


def test_links_members_twice_and_lies_about_sizes_are_refused(brought: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.zip"

    def refusal(add: Callable[[ZipFile], None]) -> str:
        shutil.copyfile(brought, path)
        with ZipFile(path, "a") as archive:
            add(archive)
        with pytest.raises(FileFormatError) as refused:
            tables_of(path)
        return str(refused.value)

    link = ZipInfo("1.journal")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    assert "is no plain file" in refusal(lambda archive: archive.writestr(link, "/etc/passwd"))
    with pytest.warns(UserWarning, match="Duplicate name"):
        assert "twice" in refusal(lambda archive: archive.writestr("0.journal", b""))
    # A size in the directory that is not the member's.
    bomb = BytesIO()
    with ZipFile(bomb, "w", ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", bytes(80 << 20))
    small = (80 << 20).to_bytes(4, "little")
    path.write_bytes(bomb.getvalue().replace(small, (9).to_bytes(4, "little")))
    with pytest.raises(FileFormatError):
        tables_of(path)


def test_a_file_that_was_cut_short_or_is_another_is_a_sentence(brought: Path, tmp_path: Path) -> None:
    path, whole = tmp_path / "r.zip", brought.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(PonasError, match="bring the file again"):
            tables_of(path)
    for place in range(60, len(whole), len(whole) // 40):
        path.write_bytes(whole[:place] + bytes((whole[place] ^ 0x55,)) + whole[place + 1 :])
        with suppress(PonasError):  # any other error is a traceback
            tables_of(path)
    done = CliRunner().invoke(app, ["profile", "--import", str(tmp_path)])
    assert done.exit_code == 1
    assert "it is a folder" in " ".join(done.output.split())


def test_text_from_the_board_is_printable(brought: Path, tmp_path: Path) -> None:
    change = text("0.journal", '"environment": {', '"environment": {"note": "\\u001b[31mred", ')
    (table,) = tables_of(changed(brought, tmp_path / "r.zip", change))
    assert dict(table.environment)["note"] == "\\x1b[31mred"
