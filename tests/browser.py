"""Chromium without a window, driven over WebDriver (W3C) with nothing but the standard library."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

_STARTS_S = 60.0


def why_not() -> str:
    """Why no browser can be had here, in words; empty where one can."""
    missing = [name for name in ("chromedriver", "chromium") if shutil.which(name) is None]
    return f"no {' and no '.join(missing)} here (Debian: chromium, chromium-driver)" if missing else ""


class Browser:
    """A session of a headless browser."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._direct = build_opener(ProxyHandler({}))
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        capabilities = {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": arguments},
        }
        found = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{found['sessionId']}"

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = Request(self._address + path, data, {"Content-Type": "application/json"}, method=method)
        with self._direct.open(request, timeout=_STARTS_S) as answer:
            return json.load(answer)["value"]

    def command(self, name: str, **values: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._ask("POST", f"{self._session}/goog/cdp/execute", {"cmd": name, "params": values})

    def resize(self, width: int, height: int) -> None:
        """The size of what a page is shown in, in pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def media(self, scheme: str, kind: str = "") -> None:
        """`light` or `dark`; `print` as the kind for paper."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=kind, features=features)

    def open(self, page: Path) -> None:
        """Load a page from a file."""
        self._ask("POST", f"{self._session}/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script's function body returns."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, *keys: str) -> None:
        """Keys for whatever has the focus, by WebDriver's code points."""
        presses = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask(
            "POST",
            f"{self._session}/actions",
            {"actions": [{"type": "key", "id": "keys", "actions": presses}]},
        )

    def console(self) -> list[str]:
        """What the console said since it was asked last."""
        found = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        return [f"{one['level']}: {one['message']}" for one in found]

    def picture(self, file: Path) -> None:
        """The whole page as PNG."""
        found = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(b64decode(found["data"]))

    def close(self) -> None:
        """End the browser."""
        self._ask("DELETE", self._session)


TAB, RIGHT, LEFT, DOWN, END, HOME, ESCAPE = (
    "\ue004",
    "\ue014",
    "\ue012",
    "\ue015",
    "\ue010",
    "\ue011",
    "\ue00c",
)


@contextmanager
def browser(home: Path) -> Iterator[Browser]:
    """A browser whose files lie in `home`; it and its driver are ended with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port, driver)
        session = Browser(f"http://127.0.0.1:{port}")
        try:
            yield session
        finally:
            session.close()
    finally:
        driver.terminate()
        driver.wait()


def _wait(port: int, driver: subprocess.Popen[bytes]) -> None:
    """Until the driver answers."""
    direct, until = build_opener(ProxyHandler({})), time.monotonic() + _STARTS_S
    while True:
        try:
            with direct.open(f"http://127.0.0.1:{port}/status", timeout=5):
                return
        except (URLError, OSError):
            if driver.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.05)
