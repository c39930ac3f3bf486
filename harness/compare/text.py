"""Text from records, made fit to be shown: records may come from anybody."""

import html
import re

_MARKED = re.compile(r"([\\`*_\[\]|~#])")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean(text: object) -> str:
    """Return text on one line; what is not printable, and so not fit for a terminal or for XML, is replaced."""
    return "".join(c if c.isprintable() else _REPLACEMENT for c in " ".join(str(text).split()))


def markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in a cell of a table too."""
    return _MARKED.sub(r"\\\1", html.escape(text, quote=False))
