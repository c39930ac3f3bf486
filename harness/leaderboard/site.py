"""The pages and files of a site, and writing them in one step over an older site and over nothing else."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pydantic_core
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

import harness
from harness.errors import UsageError
from harness.leaderboard import facts
from harness.leaderboard.boards import Board, Row, build_boards, images
from harness.leaderboard.entries import Entry, Picture, ordered, pictures, slugs
from harness.leaderboard.fronts import fronts
from harness.records import RECORD_NAME
from harness.records.stream import StreamRecord
from harness.report.cells import size
from harness.report.intervals import Intervals
from harness.report.streams import build_stream_tables, unfinished

ASSETS = ("leaderboard.css", "leaderboard.js")

MANIFEST = "site.json"
"""Lists the files of a site, so that a later build knows what it may replace."""

_GENERATOR = "harness leaderboard"

FULL_PAGES = 20
"""Seeds of one configuration that have full pages. The pages of further seeds have what differs between seeds, since
thousands of records would else repeat the same settings and environment."""

_NEIGHBOURS = 4
"""Links to seeds before and after one, where a configuration has more than `FULL_PAGES`."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def render_site(
    entries: Sequence[Entry],
    *,
    title: str,
    accuracy: str,
    intervals: Intervals | None = None,
    streams: Sequence[StreamRecord] = (),
) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a site: path below the site and content. Equal records give equal bytes.

    Args:
        entries: Records with their folders, in any order.
        title: Heading of the site.
        accuracy: Key of the column that the pictures draw against costs: ``delta_m`` or a task.
        intervals: Per-image values of the records; None for tables without intervals.
        streams: Records of streams, which have a page of their own with a board for each kind of motion.
    """
    entries = ordered(entries)
    names = slugs(entries)
    boards = build_boards(entries, intervals)
    templates = Environment(
        loader=PackageLoader("harness.leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    templates.globals.update(
        site_title=title, version=harness.__version__, picture_path=picture_path, size=size, images=images
    )
    templates.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}

    records = [entry.record for entry in entries]
    counts = {
        "measured": sum(record.source == "measured" for record in records),
        "reported": sum(record.source == "reported" for record in records),
        "rows": sum(len(board.rows) for board in boards),
    }
    index = templates.get_template("index.html").render(
        root="",
        boards=boards,
        anchors={board: f"board-{number}" for number, board in enumerate(boards, 1)},
        slugs=names,
        fronts={board: list(fronts(board, accuracy)) for board in boards},
        unfinished=[entry for entry in entries if entry.record.status != "complete"],
        counts=counts,
        streams=len(streams),
        data=_data(boards),
    )
    yield "index.html", index.encode()
    if streams:
        boards_of = build_stream_tables(streams, every=True)
        page_of = templates.get_template("streams.html")
        yield "streams.html", page_of.render(root="", tables=boards_of, unfinished=unfinished(streams)).encode()
    for asset in ASSETS:
        yield asset, (files("harness.leaderboard") / "templates" / asset).read_bytes()
    # A page for every record, also for those of unfinished runs, which have no row.
    rows = {entry: row for board in boards for row in board.rows for entry in row.entries}
    page = templates.get_template("record.html")
    for entry in entries:
        yield from _record_files(page, entry, names, rows.get(entry))


def _shown(value: Any) -> Any:
    """Return a text of a page without control characters, which HTML may not have."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value) if type(value) is str else value


def _record_files(
    page: Template, entry: Entry, names: dict[Entry, str], row: Row | None
) -> Iterator[tuple[str, bytes]]:
    """Yield the page, the record and the pictures of an entry."""
    slug, seeds = names[entry], row.entries if row else [entry]
    place, siblings, first = seeds.index(entry), seeds, None
    # Links among thousands of seeds would make every page as long as the list.
    if len(seeds) > FULL_PAGES:
        siblings = seeds[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS + 1]
        first = seeds[0] if place >= FULL_PAGES else None
    shown = pictures(entry.folder)
    text = page.render(
        root="../",
        entry=entry,
        slug=slug,
        slugs=names,
        siblings=[other for other in siblings if other is not entry],
        seeds=len(seeds),
        first=first,
        pictures=shown,
        facts=facts,
    )
    yield f"records/{slug}.html", text.encode()

    # The record is copied as it is stored; without spaces next to a short page, and as strict JSON if it is not.
    indent = 1 if first is None else None
    if entry.folder is None:
        raw = entry.record.model_dump_json(indent=indent).encode()
    else:
        raw = (entry.folder / RECORD_NAME).read_bytes()
        if first is not None or b"NaN" in raw or b"Infinity" in raw:
            raw = pydantic_core.to_json(pydantic_core.from_json(raw), indent=indent, inf_nan_mode="null")
    yield f"records/{slug}.json", raw
    for picture in shown:
        if picture.content is not None:
            yield f"records/{picture_path(slug, picture)}", picture.content


def picture_path(slug: str, picture: Picture) -> str:
    """Return the place of a record's picture, next to its page."""
    return f"{slug}.{picture.name}"


def _data(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Return the content that the page's script sorts and filters by; texts and numbers are those of the tables."""
    return [
        {
            "dataset": board.record.dataset.name,
            "source": board.record.source,
            "kind": board.images,
            "higher": [
                *(None, None),
                *(column.better == "higher" if column.better else None for column in board.columns),
                None,
            ],
            "rows": [
                {
                    "method": row.record.method.name,
                    "backbone": row.record.method.backbone,
                    "values": [
                        " ".join([row.record.method.name, *row.variant]),
                        row.record.method.backbone,
                        *(cell.value if cell else None for cell in row.cells),
                        len(row.entries),
                    ],
                }
                for row in board.rows
            ],
        }
        for board in boards
    ]


def write_site(files: Iterable[tuple[str, bytes]], output: Path) -> int:
    """Write files into a folder next to ``output`` and swap the two; return the number of files.

    Args:
        files: Path below the site and content of each.
        output: Folder of the site: new, empty, or an older site to which nothing was added by others.

    Raises:
        UsageError: ``output`` holds files that are not a site's.
    """
    check_output(output)
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    # Both next to the place, on the same disk, so that renaming swaps whole folders.
    fresh, old = (output.with_name(f".{output.name}.{os.getpid()}.{state}") for state in ("new", "old"))
    names: list[str] = []
    folders: set[Path] = set()
    try:
        for name, content in files:
            path = fresh / name
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            path.write_bytes(content)
            names.append(name)
        manifest = {"generator": _GENERATOR, "files": sorted(names)}
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if output.exists():
            output.replace(old)
        fresh.replace(output)
    except BaseException:  # an interrupt between the two renamings, too: the older site comes back
        if old.exists() and not output.exists():
            old.replace(output)
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return len(names)


def check_output(output: Path) -> None:
    """Refuse a folder that a site must not replace.

    Raises:
        UsageError: it holds files that are not a site's.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise UsageError(f"-o {output}: it is a file; give a folder")
    # The files that an older site consists of, by its own list.
    try:
        manifest = json.loads((output / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    ours = isinstance(manifest, dict) and manifest.get("generator") == _GENERATOR
    listed = [name for name in manifest.get("files", []) if isinstance(name, str)] if ours else []
    present = {path.relative_to(output).as_posix() for path in output.rglob("*") if not path.is_dir()}
    strangers = sorted(present - {MANIFEST, *listed})
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        raise UsageError(f"-o {output}: holds {strangers[0]}{more}, no file of a site; give an empty or new folder")
