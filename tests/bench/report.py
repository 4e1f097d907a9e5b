"""Figures as one table for people and one file for machines."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.measure import Figure
from tests.bench.scale import Scale


def table(figures: Sequence[Figure]) -> Table:
    made = Table(title="jobd against the least code that could do the work")
    for name in ("bench", "what"):
        made.add_column(name)
    for name in ("jobd", "floor", "ratio", "spread", "n", "goal"):
        made.add_column(name, justify="right")
    for figure in figures:
        is_ratio = figure.ratio is not None
        made.add_row(
            figure.bench,
            figure.what,
            f"{short(figure.value)} {figure.unit}",
            f"{short(figure.floor)} {figure.unit}" if figure.floor is not None else "",
            f"{figure.ratio:.2f} ×" if figure.ratio is not None else "",
            f"{figure.low:.2f}-{figure.high:.2f}" if is_ratio else f"{short(figure.low)}-{short(figure.high)}",
            str(figure.count),
            _goal(figure),
        )
    return made


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return f"{figure.goal} [green]met[/]" if figure.met else f"{figure.goal} [red]missed[/]"


def show(figures: Sequence[Figure], skipped: dict[str, str]) -> None:
    console = Console(width=None if os.isatty(1) else 160)
    console.print(table(figures))
    for name, why in skipped.items():
        console.print(f"{name} was not measured: {why}", style="yellow")


def write(path: Path, scale: Scale, figures: Sequence[Figure], skipped: dict[str, str]) -> None:
    """`figures`: each with `met`, true, false, or null where there is no goal."""
    machine = {"platform": platform.platform(), "python": platform.python_version(), "processors": os.cpu_count()}
    rows = [{**asdict(figure), "met": figure.met} for figure in figures]
    told = {"at": datetime.now(UTC).isoformat(), "machine": machine, "scale": asdict(scale), "figures": rows}
    path.write_text(json.dumps({**told, "skipped": skipped}, indent=1) + "\n", encoding="utf-8")
