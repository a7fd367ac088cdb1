"""`--out` that is a symbolic link: it is followed, to what is not there yet too, whatever the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ponas_deploy.commands.app import app
from ponas_deploy.errors import PonasError
from ponas_deploy.files.journal import Journal
from ponas_deploy.files.opening import make_folder
from ponas_deploy.files.records import write_bytes
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.tables.files import load_latency_table

ROWS = "a,b,latency_ms\n" + 3 * "".join(
    f"{a},{b},{1 + 0.5 * len(a) + 0.25 * len(b)}\n" for a in ("x", "xx", "xxx") for b in ("y", "yy", "yyy")
)
FILES = {
    "table fit": ("table", "fit", "rows.csv", "--out"),
    "table import": ("table", "import", "rows.csv", "--out"),
    "networks": ("networks", "--count", "2", "--resolution", "32", "--backend", "onnxruntime", "--out"),
    "train table": ("train", "table", "--run", "run", "--method", "progressive", "--out"),
    "table int8": ("table", "int8", "--weights", "weights.safetensors", "--out"),
    "table certify": ("table", "certify", "losses.json", "--evaluated", "rows.csv", "--out"),
}
FOLDERS = {
    "export": ("export", "PONAS-A", "--resolution", "32", "--backend", "onnxruntime", "--out"),
    "specialize": ("specialize", "--device", "cpu", "--latency", "3ms", "--out"),
    "profile": ("profile", "--device", "cpu", "--backend", "onnxruntime", "--time", "5", "--out"),
    "train": ("train", "--data", "digits", "--preset", "quick", "--out"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: rows to fit, and links that lead to a device, to a folder, and in a circle."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "losses.json").write_bytes(
        (Path(__file__).parents[1] / "written_before" / "accuracy-table-1.json").read_bytes()
    )
    (tmp_path / "folder").mkdir()
    for ending in ("", ".json", ".csv"):
        (tmp_path / f"circle{ending}").symlink_to(f"other{ending}")
        (tmp_path / f"other{ending}").symlink_to(f"circle{ending}")
        (tmp_path / f"device{ending}").symlink_to("/dev/null")
        (tmp_path / f"to-folder{ending}").symlink_to("folder")
    return tmp_path


def said(*command: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, command)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("name", FILES)
def test_no_file_is_written_over_what_is_none(here: Path, name: str, force: tuple[str, ...]) -> None:
    ending = ".csv" if name == "networks" else ".json"
    for out, words in (
        ("circle", "its links lead in a circle"),
        ("device", "it is a device, name a file"),
        ("to-folder", "it is a folder, name a file"),
    ):
        code, text = said(*FILES[name], f"{out}{ending}", *force)
        assert (code, f"{out}{ending} cannot be written: {words}" in text) == (1, True), text
        assert (here / f"{out}{ending}").is_symlink()
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", FOLDERS)
def test_no_folder_is_made_where_links_lead_in_a_circle_or_to_a_device(here: Path, name: str) -> None:
    if name == "train":
        pytest.importorskip("torch", reason="needs the train extra (torch)")
    for out, words in (("circle", "its links lead in a circle"), ("device", "")):
        code, text = said(*FOLDERS[name], out)
        assert (code, words in text) == (1, True), text
        assert out in text
        assert (here / out).is_symlink()


def test_a_table_goes_where_the_link_leads(here: Path) -> None:
    (here / "elsewhere").mkdir()
    (here / "link.json").symlink_to("elsewhere/table.json")
    code, text = said("table", "fit", "rows.csv", "--out", "link.json")
    assert code == 0, text
    written = here / "elsewhere" / "table.json"
    assert not written.is_symlink()
    assert load_latency_table(written) == load_latency_table(here / "link.json")
    code, text = said("table", "fit", "rows.csv", "--out", "link.json")
    assert (code, "link.json exists already" in text) == (1, True)
    written.write_text("old")
    assert said("table", "fit", "rows.csv", "--out", "link.json", "--force")[0] == 0
    assert load_latency_table(written).grid.layers == ("a", "b")
    assert (here / "link.json").is_symlink()
    assert [path.name for path in (here / "elsewhere").iterdir()] == ["table.json"]


def test_how_networks_were_measured_stands_beside_them_and_not_beside_a_link(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    quick = Plan(sample_ns=100_000, min_rounds=4, floor_rounds=4, max_rounds=4, retakes=0, redone_pct=0)
    monkeypatch.setattr("ponas_deploy.profiling.random_networks.quick", lambda plan: quick)
    (here / "elsewhere").mkdir()
    (here / "link.csv").symlink_to("elsewhere/networks.csv")
    code, text = said(*FILES["networks"], "link.csv")
    assert code == 0, text
    names = sorted(path.name for path in (here / "elsewhere").iterdir())
    assert names == ["networks.csv", "networks.measured.json"]
    assert not (here / "link.measured.json").exists()
    code, text = said(*FILES["networks"], "elsewhere/networks.csv")
    assert code == 0, "it goes on by either name"


def test_a_folder_is_made_where_the_link_leads(here: Path) -> None:
    """A journal, as a profile begins one, and a file, in a folder that a link names and that is not there."""
    (here / "later").symlink_to("disk/tables")
    with Journal(here / "later" / "t.journal", {"what": "a test"}):
        pass
    write_bytes(here / "later" / "t.json", b"{}")
    assert sorted(path.name for path in (here / "disk" / "tables").iterdir()) == ["t.journal", "t.json"]
    assert (here / "later").is_symlink()
    (here / "file").write_text("")
    (here / "to-file").symlink_to("file")
    with pytest.raises(NotADirectoryError):
        make_folder(here / "to-file")
    with pytest.raises(PonasError, match=r"t\.json cannot be written: Not a directory"):
        write_bytes(here / "to-file" / "t.json", b"{}")


def test_a_run_is_held_where_the_link_leads(here: Path) -> None:
    from train.files.lock import held

    (here / "run").symlink_to("disk/run")
    with held(here / "run"):
        assert (here / "disk" / "run" / "run.lock").exists()
    assert not (here / "disk").exists(), "nothing was put in"
    with held(here / "run"):
        (here / "run" / "log.csv").write_text("")
    assert [path.name for path in (here / "disk" / "run").iterdir()] == ["log.csv"]
