"""Renders the pages and files of a site."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import harness
from harness.leaderboard import facts
from harness.leaderboard.boards import Board, Row, build_boards, images
from harness.leaderboard.entries import Entry, ordered, slugs
from harness.leaderboard.fronts import fronts
from harness.leaderboard.media import Picture, pictures
from harness.records import RECORD_NAME
from harness.report.cells import size

ASSETS = ("leaderboard.css", "leaderboard.js")


def render_site(entries: Sequence[Entry], *, title: str, accuracy: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a site: path below the site and content. Equal records give equal bytes.

    Args:
        entries: Records with their folders, in any order.
        title: Heading of the site.
        accuracy: Key of the column that the pictures draw against costs: ``delta_m`` or a task.
    """
    entries = ordered(entries)
    names = slugs(entries)
    boards = build_boards(entries)
    templates = _templates(title)
    index = templates.get_template("index.html").render(
        root="",
        boards=boards,
        anchors={board: f"board-{number}" for number, board in enumerate(boards, 1)},
        slugs=names,
        fronts={board: list(fronts(board, accuracy)) for board in boards},
        unfinished=[entry for entry in entries if entry.record.status != "complete"],
        counts=_counts(entries, boards),
        data=_data(boards),
    )
    yield "index.html", index.encode()
    for asset in ASSETS:
        yield asset, (files("harness.leaderboard") / "templates" / asset).read_bytes()
    rows = {entry: row for board in boards for row in board.rows for entry in row.entries}
    page = templates.get_template("record.html")
    for entry in entries:
        yield from _record_files(page, entry, names, rows.get(entry))


def _record_files(page: Any, entry: Entry, names: dict[Entry, str], row: Row | None) -> Iterator[tuple[str, bytes]]:
    slug, shown = names[entry], pictures(entry.folder)
    siblings = [other for other in row.entries if other is not entry] if row else []
    text = page.render(root="../", entry=entry, slug=slug, slugs=names, siblings=siblings, pictures=shown, facts=facts)
    yield f"records/{slug}.html", text.encode()
    yield f"records/{slug}.json", _raw(entry)
    for picture in shown:
        if picture.content is not None:
            yield f"records/{picture_path(slug, picture)}", picture.content


def picture_path(slug: str, picture: Picture) -> str:
    """Return where a record's picture lies, beside its page."""
    return f"{slug}.{picture.name}"


def _raw(entry: Entry) -> bytes:
    if entry.folder is None:
        return entry.record.model_dump_json(indent=1).encode()
    return (entry.folder / RECORD_NAME).read_bytes()


def _templates(title: str) -> Environment:
    templates = Environment(
        loader=PackageLoader("harness.leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(
        site_title=title, version=harness.__version__, picture_path=picture_path, size=size, images=images
    )
    templates.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    return templates


def _counts(entries: Sequence[Entry], boards: Sequence[Board]) -> dict[str, int]:
    records = [entry.record for entry in entries]
    return {
        "measured": sum(record.source == "measured" for record in records),
        "reported": sum(record.source == "reported" for record in records),
        "rows": sum(len(board.rows) for board in boards),
    }


def _data(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Return what the page's script sorts and filters by; texts and figures are those of the tables."""
    return [
        {
            "dataset": board.record.dataset.name,
            "source": board.record.source,
            "kind": board.images,
            "higher": [None, None, *(column.higher_is_better for column in board.columns), None],
            "rows": [
                {
                    "method": row.record.method.name,
                    "backbone": row.record.method.backbone,
                    "values": [
                        " ".join([row.record.method.name, *row.variant]),
                        row.record.method.backbone,
                        *(cell.value for cell in row.cells),
                        len(row.entries),
                    ],
                }
                for row in board.rows
            ],
        }
        for board in boards
    ]
