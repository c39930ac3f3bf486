"""HTML: one page, a semantic table each with its caption; every text is escaped by the writer of the tree."""

from collections.abc import Sequence
from xml.etree import ElementTree as Tree

from harness.report.cells import Number
from harness.report.grid import METHOD, Table

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #1a1a1a; background: #fff; }
section { margin-bottom: 2.5rem; overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }
caption { text-align: left; padding: 0 0 .5rem; max-width: 60rem; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.name { text-align: left; }
thead th { border-bottom: 1px solid; vertical-align: bottom; white-space: normal; }
tbody th { font-weight: normal; }
ul { font-size: .87em; max-width: 60rem; padding-left: 1.2rem; }
"""
_MARKS = {"best": "strong", "second": "u"}


def render(tables: Sequence[Table]) -> str:
    """Return a page that needs no other file."""
    page = Tree.Element("html", lang="en")
    head = Tree.SubElement(page, "head")
    Tree.SubElement(head, "meta", charset="utf-8")
    Tree.SubElement(head, "meta", name="viewport", content="width=device-width")
    Tree.SubElement(head, "title").text = "Results"
    Tree.SubElement(head, "style").text = _STYLE
    body = Tree.SubElement(page, "body")
    for table in tables:
        _section(body, table)
    Tree.indent(page)
    return f"<!DOCTYPE html>\n{Tree.tostring(page, encoding='unicode', method='html')}\n"


def _section(body: Tree.Element, table: Table) -> None:
    section = Tree.SubElement(body, "section")
    element = Tree.SubElement(section, "table")
    Tree.SubElement(element, "caption").text = _clean(table.caption)
    line = Tree.SubElement(Tree.SubElement(element, "thead"), "tr")
    sides = {column: {"class": "name"} if table.is_text(column) else {} for column in table.columns}
    for column in table.columns:
        Tree.SubElement(line, "th", sides[column], scope="col").text = _clean(column.heading)
    rows = Tree.SubElement(element, "tbody")
    for row in table.rows:
        line = Tree.SubElement(rows, "tr")
        for column in table.columns:
            tag, scope = ("th", {"scope": "row"}) if column == METHOD else ("td", {})
            place = Tree.SubElement(line, tag, sides[column] | scope)
            cell = row.cells.get(column.key)
            if isinstance(cell, Number) and cell.mark:
                place = Tree.SubElement(place, _MARKS[cell.mark])
            place.text = _clean(row.text(column))
    if table.notes:
        notes = Tree.SubElement(section, "ul")
        for note in table.notes:
            Tree.SubElement(notes, "li").text = _clean(note)


def _clean(text: str) -> str:
    """Return a text without control characters, which HTML may not hold."""
    return "".join(character if character.isprintable() else " " for character in text)
