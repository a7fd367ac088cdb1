"""The site of the documentation: it builds without a warning and without a network, and says all there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WITHOUT_A_NETWORK = """
import socket


def refuse(*_arguments, **_named):
    raise OSError("the site is built without a network")


socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(module, reason="the extra 'docs' is not installed")
    offline, built = tmp_path_factory.mktemp("offline"), tmp_path_factory.mktemp("site")
    (offline / "sitecustomize.py").write_text(WITHOUT_A_NETWORK, encoding="utf-8")
    options = ("-q", "-W", "--keep-going", "-d", str(offline / "doctrees"), "-b", "html")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(built)],
        env={**os.environ, "PYTHONPATH": str(offline)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return built


def test_every_page_has_its_place_in_the_navigation() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    trees = re.findall(r"^```{toctree}\n(.*?)^```$", index, re.DOTALL | re.MULTILINE)
    named = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    pages = [path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")]
    assert sorted([*named, "index"]) == sorted(pages)


def test_every_page_is_in_the_site_and_its_navigation(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")}
    assert pages <= {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    linked = set(re.findall(r'href="([^"#]+\.html)"', (site / "index.html").read_text(encoding="utf-8")))
    assert pages - linked == {"index.html"}


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r'(?:<script|<img|<iframe)[^>]*src="(?:https?:)?//|<link[^>]*href="(?:https?:)?//')
    assert [
        page.name for page in site.rglob("*.html") if loaded.search(page.read_text(encoding="utf-8"))
    ] == []


def test_the_commands_are_what_they_say_of_themselves(site: Path) -> None:
    page = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for name in ("ponas specialize", "ponas table fit", "ponas train transfer"):
        assert f"<h2>{name}<a" in page
        asked = [sys.executable, str(ROOT / "cli.py"), *name.split()[1:], "--help"]
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        options = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", done.stdout, re.MULTILINE))
        assert len(options) > 3
        section = page[page.index(f"<h2>{name}<a") :].partition("</section>")[0]
        assert not {option for option in options if option not in section}
