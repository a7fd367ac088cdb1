"""Quantities with units; what has none, or a wrong one, is refused in words."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from ponas_deploy.commands.options import Seed
from ponas_deploy.commands.quantities import limit_parser
from ponas_deploy.search.costs import BYTES, LATENCY, PARAMS
from ponas_deploy.search.notation import Limit

parse_latency, parse_count, parse_size = (limit_parser(cost.notation) for cost in (LATENCY, PARAMS, BYTES))


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("20ms", 20),
        ("850us", 0.85),
        ("850 µs", 0.85),
        ("1.2s", 1200),
        ("5e3 us", 5),
        (".5ms", 0.5),
        ("9000ns", 0.009),
    ],
)
def test_latencies(text: str, ms: float) -> None:
    budget = parse_latency(text)
    assert (budget.amount, budget.unit) == (pytest.approx(ms), "ms")
    assert budget.value(1.0) == pytest.approx(ms)


def test_a_share_of_the_most_that_helps() -> None:
    budget = parse_latency("60%")
    assert budget == Limit(60.0, "%")
    assert budget.value(5.0) == 3.0
    assert budget.text == "60 % of the most that helps"
    assert parse_latency("20ms").text == "20 ms"


@pytest.mark.parametrize(
    ("text", "count"), [("330M", 330_000_000), ("1.2G", 1_200_000_000), ("5.1m", 5_100_000), ("77", 77)]
)
def test_counts(text: str, count: int) -> None:
    assert parse_count(text) == Limit(count)


@pytest.mark.parametrize(
    ("text", "size"), [("12MB", 12_000_000), ("12MiB", 12_582_912), ("900 kB", 900_000), ("64B", 64)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == Limit(size)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_latency, "20", "'20' has no unit: write 20ms, 20us or so."),
        (parse_latency, "20min", "'20min' has an unknown unit 'min': write ns, us, ms, s or %."),
        (parse_latency, "20MS", "unknown unit 'MS'"),
        (parse_latency, "fast", "'fast' is not a latency such as 20ms"),
        (parse_latency, "-1ms", "'-1ms' is not a latency"),
        (parse_latency, "0ms", "'0ms' must be above zero"),
        (parse_latency, "nanms", "is not a latency"),
        (parse_latency, "1e999ms", "must be above zero and finite"),
        (parse_latency, "1e308s", "'1e308s' must be above zero and finite"),
        (parse_count, "1e308G", "'1e308G' must be above zero and finite"),
        (parse_count, "1e305M", "'1e305M' must be above zero and finite"),
        (parse_size, "1e308GB", "'1e308GB' must be above zero and finite"),
        (parse_count, "3T", "unknown unit 'T': write K, M or G"),
        (parse_count, "many", "is not a count such as 5.1M"),
        (parse_size, "12", "'12' has no unit: write 12MB or 12MiB."),
        (parse_size, "12Mb2", "is not a size"),
    ],
)
def test_what_cannot_be_read_says_what_can(parse: object, text: str, message: str) -> None:
    with pytest.raises(typer.BadParameter) as error:
        parse(text)  # type: ignore[operator]
    assert message in str(error.value)


def test_a_negative_seed_is_a_usage_error() -> None:
    app = typer.Typer()

    @app.command()
    def show(seed: Seed = 0) -> None:
        typer.echo(f"seed {seed}")

    assert CliRunner().invoke(app, ["--seed", "0"]).output == "seed 0\n"
    assert CliRunner().invoke(app, ["--seed", "-1"]).exit_code == 2
