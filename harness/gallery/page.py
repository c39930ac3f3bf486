"""The page that shows all sheets of a folder: one HTML file that needs nothing but the pictures beside it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from jinja2 import Environment

from harness.gallery.panels import Column


@dataclass(frozen=True)
class Entry:
    """One sheet on the page.

    Attributes:
        file: Name of the picture, beside the page.
        name: The image as people know it.
        size: (width, height) of the picture in pixels.
        columns: What is in it.
    """

    file: str
    name: str
    size: tuple[int, int]
    columns: Sequence[Column]

    @property
    def address(self) -> str:
        """The picture's relative URL; the file's bytes, whatever they are."""
        return quote(os.fsencode(self.file))

    @property
    def caption(self) -> str:
        """The image's name, with bytes that are no text replaced."""
        return os.fsencode(self.name).decode("utf-8", "replace")

    @property
    def scores(self) -> str:
        """The errors of the image in words; empty without labels."""
        return ", ".join(f"{column.title}: {column.score}" for column in self.columns if column.score)

    @property
    def alternative(self) -> str:
        """Description of the picture, for those who do not see it."""
        shown = []
        for column in self.columns:
            classes = ", ".join(name for name, _ in column.legend)
            shown.append(f"{column.title} ({classes})" if classes else column.title)
        rows = "Predictions" if len(self.columns[0].panels) == 1 else "Predictions, labels and errors"
        return f"{rows} for {self.caption}: {'; '.join(shown)}. {self.scores}".strip()


def page(title: str, facts: Sequence[str], entries: Sequence[Entry]) -> str:
    """Return the page as HTML; names are escaped.

    Args:
        title: Heading.
        facts: What was predicted, with what and from what; one paragraph each.
        entries: The sheets, in order.
    """
    template = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    ).from_string(_TEMPLATE)
    return template.render(title=title, facts=facts, entries=entries)


_TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #595959; --line: #d0d0d0; --link: #0b57a4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #161616; --faint: #a8a8a8; --line: #444; --link: #8ab8ff; }
}
body { margin: 0 auto; padding: 1rem; max-width: 110rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; }
header p, figcaption span { color: var(--faint); }
header p { margin: .1rem 0; }
a { color: var(--link); }
figure { margin: 1.5rem 0; border: 1px solid var(--line); border-radius: .4rem; overflow: hidden; }
figcaption { padding: .5rem .8rem; overflow-wrap: anywhere; }
.sheet { overflow-x: auto; background: #fff; }
.sheet img { display: block; width: 100%; min-width: 46rem; height: auto; }
</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
{% for fact in facts %}
<p>{{ fact }}</p>
{% endfor %}
</header>
<main>
{% for entry in entries %}
<figure>
<figcaption><a href="{{ entry.address }}">{{ entry.caption }}</a>
{%- if entry.scores %} <span>{{ entry.scores }}</span>{% endif %}</figcaption>
<div class="sheet"><img src="{{ entry.address }}" width="{{ entry.size[0] }}" height="{{ entry.size[1] }}"
 loading="lazy" alt="{{ entry.alternative }}"></div>
</figure>
{% endfor %}
</main>
</body>
</html>
"""
