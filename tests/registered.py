"""The registry of runtimes with another factory in one of its rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ponas_deploy.backends import registry


def with_factory(name: str, factory: str) -> tuple[registry.BackendEntry, ...]:
    """All rows, that of `name` with this factory ("module:attribute")."""
    return tuple(
        replace(entry, factory=factory) if entry.name == name else entry for entry in registry.ENTRIES
    )


def use_factory(monkeypatch: pytest.MonkeyPatch, name: str, factory: str) -> None:
    """The runtime called `name` comes from this factory until the end of a test."""
    monkeypatch.setattr(registry, "ENTRIES", with_factory(name, factory))
