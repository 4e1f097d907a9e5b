"""Prints data on stdout, as a table for people, as JSON or as names for programs; everything else goes to stderr."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

FORMATS = ("table", "json", "name")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*", re.ASCII)
UNBOUNDED = 100_000
"""Width of tables that are not printed on a terminal, in characters: nothing is folded there."""

Item = dict[str, Any]
Part = str | Callable[[Item], Any]
"""What a column or a name shows of an item: a field, or the result of a function."""
Columns = Mapping[str, Part]


def print_items(items: Sequence[Item], output: str, columns: Columns, name: Part) -> None:
    """Print a list, with a row, an object or a name for each item."""
    if output == "json":
        print_json(items)
    elif output == "name":
        for item in items:
            click.echo(plain(_part(item, name)))
    else:
        table = _table(*columns)
        for item in items:
            table.add_row(*(Text(cell(_part(item, part))) for part in columns.values()))
        _print(table)


def print_item(item: Item, output: str, name: Part) -> None:
    """Print one item: a line for each field, an object, or its name."""
    if output == "json":
        print_json(item)
    elif output == "name":
        click.echo(plain(_part(item, name)))
    else:
        table = _table("", "")
        table.show_header = False
        for field, value in item.items():
            table.add_row(Text(field), Text(cell(value)))
        _print(table)


def print_json(data: Any) -> None:
    """Print JSON, indented, without escaping characters outside ASCII."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=2))


def say(message: str) -> None:
    """Print a message, which is not data, on stderr."""
    click.echo(message, err=True)


def plain(value: Any) -> str:
    """Text without control characters: a job's name, for instance, may contain escape sequences for the terminal."""
    return "".join("\ufffd" if unicodedata.category(c) == "Cc" else c for c in str(value))


def cell(value: Any) -> str:
    """A value for people: times in the local zone, nothing for null, and no control characters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and value.keys() == {"hours", "minutes", "seconds"}:
        return f"{value['hours']}:{value['minutes']:02}:{value['seconds']:02}"
    if isinstance(value, Mapping | list):
        return plain(json.dumps(value, ensure_ascii=False)) if value else ""
    text = str(value)
    return local_time(text) if INSTANT.fullmatch(text) else plain(text)


def elapsed(began: str | None, ended: str | None) -> str:
    """The time between two RFC 3339 instants, `0:01:02.3`: the API's own `duration` has whole seconds."""
    if began is None or ended is None:
        return ""
    tenths = round((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds() * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"


def local_time(text: str) -> str:
    """An RFC 3339 time in this machine's zone, to the second."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return text


def _part(item: Item, part: Part) -> Any:
    return item.get(part) if isinstance(part, str) else part(item)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(titles):
        # The first column is often copied, so it must not be wrapped.
        table.add_column(title, overflow="fold", no_wrap=number == 0)
    return table


def _print(table: Table) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = UNBOUNDED
    with console.capture() as rendered:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in rendered.get().splitlines()), color=True)
