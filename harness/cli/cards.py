"""Cards of methods, data sets, tasks, encoders and protocols, as people read them."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.cells import DASH
from harness.report.text import printable

_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false", "null": "null"}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def print_card(card: Mapping[str, Any]) -> None:
    """Print a card: its name and summary, facts line by line, and the options of a method or protocol as a table."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    kind, name = next(iter(card.items()))
    console.print(Text(f"{kind} {printable(name)}", style="bold"))
    lines = Table(box=None, pad_edge=False, show_header=False)
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    for key, value in card.items():
        if key not in (kind, "options") and value not in (None, "", [], (), {}, name):
            lines.add_row(key.replace("_", " "), Text(words(value)))
    console.print(lines)
    if options := card.get("options"):
        console.print(Text("options, given as --set KEY=VALUE" if kind == "method" else "conventions, --protocol-set"))
        console.print(_options(options))


def _options(options: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    profile = all("value" in schema for schema in options.values())
    for heading in ("option", "value", "meaning") if profile else ("option", "values", "default", "meaning"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "option")
    for key, schema in options.items():
        text = printable(schema.get("description", ""))
        given = [words(schema["value"])] if profile else [kind_of(schema), words(schema.get("default", "required"))]
        table.add_row(key, *map(Text, given), Text(text))
    return table


def words(value: object) -> str:
    """Return a value of a card as text.

    >>> words({"quick": "vit-micro", "full": None}), words([1, 2]), words(True)
    ('quick: vit-micro, full: –', '1, 2', 'yes')
    """
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(key)}: {words(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value))
    return printable(value)


def kind_of(schema: Mapping[str, Any]) -> str:
    """Return the values that a JSON Schema takes, in words.

    >>> kind_of({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]})
    'number > 0, null'
    """
    if "anyOf" in schema:
        return ", ".join(map(kind_of, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(map(str, schema.get("enum", [schema.get("const")])))
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"mapping to {kind_of(inner)}" if isinstance(inner, Mapping) else "mapping"
    bounds = [f"{sign} {schema[key]:g}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join([_TYPES.get(str(schema.get("type")), "value"), *bounds])
