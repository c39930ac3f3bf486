"""The files of a site: the same every time, safe whatever records say, and never in the way of other files."""

import json
import posixpath
import re
import shutil
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from many_records import ATTACK, hostile, many_records
from PIL import Image

from harness.errors import UsageError
from harness.leaderboard.entries import Entry, read_entries, slugs
from harness.leaderboard.site import FULL_PAGES, render_site, write_site
from harness.records import Record, UnreadableRecord, write_record

FEW = many_records(1)[:12]
BASE = FEW[0]


def render(*records: Record) -> dict[str, str]:
    """Return the text files of a site of records without folders."""
    files = render_site([Entry(record) for record in records], title="A board", accuracy="delta_m")
    return {name: content.decode() for name, content in files}


def named(run_id: str, seed: int = 0) -> Entry:
    return Entry(BASE.model_copy(update={"run_id": run_id, "seed": seed}))


def test_equal_records_in_any_order_give_equal_bytes() -> None:
    first = render(*FEW)
    assert render(*reversed(FEW), FEW[3]) == first
    assert {"index.html", "leaderboard.css", "leaderboard.js"} < set(first)


@pytest.mark.parametrize("run_id", ["../../etc/passwd", "/abs", "..", "", "a/../b", "c:\\x", "x\0y", "é" * 300, ATTACK])
def test_no_run_id_leads_out_of_the_folder(run_id: str) -> None:
    entry = named(run_id)
    name = slugs([entry])[entry]
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,140}", name)


def test_equal_names_are_told_apart_even_where_case_is_ignored() -> None:
    entries = [named("a/b"), named("a b"), named("A-B"), named("a/b", seed=1), named("a-c")]
    names = slugs(entries)
    assert len({name.lower() for name in names.values()}) == 5
    assert names[entries[4]] == "a-c"
    assert names == dict(zip(reversed(entries), reversed(list(names.values())), strict=True))


