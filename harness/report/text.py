"""Texts of records as terminals, Markdown, CSV and JSON can show them: names and reasons may come from anybody."""

import json
import math
import re
from typing import Any

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_MARKUP = re.compile(r"([\\`*_\[\]<>|~$]|^#|&(?=[#\w]+;))")
"""Signs that Markdown takes for markup within a line, a heading, and what begins an HTML entity."""

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""First characters of a cell that spreadsheets compute; the wide forms are read likewise in East Asian locales."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

_CONTROL = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Characters that JSON allows as they are, but that move a terminal's cursor or change the direction of writing."""


def printable(text: object) -> str:
    r"""Return text on one line; characters that are not printable, such as terminal escapes, are replaced.

    >>> printable("a\x1b[31m\nb")
    'a\ufffd[31m b'
    """
    line = " ".join(str(text).split())
    return line if line.isprintable() else "".join(c if c.isprintable() else _REPLACEMENT for c in line)


def duration(seconds: float) -> str:
    """Return a time in its two largest units.

    >>> duration(93784), duration(75), duration(0.4)
    ('26 h 3 min', '1 min 15 s', '0 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def markdown(text: object) -> str:
    """Return a text that Markdown shows as it is, on one line, in a cell of a table too."""
    return _MARKUP.sub(r"\\\1", printable(text))


def csv_text(text: str) -> str:
    """Return a text as a CSV cell that a spreadsheet never takes for a formula; numbers stay as they are.

    >>> csv_text("=1+1"), csv_text("-0.5"), csv_text("share")
    ("'=1+1", '-0.5', 'share')
    """
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA) and not _NUMBER.fullmatch(shown) else shown


def finite(content: Any) -> Any:
    """Return JSON-like content with null in the place of infinities and NaN, which JSON does not have."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return content


def to_json(content: Any, *, indent: int | None = 1, ascii_only: bool = False) -> str:
    """Return content as strict JSON without raw control characters."""
    text = json.dumps(finite(content), indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
