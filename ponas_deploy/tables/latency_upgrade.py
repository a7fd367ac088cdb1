"""Latency tables of version 1, made into version 2.

Version 1 kept how a table was measured as text by name, `"wrong_rounds": "3 of 16"`; a network's choices as
one text with commas; and the rounds of a network beside its figures. What cannot be made sense of stays as it
is: the reader says what is wrong with it, or it is kept under `other`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ponas_deploy.tables.rounds import SPREADS

_RENAMED = {"spoiled_pct": "contended_pct", "most_spoiled_pct": "most_contended_pct"}
_PLAN = (
    "sample_ns", "discarded_runs", "min_rounds", "max_rounds", "retakes", "floor_rounds", "settled_pct",
    "settled_ns", "sentinel_visits", "drift_pct", "redone_pct", "pause_s", "stalled_ns", "most_others_pct",
    "most_stolen_pct", "most_quota_pct", "most_clock_drop_pct", "most_contended_pct",
)  # fmt: skip
_NUMBER = r"(-?[0-9.]+(?:e[+-]?[0-9]+)?)"


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """The JSON object of a version 1 table as version 2."""
    changed = dict(document)
    if isinstance(protocol := document.get("protocol"), dict):
        changed["protocol"] = protocol_of(protocol)
    if isinstance(environment := document.get("environment"), dict):
        changed["environment"] = {name: str(value) for name, value in environment.items()}
    if isinstance(rounds := document.get("rounds"), list):
        changed["rounds"] = [renamed(one) for one in rounds]
    for part in ("correction", "certificate"):
        if isinstance(found := document.get(part), dict) and isinstance(found.get("networks"), list):
            changed[part] = {**found, "networks": [_network(one) for one in found["networks"]]}
    return changed


def renamed(one: Any) -> Any:
    """A round with the names of today."""
    return {_RENAMED.get(name, name): value for name, value in one.items()} if isinstance(one, dict) else one


def _network(found: Any) -> Any:
    if not isinstance(found, dict):
        return found
    of_measurement = ("runs", "rounds_ns", "levels")
    rest = {name: value for name, value in found.items() if name not in of_measurement}
    if isinstance(choices := found.get("choices"), str):
        rest["choices"] = choices.split(",")
    return {**rest, "measurement": {name: found[name] for name in of_measurement if name in found}}


def protocol_of(texts: Mapping[str, Any]) -> dict[str, Any]:
    """A version 1 protocol, name by name, as the fields of `MeasurementProtocol`."""
    left = {_RENAMED.get(name, name): str(value) for name, value in texts.items()}
    found: dict[str, Any] = {
        "plan": {name: float(left.pop(name)) for name in _PLAN if _is_number(left.get(name))}
    }
    found["at_start"], found["at_end"] = (_ending(left, end) for end in ("_at_start", "_at_end"))
    _take(left, found, "seed", "seed", r"(-?[0-9]+)", int)
    _take(
        left,
        found,
        "rounds",
        "rounds",
        r"([0-9]+(?:\+[0-9]+)*)",
        lambda text: [int(n) for n in text.split("+")],
    )
    _take(left, found, "redone_visits", "redone_visits", r"([0-9]+)", int)
    for name in ("weights", "stopped_by", "journal", "restarted_because", "not_captured"):
        if name in left:
            found[name] = left.pop(name)
    for name, part in (
        ("builds", _builds(left)),
        ("launches", _launches(left)),
        ("interference", _interference(left)),
        ("prior", _prior(left)),
        ("fit", _fit(left)),
    ):
        if part:
            found[name] = part
    return {**found, "other": left}


def _is_number(text: str | None) -> bool:
    return text is not None and re.fullmatch(_NUMBER, text) is not None and _float(text) is not None


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _ending(left: dict[str, str], end: str) -> dict[str, str]:
    names = [name for name in left if name.endswith(end)]
    return {name.removesuffix(end): left.pop(name) for name in names}


def _take(
    left: dict[str, str],
    found: dict[str, Any],
    name: str,
    field: str,
    pattern: str,
    read: Callable[[str], Any],
) -> None:
    if match := re.fullmatch(pattern, left.get(name, "")[:1000]):
        found[field] = read(match[1])
        del left[name]


def _parts(left: dict[str, str], name: str, pattern: str) -> list[float] | None:
    """The numbers in a text of a known form, taken out of `left`; None for one of another form."""
    match = re.fullmatch(pattern, left.get(name, "")[:1000])
    numbers = [_float(text) for text in match.groups()] if match else [None]
    if any(number is None for number in numbers):
        return None
    del left[name]
    return [number for number in numbers if number is not None]


def _builds(left: dict[str, str]) -> dict[str, Any] | None:
    names = {"build_s": "total_s", "build_block_s": "block_s", "build_network_s": "network_s"}
    found: dict[str, Any] = {
        field: numbers[0] for name, field in names.items() if (numbers := _parts(left, name, _NUMBER))
    }
    if not found:
        return None
    return {"total_s": 0.0, **found, "estimate": left.pop("build_estimate", "")}


def _launches(left: dict[str, str]) -> dict[str, Any] | None:
    counts = _parts(left, "launch_bound", "([0-9]+) of ([0-9]+)")
    took = _parts(left, "launch_us", _NUMBER)
    if counts is None or took is None:
        return None
    return {"launch_us": took[0], "bound_blocks": int(counts[0]), "blocks": int(counts[1])}


def _interference(left: dict[str, str]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    for name in SPREADS:
        if numbers := _parts(left, name, rf"{_NUMBER} \(lowest {_NUMBER}, highest {_NUMBER}\)"):
            found[name] = dict(zip(("median", "lowest", "highest"), numbers, strict=True))
    if wrong := _parts(left, "wrong_rounds", "([0-9]+) of ([0-9]+)"):
        found |= {"wrong_rounds": int(wrong[0]), "kept_rounds": int(wrong[1])}
    if discarded := _parts(left, "discarded_rounds", "([0-9]+)"):
        found["discarded_rounds"] = int(discarded[0])
    if "wrong_because" in left:
        found["wrong_because"] = left.pop("wrong_because")
    return found or None


def _prior(left: dict[str, str]) -> dict[str, Any] | None:
    networks = _parts(left, "prior_networks", "([0-9]+)") if "prior" in left else None
    if not networks or networks[0] < 1:
        return None
    found: dict[str, Any] = {"name": left.pop("prior"), "sha256": left.pop("prior_sha256", "")}
    error = _parts(left, "prior_mean_error_pct", _NUMBER)
    return {
        **found,
        "networks": int(networks[0]),
        "conditions": left.pop("prior_conditions", ""),
        "mean_error_pct": error[0] if error else None,
        "finding": left.pop("prior_doubt", ""),
    }


def _fit(left: dict[str, str]) -> dict[str, Any] | None:
    if not {"method", "file", "networks"} <= left.keys():
        return None
    networks = _parts(left, "networks", "([1-9][0-9]*)")
    tau = _parts(left, "cross_validated_tau", rf"{_NUMBER} \({_NUMBER} to {_NUMBER}\)")
    error = _parts(left, "mean_error", rf"{_NUMBER} (?:%|pp)")
    ridge = _parts(left, "ridge", _NUMBER)
    if not networks or not tau or not error or not ridge:
        return None
    return {
        "method": left.pop("method"),
        "networks": int(networks[0]),
        "file": left.pop("file"),
        "model": left.pop("model", ""),
        "ridge": ridge[0],
        **dict(zip(("tau", "tau_low", "tau_high"), tau, strict=True)),
        "mean_error_pct": error[0],
        **{name: left.pop(name, good) == "yes" for name, good in _FIT_WORDS},
    }


_FIT_WORDS = (("identified", "yes"), ("additive", "yes"), ("drift", "no"))
"""What a fit says with yes or no, and what is taken where it says nothing."""
