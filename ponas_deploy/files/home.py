"""Where this user's files lie: tables, converted weights, caches, the lock of whoever measures."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The user's store."""
    if given := os.environ.get("PONAS_HOME"):
        return Path(given)
    try:
        from platformdirs import user_data_dir
    except ImportError:  # boards run Linux and have no more than a runtime
        return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "ponas-deploy"
    return Path(user_data_dir("ponas-deploy", appauthor=False))
