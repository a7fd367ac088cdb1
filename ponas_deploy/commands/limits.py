"""The options that limit costs: one for each row of `search.costs.COSTS`, each rate that stands for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_type_hints

import typer

from ponas_deploy.commands import quantities
from ponas_deploy.commands.help_text import BUDGET

if TYPE_CHECKING:
    from ponas_deploy.search.costs import CostColumn, Rate
    from ponas_deploy.search.notation import Limit

Limits: TypeAlias = Mapping[str, "Limit"]
"""The limits that were asked for, by the names of the cost columns."""
OwnLimits: TypeAlias = Mapping[str, Limits]
"""Those of single devices, by the devices' names."""


@dataclass(frozen=True, slots=True)
class OfDevice:
    """A limit, and the device that it is for; empty for all of them."""

    limit: Limit
    device: str = ""


def with_limits(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for the limit of each cost in place of `limits: Limits, own: OwnLimits`.

    The options are the rows of `search.costs.COSTS`, in their order, and the rates behind that of the
    latency, which they stand for. What depends on the device may be limited for one of several (`a=20ms`):
    those are the command's `own`. That file loads nothing heavy, which `ponas --help` must not wait for.
    """
    from ponas_deploy.search.costs import COSTS, LATENCY, LATENCY_RATES
    from ponas_deploy.search.notation import Limit

    hints = get_type_hints(command, localns={"Limit": Limit}, include_extras=True)
    given = dict(signature(command).parameters)
    del given["limits"], given["own"]
    columns: dict[str, CostColumn | Rate] = {}
    for column in COSTS:
        columns[column.keyword] = column
        if column is LATENCY:
            columns.update((rate.keyword, rate) for rate in LATENCY_RATES)
    options = {
        name: Annotated[list[OfDevice] | None, _own_limit_option(column)]
        if _is_on_device(column)
        else Annotated[Limit | None, _limit_option(column)]
        for name, column in columns.items()
    }

    @wraps(command)
    def with_options(**arguments: Any) -> None:
        asked = {name: arguments.pop(name) for name in columns}
        limits, own = _by_device(asked)
        command(limits=limits, own=own, **arguments)

    with_options.__annotations__ = {**options, **{name: hints[name] for name in given}, "return": None}
    with_options.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            *(
                Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
                for name, annotation in options.items()
            ),
            *(one.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[one.name]) for one in given.values()),
        ]
    )
    return with_options


def _by_device(asked: Mapping[str, Any]) -> tuple[Limits, OwnLimits]:
    """The limits for all devices and those of single ones, the last of each; a usage error as `_limits`."""
    found: dict[str, dict[str, Limit]] = {"": {}}
    for name, given in asked.items():
        for one in given if isinstance(given, list) else [OfDevice(given)] if given is not None else []:
            found.setdefault(one.device, {})[name] = one.limit
    common = _limits(found.pop(""))
    return common, {device: _limits(limits) for device, limits in found.items()}


def _limits(asked: Mapping[str, Limit]) -> Limits:
    """By column; a usage error for two limits on one."""
    from ponas_deploy.search.costs import limits_of
    from searchspace.errors import PonasError

    try:
        return limits_of(asked)
    except PonasError as error:
        raise typer.BadParameter(str(error)) from error


def _is_on_device(column: CostColumn | Rate) -> bool:
    from ponas_deploy.search.costs import CostColumn

    return (column if isinstance(column, CostColumn) else column.column).on_device


def _limit_option(column: CostColumn | Rate) -> Any:
    parser = quantities.limit_parser(column.notation)
    return typer.Option(
        column.option, metavar=column.metavar, parser=parser, help=column.help, rich_help_panel=BUDGET
    )


def _own_limit_option(column: CostColumn | Rate) -> Any:
    """The option of a limit that may be one device's, and be repeated."""
    parse = quantities.limit_parser(column.notation)

    def parser(text: str | OfDevice) -> OfDevice:
        if isinstance(text, OfDevice):
            return text  # typer parses what it parsed again
        device, _, limit = text.rpartition("=")
        return OfDevice(parse(limit), device.strip())

    help_text = f"{column.help} DEVICE={column.metavar} for one of several --device."
    return typer.Option(
        column.option, metavar=column.metavar, parser=parser, help=help_text, rich_help_panel=BUDGET
    )
