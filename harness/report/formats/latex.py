"""LaTeX with booktabs; a table that is wider than the line is shrunk to it."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from harness.report.cells import Number
from harness.report.grid import Table

PREAMBLE = "\\usepackage{booktabs}\n\\usepackage{graphicx}\n"
"""Lines that a document with these tables needs."""

_CHARACTERS = {
    **{character: f"\\{character}" for character in "%&#_{}$"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "[": "{[}",  # after a line break it would be an option
    "]": "{]}",
    "*": "{*}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "{''}",
    "`": "\\textasciigrave{}",
    "↑": "$\\uparrow$",
    "↓": "$\\downarrow$",
    "±": "$\\pm$",
    "×": "$\\times$",
    "≈": "$\\approx$",
    "Δ": "$\\Delta$",
    "δ": "$\\delta$",
    "§": "\\S{}",
    "¶": "\\P{}",
    "†": "$^\\dagger$",
    "‡": "$^\\ddagger$",
    "–": "\\textendash{}",
    "’": "'",
}
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r", "\u030c": "v",
            "\u0327": "c"}  # fmt: skip
_MARKS = {"best": "\\textbf{{{}}}", "second": "\\underline{{{}}}", None: "{}"}


def render(tables: Sequence[Table]) -> str:
    """Return one table environment per table, to be included in a document."""
    needs = "".join(f"% needs {line}\n" for line in PREAMBLE.splitlines())
    return needs + "\n".join(map(_table, tables))


def escape(text: str) -> str:
    """Return a text that LaTeX shows as it is; a character that LaTeX lacks is named by its code."""
    shown = "".join(map(_character, " ".join(text.split())))
    return re.sub("-(?=-)", "-{}", shown)  # two in a row would be a dash


def _character(character: str) -> str:
    """Return LaTeX for one character."""
    if character in _CHARACTERS:
        return _CHARACTERS[character]
    if character.isascii() and character.isprintable():
        return character
    # A letter with an accent that LaTeX can set: base letter and combining mark, decomposed.
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return f"\\{_ACCENTS[marks[0]]}{{{base}}}"
    return f"{{[}}U+{ord(character):04X}{{]}}"


def _table(table: Table) -> str:
    """Return one table environment."""
    sides = "".join("l" if table.is_text(column) else "r" for column in table.columns)
    # Titles take two lines, so that columns are as narrow as their numbers.
    titles = [column.heading.partition(" ") for column in table.columns]
    lines = [" & ".join(escape(part) for part in parts) for parts in zip(*titles, strict=True)]
    heading = "\n".join(f"{line} \\\\" for line in (lines[0], lines[2]))
    rows = []
    for row in table.rows:
        cells = []
        for column in table.columns:
            cell = row.cells.get(column.key)
            if isinstance(cell, Number):
                # A true minus and a true ±; the sign goes behind the mark, so that it is not set in bold.
                number = replace(cell, sign="").text(column, plus_minus=" $\\pm$ ").replace("-", "$-$")
                number, bracket, half = number.partition(" (")  # intervals are set small, and never in bold
                small = f"{{\\scriptsize ({half}}}" if bracket else ""
                cells.append(" ".join(filter(None, (_MARKS[cell.mark].format(number), small, escape(cell.sign)))))
            else:
                cells.append(escape(row.text(column)))
        rows.append(" & ".join(cells) + r" \\")
    body = "\n".join(rows)
    notes = "".join(f"\\par\\raggedright\\scriptsize {escape(note)}\n" for note in table.notes)
    return f"""\\begin{{table}}
\\centering
\\caption{{{escape(table.caption)}}}
\\smallskip
\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%
\\begin{{tabular}}{{{sides}}}
\\toprule
{heading}
\\midrule
{body}
\\bottomrule
\\end{{tabular}}}}
{notes}\\end{{table}}
"""
