"""How large the page of three tables is, and how long a browser takes to draw it.

    python benchmarks/report.py [--opened 7] [--device amd-epyc-2c] [--space ponas]

Opens the page in headless Chromium, which it needs with its driver, so many times at each width. Prints the
median of first contentful paint and of the end of loading, by the browser's own clock. The aims: below 2 MB,
drawn in less than 1 s.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

import ponas_deploy as ponas
from ponas_deploy.tables import store

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from browser import Browser, browser, why_not

WIDTHS = (1280, 390)
_TIMES = """
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    return [paint.startTime, performance.getEntriesByType("navigation")[0].loadEventEnd]
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--opened", type=int, default=7)
    options.add_argument("--device", default="amd-epyc-2c")
    options.add_argument("--space", default="ponas")
    asked = options.parse_args()
    if reason := why_not():
        sys.exit(reason)
    tables, _ = store.latency_tables()
    names = [
        one.name
        for one in tables
        if one.device == asked.device
        and one.table.estimated == ""
        and one.table.space
        and one.table.space.name == asked.space
    ][:3]
    with tempfile.TemporaryDirectory(prefix="ponas") as folder:
        page = Path(folder) / "report.html"
        report, (file,) = ponas.report(page, names)
        points = len(report.charts[0].rows)
        found: dict[str, object] = {"tables": len(names), "points": points, "bytes": file.bytes}
        print(f"{len(names)} tables, {points} points of fronts: {file.bytes / 1e6:.2f} MB")
        with browser(Path(folder)) as session:
            for width in WIDTHS:
                painted, loaded = drawn_ms(session, page, width, asked.opened)
                found |= {f"painted_ms_at_{width}": painted, f"loaded_ms_at_{width}": loaded}
                print(f"{width} px wide: first paint {painted:.0f} ms, loaded {loaded:.0f} ms")
    print(json.dumps(found))


def drawn_ms(session: Browser, page: Path, width: int, times: int) -> tuple[float, float]:
    """The medians of first paint and of the end of loading, in milliseconds."""
    session.resize(width, 900)
    taken = []
    for _ in range(times):
        session.open(page)
        taken.append(session.run(_TIMES))
    painted, loaded = zip(*taken, strict=True)
    return median(painted), median(loaded)


if __name__ == "__main__":
    main()
