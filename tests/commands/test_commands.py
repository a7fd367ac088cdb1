"""The commands as other programs call them: documents, exit codes, and which stream says what."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from ponas_deploy import __version__
from ponas_deploy.commands import app
from ponas_deploy.errors import PonasError
from ponas_deploy.search.pareto import front
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from sample_tables import SPACE, accuracy_table, latency_table, write_csv
from searchspace import build_space

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = {
    "PONAS-A": (5_104_022, 328_907_360),
    "PONAS-B": (5_083_322, 351_157_664),
    "PONAS-C": (5_587_622, 379_348_832),
}

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A runner in a folder that holds a table of every kind."""
    monkeypatch.chdir(tmp_path)
    write_latency_table(latency_table(), Path("ort.json"))
    write_latency_table(latency_table("openvino", 0.7), Path("openvino.json"))
    write_accuracy_table(accuracy_table(), Path("accuracy.json"))
    write_csv(Path("latency.csv"), latency_table().grid, "latency_ms")
    write_csv(Path("loss.csv"), accuracy_table().loss, "loss_pp")
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def document(result: Result, exit_code: int = 0) -> Any:
    """The one document on stdout."""
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def every_command(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in getattr(group, "commands", {}).items():
        found += every_command(command, (*path, name))
    return found


@pytest.mark.parametrize("path", every_command(typer.main.get_command(app)), ids=" ".join)
def test_every_command_explains_itself(run: Run, path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert f"Usage: root {' '.join(path)}".strip() in result.stdout
    if path not in {(), ("table",)}:
        assert f"ponas {' '.join(path)}" in result.stdout, "no example"


def test_the_version(run: Run) -> None:
    assert run("--version").stdout == f"ponas-deploy {__version__}\n"


@pytest.mark.parametrize("name", GOLDENS)
def test_describe_counts_the_published_networks(run: Run, name: str) -> None:
    found = document(run("describe", name, "--json"))
    assert (found["params"], found["macs"]) == GOLDENS[name]
    assert found["space"] == "ponas"
    assert len(found["choices"]) == 19
    again = document(run("describe", found["text"], "--space", "ponas", "--json"))
    assert again == found


@pytest.mark.parametrize(
    ("given", "top1_pct", "params", "source"),
    [
        (("SPOS-MMRAZOR",), 73.87, "3.35M", "mmrazor"),
        (("spos-paper",), 73.6, None, "mmrazor"),
        (("SPOS-PAPER", "--space", "spos-shufflenet-authors"), 74.4, None, "SinglePathOneShot"),
        (("SPOS-ANGLENAS",), 75.98, "5.94M", "mmrazor"),
        (("FBNet-A",), 73.3, "4.27029M", "mobile-vision"),
    ],
)
def test_describe_tells_what_is_published_of_a_network(
    run: Run, given: tuple[str, ...], top1_pct: float, params: str | None, source: str
) -> None:
    found = document(run("describe", *given, "--json"))
    published = found["published"]
    assert (published["top1_pct"], published["params"], published["resolution"]) == (top1_pct, params, 224)
    assert source in published["source"]
    assert found["deployed_params"] == found["bytes"] / 4 < found["params"]
    shown = " ".join(run("describe", *given).stdout.split())
    assert f"{top1_pct} % top-1 at 224 px, " in shown
    assert f"deployed {found['deployed_params']:,} parameters" in shown


def test_describe_takes_its_own_document(run: Run) -> None:
    Path("mine.json").write_text(run("describe", "PONAS-B", "--json").stdout)
    assert document(run("describe", "mine.json", "--json"))["params"] == GOLDENS["PONAS-B"][0]


def test_describe_at_another_size(run: Run) -> None:
    found = document(run("describe", "PONAS-A", "--resolution", "32", "--classes", "10", "--json"))
    assert (found["resolution"], found["classes"]) == (32, 10)
    assert found["params"] == GOLDENS["PONAS-A"][0] - 990 * 1281
    assert "5,104,022" in run("describe", "PONAS-A").stdout


@pytest.mark.parametrize("arguments", [("--json",), ()])
def test_an_error_of_ours_is_one_line_on_stderr(run: Run, arguments: tuple[str, ...]) -> None:
    result = run("describe", "PONAS-Z", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: unknown architecture")
    assert "PONAS-A, PONAS-B, PONAS-C" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("describe",),
        ("nonsense",),
        ("describe", "PONAS-A", "--resolution", "0"),
        ("describe", "PONAS-A", "--resolution", "big"),
        ("pareto", "--accuracy-table", "accuracy.json"),
        ("table", "show"),
    ],
)
def test_wrong_usage_is_2(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


def test_the_front_is_complete_and_sorted(run: Run) -> None:
    found = document(
        run("pareto", "--latency-table", "latency.csv", "--accuracy-table", "loss.csv", "--json")
    )
    points = found["points"]
    exact = front(latency_table(), accuracy_table())
    assert list(found) == ["points"]
    assert [point["latency_ms"] for point in points] == pytest.approx(list(exact.cost))
    assert [point["loss_pp"] for point in points] == pytest.approx(list(exact.loss))
    for point in points[:: len(points) // 5]:
        assert latency_table().predict_ms(point["choices"]) == pytest.approx(point["latency_ms"])
        assert accuracy_table().loss_pp(point["choices"]) == pytest.approx(point["loss_pp"])


def test_several_fronts_are_compared(run: Run) -> None:
    tables = ("--latency-table", "ort.json", "--latency-table", "openvino.json")
    found = document(run("pareto", *tables, "--accuracy-table", "accuracy.json", "--json"))
    assert found["comparison"]["tables"] == ["onnxruntime", "openvino"]
    assert found["comparison"]["verdict"].startswith(
        "openvino wins at every budget: at equal loss 1.43 times"
    )
    assert {point["table"] for point in found["points"]} == {"openvino"}
    assert [named["table"] for named in found["fronts"]] == ["onnxruntime", "openvino"]
    report = run("pareto", *tables, "--accuracy-table", "accuracy.json").stdout
    assert found["comparison"]["verdict"] in " ".join(report.split())


def test_a_front_of_unknown_labels_needs_no_space(run: Run) -> None:
    grid = Grid(("one", "two"), (("a", "b"), ("x", "y")), ((1.0, 2.0), (3.0, 4.0)), 0.5)
    write_csv(Path("l.csv"), grid, "latency_ms")
    write_csv(Path("a.csv"), replace(grid, values=((0.5, 0.0), (0.25, 0.0)), fixed=0.0), "loss_pp")
    points = document(run("pareto", "--latency-table", "l.csv", "--accuracy-table", "a.csv", "--json"))[
        "points"
    ]
    assert points[0] == {"latency_ms": 4.5, "loss_pp": 0.75, "choices": ["a", "x"]}
    assert [point["loss_pp"] for point in points] == [0.75, 0.25, 0.0]
    result = run("pareto", "--latency-table", "l.csv", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "name its --accuracy-table too" in result.stderr


def test_networks_are_compared_on_several_tables(run: Run) -> None:
    tables = ("--latency-table", "ort.json", "--latency-table", "openvino.json")
    found = document(run("compare", "PONAS-A", "PONAS-B", *tables, "--accuracy-table", "loss.csv", "--json"))
    assert found["tables"] == ["onnxruntime", "openvino"]
    first = found["networks"][0]
    assert (first["params"], first["macs"]) == GOLDENS["PONAS-A"]
    assert first["predicted_ms"]["onnxruntime"] == pytest.approx(latency_table().predict_ms(first["choices"]))
    assert first["predicted_loss_pp"] == pytest.approx(accuracy_table().loss_pp(first["choices"]))
    assert "PONAS-B" in run("compare", "PONAS-A", "PONAS-B", *tables).stdout


def test_networks_on_a_csv_are_counted_at_the_size_that_is_known_or_it_is_said(run: Run) -> None:
    asked = ("compare", "PONAS-A", "--json", "--latency-table", "latency.csv")
    plain = run(*asked)
    assert document(plain)["networks"][0]["macs"] == GOLDENS["PONAS-A"][1]
    assert "are counted at 224 px and 1000 classes: --resolution and --classes change that" in plain.stderr
    small = replace(latency_table(), space=SpaceKey.of(build_space("ponas", 64, 10)))
    write_latency_table(small, Path("small.json"))
    for more in (("--latency-table", "small.json"), ("--resolution", "64", "--classes", "10")):
        known = run(*asked, *more)
        assert document(known)["networks"][0]["macs"] < GOLDENS["PONAS-A"][1] / 10
        assert "are counted at" not in known.stderr


def test_networks_of_an_unknown_space_are_compared_by_their_labels(run: Run) -> None:
    write_csv(Path("l.csv"), Grid(("one", "two"), (("a", "b"),) * 2, ((1.0, 2.0), (3.0, 4.0))), "latency_ms")
    found = document(run("compare", "a,b", "b,b", "--latency-table", "l.csv", "--json"))
    assert [network["predicted_ms"]["l"] for network in found["networks"]] == [5.0, 6.0]
    assert found["networks"][0]["macs"] is None
    assert "known are a, b" in run("compare", "a,c", "--latency-table", "l.csv").stderr


def test_a_table_is_shown_and_converted(run: Run) -> None:
    assert (
        "Latency in µs: test-board, onnxruntime fp32, 1 thread, batch 1"
        in run("table", "show", "ort.json").stdout
    )
    Path("converted.json").write_text(run("table", "show", "latency.csv", "--json").stdout)
    assert document(run("table", "diff", "latency.csv", "converted.json", "--json"))["mean_size"] == 0


def test_check_is_0_for_a_sound_table_and_1_for_errors(run: Run) -> None:
    assert document(run("table", "check", "ort.json", "--json"))["errors"] == 0
    assert "nothing to complain about" in run("table", "check", "ort.json").stdout
    Path("bad.csv").write_text(Path("latency.csv").read_text() + "1,k3e3,1\n1,k9,-1\n")
    found = document(run("table", "check", "bad.csv", "--json"), exit_code=1)
    assert [finding["about"] for finding in found["files"][0]["findings"]][:2] == ["line 231", "line 232"]
    report = run("table", "check", "bad.csv")
    assert report.exit_code == 1
    assert "stands here a second time" in report.stdout


def test_check_of_two_says_whether_they_belong_together(run: Run) -> None:
    found = document(run("table", "check", "ort.json", "accuracy.json", "--json"))
    assert [finding["severity"] for finding in found["together"]] == ["warning", "warning"]
    small = LatencyTable(Grid(("1",), (("a",),), ((1.0,),)))
    write_latency_table(small, Path("small.json"))
    assert document(run("table", "check", "small.json", "accuracy.json", "--json"), exit_code=1)["together"]


def test_diff_says_what_moved(run: Run) -> None:
    found = document(run("table", "diff", "ort.json", "openvino.json", "--json"))
    assert found["mean_change"] == pytest.approx(-30)
    assert {"field": "backend", "before": "onnxruntime", "after": "openvino"} in found["conditions"]
    refused = run("table", "diff", "ort.json", "accuracy.json", "--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "give two of one kind" in refused.stderr


def test_an_unknown_table_lists_the_stored_ones(run: Run) -> None:
    result = run("table", "show", "no-such-table")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: unknown table 'no-such-table': known are ")


def raising(error: BaseException) -> typer.Typer:
    """An application with the real boundary and one command that fails."""
    from ponas_deploy.commands.boundary import ErrorBoundary

    failing = typer.Typer(cls=ErrorBoundary, pretty_exceptions_enable=False)

    @failing.command()
    @failing.command("profile")
    @failing.command("export")
    @failing.command("search")
    def fail() -> None:
        raise error

    @failing.command()
    def other() -> None: ...

    return failing


def test_ctrl_c_is_130_with_a_line() -> None:
    result = CliRunner().invoke(raising(KeyboardInterrupt()), ["fail"])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")
    result = CliRunner().invoke(raising(KeyboardInterrupt()), ["profile"])
    assert result.stderr == "interrupted: the same command goes on from here.\n"
    result = CliRunner().invoke(raising(KeyboardInterrupt()), ["search"])
    assert result.stderr.startswith("interrupted: the networks that were evaluated are kept")
    result = CliRunner().invoke(raising(KeyboardInterrupt()), ["export"])
    assert result.stderr.startswith("interrupted: nothing was kept")
    assert result.stderr.endswith("the same command starts again.\n")


def test_a_message_of_several_lines_becomes_one() -> None:
    result = CliRunner().invoke(raising(PonasError("first\nsecond")), ["fail"])
    assert (result.exit_code, result.stderr) == (1, "error: first second\n")


def test_a_bug_of_ours_shows_itself() -> None:
    result = CliRunner().invoke(raising(ZeroDivisionError("ours")), ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


def from_checkout(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "cli.py"), *arguments]


def test_the_commands_start_from_a_checkout(tmp_path: Path) -> None:
    done = subprocess.run(from_checkout("--help"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: ponas" in done.stdout


def test_a_traceback_never_reaches_the_user(tmp_path: Path) -> None:
    command = from_checkout("table", "show", "none.json", "--json")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: none.json: there is no such file.\n"


def test_a_reader_that_leaves_early_hears_no_complaint(tmp_path: Path) -> None:
    process = subprocess.Popen(
        from_checkout("describe", "PONAS-A", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


def test_help_loads_nothing_heavy() -> None:
    """What `ponas --help` may not need; the architecture test says the same of the source."""
    heavy = (
        "numpy", "scipy", "onnx", "onnxruntime", "openvino", "rich", "pandas", "torch", "psutil", "msgspec",
        "tomlkit", "pydantic", "importlib.metadata", "asyncio", "ssl", "ponas_deploy.backends",
        "ponas_deploy.boards", "ponas_deploy.engines", "ponas_deploy.files.documents",
        "ponas_deploy.machines", "ponas_deploy.measuring", "ponas_deploy.profiling", "ponas_deploy.tables",
        "searchspace.space", "train",
    )  # fmt: skip
    script = (
        "import sys; from ponas_deploy.commands import app; app(['--help'], standalone_mode=False);"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Usage: " in done.stdout
    assert done.stderr.strip() == "[]"


def test_the_space_of_the_samples_is_the_real_one() -> None:
    assert SPACE.fingerprint == "f51223c53fd2ff79"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "PONAS-A", "--threads", "1000000"), "is 1000000, expected 1024 or less."),
        (("export", "PONAS-A", "--batch", "99999999"), "is 99999999, expected 65536 or less."),
        (("describe", "PONAS-A", "--classes", "9" * 33), "expected 10000000 or less."),
        (("describe", "PONAS-A", "--resolution", "99999"), "is 99999, expected 16384 or less."),
    ],
)
def test_numbers_of_options_have_the_bounds_of_files(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_names_of_tables_stand_whole_in_80_columns() -> None:
    listed = CliRunner().invoke(app, ["devices"], env={"COLUMNS": "80"})
    assert listed.exit_code == 0, listed.output
    assert "amd-epyc-2c/onnxruntime-fp32-t1-b1-ponas-224px-1000c" in listed.stdout
    assert "…" not in listed.stdout