class Markup(HTMLParser):
    """Collects what a page would execute or load."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.suspicious: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        names = dict(attrs)
        self.suspicious += [name for name in names if name.startswith("on")]
        self.links += [str(names[key]) for key in ("href", "src", "xlink:href") if key in names]


def test_names_from_records_are_text_and_never_markup() -> None:
    pages = {name: text for name, text in render(hostile(), *FEW).items() if name.endswith(".html")}
    for name, text in pages.items():
        markup = Markup()
        markup.feed(text)
        assert ATTACK not in text
        assert markup.scripts == (2 if name == "index.html" else 1)
        assert not markup.suspicious
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', pages["index.html"], re.DOTALL)
    assert data
    assert ATTACK in {row["method"] for board in json.loads(data[1]) for row in board["rows"]}


def test_every_link_leads_to_a_file_of_the_site(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 450
    for page in [site / "index.html", *pages[::40]]:
        markup = Markup()
        markup.feed(page.read_text())
        for link in markup.links:
            if not link.startswith(("#", "data:,")):
                assert (page.parent / link.partition("#")[0]).is_file(), f"{page}: {link}"


def test_no_id_occurs_twice(site: Path) -> None:
    ids = re.findall(r'\bid="([^"]+)"', (site / "index.html").read_text())
    assert len(ids) == len(set(ids))


def run_folder(root: Path, record: Record) -> Path:
    folder = root / record.run_id
    write_record(record, folder)
    return folder


def test_a_page_has_the_record_its_pictures_and_its_command(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "out", BASE.model_copy())
    noise = np.random.default_rng(0).integers(0, 255, (40, 3000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "predictions.png")
    (folder / "layers.png").write_bytes(b"no picture")
    files = dict(render_site(read_entries([tmp_path]), title="t", accuracy="delta_m"))
    slug = "nyud-single-task.vit-micro.full.seed0"
    page = files[f"records/{slug}.html"].decode()
    assert files[f"records/{slug}.json"] == (folder / "record.json").read_bytes()
    assert files[f"records/{slug}.predictions.webp"][8:12] == b"WEBP"
    assert 'width="1600"' in page
    assert "the picture in the run's folder is damaged" in page
    assert "harness run -m single-task -d nyud -b vit-micro --seed 0" in page
    for fact in ("0" * 40, "654 of 654 images", "amd-epyc-00000001", "f" * 64, "full", BASE.config_hash):
        assert fact in page


def test_a_page_tells_units_and_why_figures_are_missing() -> None:
    record = next(one for one in many_records(1) if one.macs is None)
    page = next(text for name, text in render(record).items() if name.startswith("records/") and name.endswith("html"))
    assert "the counter failed" in page
    assert f"{record.storage.artifact_bytes / 1e6:.3f} MB" in page  # type: ignore[union-attr]
    assert "synthetic" not in page or record.dataset.synthetic


def test_seeds_link_to_each_other() -> None:
    pages = render(*[one for one in many_records() if one.run_id.startswith("nyud/share.vit-b16.")])
    text = pages["records/nyud-share.vit-b16.full.seed1.html"]
    assert 'href="nyud-share.vit-b16.full.seed0.html"' in text
    assert 'href="nyud-share.vit-b16.full.seed2.html"' in text


def test_further_seeds_have_short_pages_and_every_page_is_reached(tmp_path: Path) -> None:
    seeds = FULL_PAGES + 12
    records = [named(f"nyud/m.seed{seed}", seed).record for seed in range(seeds)]
    for record in records:
        run_folder(tmp_path, record)
    pages = dict(render_site(read_entries([tmp_path]), title="t", accuracy="delta_m"))
    texts = {name: content.decode() for name, content in pages.items() if name.endswith(".html")}
    assert len(texts) == 1 + seeds
    first, last = texts["records/nyud-m.seed0.html"], texts[f"records/nyud-m.seed{seeds - 1}.html"]
    assert BASE.config_hash in first
    assert BASE.config_hash not in last
    assert 'href="nyud-m.seed0.html"' in last
    assert json.loads(pages[f"records/nyud-m.seed{seeds - 1}.json"]) == records[-1].model_dump(mode="json")
    assert pages["records/nyud-m.seed0.json"] == (tmp_path / "nyud/m.seed0/record.json").read_bytes()
    reached, left = {"index.html"}, ["index.html"]
    while left:
        markup = Markup()
        name = left.pop()
        markup.feed(texts[name])
        for link in markup.links:
            other = posixpath.normpath(posixpath.join(posixpath.dirname(name), link.partition("#")[0]))
            if other in texts and other not in reached:
                reached.add(other)
                left.append(other)
    assert reached == set(texts)


def test_a_page_names_what_a_command_put_over_the_recipe() -> None:
    short = BASE.model_copy(update={"run_id": "d/short", "config": {"iterations": 5}})
    pages = render(BASE, short)
    assert "with iterations=5" in pages["records/d-short.html"]
    assert "iterations=5" in pages["index.html"]


def test_infinities_and_nan_end_neither_the_build_nor_the_script(tmp_path: Path) -> None:
    content = json.loads(BASE.model_dump_json())
    content["run_id"] = "nyud/endless"
    content["macs"]["executed"]["mean"] = float("inf")
    for name, text in (("endless", json.dumps(content)), ("few", FEW[1].model_dump_json())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(text)
    with pytest.warns(UnreadableRecord, match="macs.executed.mean"):
        entries = read_entries([tmp_path])
    assert [entry.record.run_id for entry in entries] == [FEW[1].run_id]

    # A record that was never written may hold them still.
    endless = BASE.model_copy(deep=True, update={"run_id": "nyud/endless"})
    assert endless.macs
    endless.macs.executed.mean = endless.macs.dense.mean = float("inf")
    endless.macs.elementwise_outputs = float("nan")
    endless.method.options = {"x": float("-inf")}
    pages = dict(render_site([Entry(endless), *entries], title="t", accuracy="delta_m"))

    def refuse(constant: str) -> None:
        raise AssertionError(f"JSON has no {constant}")

    data = re.search(r'id="data">(.*?)</script>', pages["index.html"].decode(), re.DOTALL)
    assert data
    json.loads(data[1], parse_constant=refuse)
    for name, content in pages.items():
        if name.endswith(".json"):
            json.loads(content, parse_constant=refuse)


def test_no_control_character_of_a_record_reaches_a_page() -> None:
    escape = "a\x1b[31m\x07\x9b"
    method = BASE.method.model_copy(update={"name": escape, "options": {escape: escape}})
    pages = render(BASE.model_copy(update={"method": method, "warnings": [escape], "run_id": escape}))
    for name, text in pages.items():
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text) or name.endswith(".json"), name


def test_a_site_is_replaced_and_nothing_of_the_old_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write_site([("index.html", b"1"), ("records/old.html", b"")], folder)
    write_site([("index.html", b"2")], folder)
    assert (folder / "index.html").read_bytes() == b"2"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["index.html", "site", "site.json"]


@pytest.mark.parametrize("stranger", ["notes.txt", ".git/HEAD", "records/mine.html"])
def test_a_folder_with_files_of_others_is_left_alone(stranger: str, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write_site([("index.html", b"1")], folder)
    (folder / stranger).parent.mkdir(parents=True, exist_ok=True)
    (folder / stranger).write_text("mine")
    with pytest.raises(UsageError, match=re.escape(stranger)):
        write_site([("index.html", b"2")], folder)
    assert (folder / "index.html").read_bytes() == b"1"
    assert (folder / stranger).read_text() == "mine"


def test_an_interrupted_build_leaves_the_old_site(tmp_path: Path) -> None:
    def broken() -> object:
        yield "index.html", b"2"
        raise KeyboardInterrupt

    folder = tmp_path / "site"
    write_site([("index.html", b"1")], folder)
    with pytest.raises(KeyboardInterrupt):
        write_site(broken(), folder)  # type: ignore[arg-type]
    assert (folder / "index.html").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_the_same_record_in_two_folders_is_shown_once(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", BASE.model_copy())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    files = dict(render_site(read_entries([tmp_path]), title="t", accuracy="delta_m"))
    assert len([name for name in files if name.endswith(".html")]) == 2


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


PAIRS = [
    *((ink, ground) for ink in ("ink", "ink-2", "accent") for ground in ("ground", "sheet", "stripe", "hover")),
    *((kind, f"{kind}-ground") for kind in ("measured", "reported", "synthetic", "real", "failed")),
]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_stands_out_from_its_ground(ink: str, ground: str, scheme: int) -> None:
    sheet = (files("harness.leaderboard") / "templates" / "leaderboard.css").read_text()
    tokens = [dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block)) for block in sheet.split(":root {")[1:3]]
    light, dark = sorted((luminance(tokens[scheme][ink]), luminance(tokens[scheme][ground])))
    assert (dark + 0.05) / (light + 0.05) >= 4.5, "WCAG 2 level AA for text"
