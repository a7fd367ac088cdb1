"""The wheel: what is in it, and that it works where there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import tomlkit
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_the_rooms_and_nothing_else(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    rooms = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert rooms == {"ponas_deploy", "searchspace", "train", "profiles"}
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "profiles").rglob("*.json")}
    assert shipped
    assert shipped <= set(names)
    assert {f"ponas_deploy/{name}" for name in ("py.typed", "charts/page.css", "charts/page.js")} <= set(
        names
    )


def test_an_installed_wheel_finds_the_shipped_tables(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    options = ("--no-deps", "--no-index", "--quiet", "--target", str(site))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
    script = "from ponas_deploy.tables import store; print(store.accuracy_table('accuracy/ponas').path)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(done.stdout.strip()) == site / "profiles" / "accuracy" / "ponas.json"


@pytest.mark.parametrize(("machine", "cuda"), [("x86_64", "13.5.0"), ("aarch64", "12.9.10")])
def test_a_board_with_cuda_12_is_not_given_bindings_for_13(machine: str, cuda: str) -> None:
    project = tomlkit.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()["project"]
    wanted = [Requirement(text) for text in project["optional-dependencies"]["tensorrt"]]
    here = [one for one in wanted if not one.marker or one.marker.evaluate({"platform_machine": machine})]
    [bindings] = [one for one in here if one.name == "cuda-bindings"]
    newest = max(bindings.specifier.filter(["12.8.0", "12.9.10", "13.5.0"]), key=Version)
    assert newest == cuda
    assert ("tensorrt" in {one.name for one in here}) == (machine == "x86_64")
    assert "nvidia-ml-py" in {one.name for one in here}
