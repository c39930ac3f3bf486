"""The site in a browser, opened from disk: sorting, filtering, keyboard, colours, phones, and no script at all."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """An open page with what went wrong on it.

    Attributes:
        page: The page.
        faults: Messages of the console and errors of the script.
        requests: Addresses outside the site that the page asked for; they are not answered.
    """

    def __init__(self, browser: Browser, path: Path, **settings: Any) -> None:
        self.context = browser.new_context(**settings)
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.context.set_default_timeout(10_000)
        self.context.route("**/*", self._answer)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(path.as_uri())

    def _answer(self, route: Route) -> None:
        if route.request.url.startswith(("file:", "data:")):
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()


@pytest.fixture
def visit(browser: Browser, site: Path) -> Iterator[Any]:
    """Return a function that opens a page of the site; in the end nothing may have gone wrong on any of them."""
    visits: list[Visit] = []

    def call(name: str = "index.html", **settings: Any) -> Page:
        visits.append(Visit(browser, site / name, **settings))
        return visits[-1].page

    yield call
    for one in visits:
        one.context.close()
        assert one.faults == []
        assert one.requests == []


def cells(page: Page, head: str, board: str = "#board-1") -> list[str]:
    """Return the cells of a column from top to bottom."""
    return page.evaluate(  # type: ignore[no-any-return]
        """([board, head]) => {
            const table = document.querySelector(board + " table");
            const heads = [...table.tHead.rows[0].cells];
            const index = heads.findIndex((cell) => cell.querySelector(".title").textContent.startsWith(head));
            return [...table.tBodies[0].rows].map((row) => row.cells[index].innerText);
        }""",
        [board, head],
    )


def figures(page: Page, head: str) -> list[float | None]:
    texts = cells(page, head)
    return [None if text == "–" else float(text.partition(" ")[0]) for text in texts]


def head(page: Page, title: str, board: str = "#board-1") -> Any:
    return page.locator(f"{board} thead th", has_text=title)


def choose(page: Page, label: str, value: str) -> None:
    page.locator("#filters").get_by_label(label).select_option(value)


def shown(page: Page) -> int:
    return page.locator("section[data-board] tbody tr:visible").count()


@pytest.mark.parametrize("title", ["SemSeg", "Depth", "Boundary", "Δm", "MACs", "Latency"])
def test_a_press_sorts_the_best_to_the_top_and_the_next_the_other_way(title: str, visit: Any) -> None:
    page = visit()
    column = head(page, title).first
    page.evaluate("document.querySelectorAll('[aria-sort]').forEach((one) => one.removeAttribute('aria-sort'))")
    directions = []
    for _ in range(2):
        column.locator("button").click()
        directions.append(column.get_attribute("aria-sort"))
        values = figures(page, title)
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=directions[-1] == "descending")
        assert values == known + [None] * (len(values) - len(known)), "missing figures come last either way"
        assert page.locator("#board-1 [aria-sort]").count() == 1
    better_is_less = title in ("Depth", "MACs", "Latency")
    assert directions == (["ascending", "descending"] if better_is_less else ["descending", "ascending"])
    assert len(values) == 25
    assert (None in values) == (title in ("Boundary", "Δm", "Latency"))


def test_names_sort_as_people_read_them(visit: Any) -> None:
    page = visit()
    head(page, "Backbone").locator("button").click()
    names = cells(page, "Backbone")
    assert names == sorted(names)
    head(page, "Backbone").locator("button").click()
    assert cells(page, "Backbone") == sorted(names, reverse=True)


def test_sorting_leaves_the_other_tables_alone(visit: Any) -> None:
    page = visit()
    before = cells(page, "Method", "#board-2")
    head(page, "Depth").locator("button").click()
    assert cells(page, "Method", "#board-2") == before


def test_heads_are_sorted_with_the_keyboard_alone(visit: Any) -> None:
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    button = head(page, "Depth").locator("button")
    for _ in range(60):
        if button.evaluate("(one) => one === document.activeElement"):
            break
        page.keyboard.press("Tab")
    style = button.evaluate("(one) => [getComputedStyle(one).outlineStyle, getComputedStyle(one).outlineWidth]")
    assert style == ["solid", "3px"], "the focus is seen"
    page.keyboard.press("Enter")
    assert head(page, "Depth").get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    assert head(page, "Depth").get_attribute("aria-sort") == "descending"
    values = figures(page, "Depth")
    assert values == sorted(values, reverse=True)  # type: ignore[type-var]


def test_filters_show_what_matches_all_of_them(visit: Any) -> None:
    page = visit()
    everything = shown(page)
    assert everything > 250
    choose(page, "Data set", "nyud")
    choose(page, "Source", "measured")
    choose(page, "Method", "share")
    assert shown(page) == 5
    assert page.locator("section[data-board]:visible").count() == 1
    assert page.get_by_role("status").inner_text().startswith("5 of ")
    choose(page, "Backbone", "vit-b16")
    assert shown(page) == 1
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function(f"document.getElementById('status').textContent.startsWith('{everything} of')")
    assert shown(page) == everything


@pytest.mark.parametrize(
    ("label", "value", "badge"),
    [("Images", "synthetic", "synthetic"), ("Images", "real", "real"), ("Source", "reported", "reported")],
)
def test_tables_of_other_kinds_are_hidden(label: str, value: str, badge: str, visit: Any) -> None:
    page = visit()
    choose(page, label, value)
    boards = page.locator("section[data-board]:visible")
    assert 0 < boards.count() < page.locator("section[data-board]").count()
    assert boards.locator(f"h2 .badge.{badge}").count() == boards.count()
    links = page.locator("nav li:visible")
    assert links.count() == boards.count()


def test_the_search_takes_several_words_in_any_order(visit: Any) -> None:
    page = visit()
    page.get_by_label("Search").fill("B16 Share")
    assert shown(page) == 4
    page.get_by_label("Search").fill("no such method")
    assert shown(page) == 0
    assert page.get_by_role("status").inner_text().startswith("0 of ")


def test_filtered_rows_stay_hidden_when_the_table_is_sorted(visit: Any) -> None:
    page = visit()
    page.get_by_label("Search").fill("share")
    before = shown(page)
    head(page, "Depth").locator("button").click()
    assert shown(page) == before


def test_the_list_of_tables_leads_to_them(visit: Any) -> None:
    page = visit()
    page.locator("nav.tables a").nth(4).click()
    page.wait_for_function("Math.abs(document.getElementById('board-5').getBoundingClientRect().top) < 50")


def test_without_a_script_every_row_is_there(visit: Any) -> None:
    with_script = shown(visit())
    page = visit(java_script_enabled=False)
    assert shown(page) == with_script
    assert page.locator("#filters").is_hidden()
    assert page.locator("table button").count() == 0
    assert page.locator("section[data-board] svg").first.is_visible()


GROUND = "getComputedStyle(document.body).backgroundColor"


def test_the_page_follows_the_readers_light_or_dark_setting(visit: Any) -> None:
    light, dark = (visit(color_scheme=scheme) for scheme in ("light", "dark"))
    assert light.evaluate(GROUND) == "rgb(246, 247, 249)"
    assert dark.evaluate(GROUND) == "rgb(15, 20, 25)"
    text = "getComputedStyle(document.querySelector('figure svg text')).fill"
    assert light.evaluate(text) != dark.evaluate(text), "the pictures follow it too"


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_but_tables_scrolls_sideways_on_a_phone(width: int, visit: Any, site: Path) -> None:
    record = sorted((site / "records").glob("nyud-share*.html"))[0].relative_to(site).as_posix()
    for name in ("index.html", record):
        page = visit(name, viewport={"width": width, "height": 800}, is_mobile=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page = visit(viewport={"width": width, "height": 800})
    scroll = page.locator("#board-1 .scroll")
    assert scroll.evaluate("(box) => box.scrollWidth > box.clientWidth")
    first = page.locator("#board-1 tbody th").first
    before = first.bounding_box()
    scroll.evaluate("(box) => { box.scrollLeft = 300; }")
    assert scroll.evaluate("(box) => box.scrollLeft") > 0
    assert first.bounding_box()["x"] == before["x"], "the methods' names stay in sight"


def test_names_from_records_run_no_script(visit: Any, site: Path) -> None:
    attacked = next(path for path in (site / "records").glob("*.html") if "window.hacked" in path.read_text())
    for name in ("index.html", attacked.relative_to(site).as_posix()):
        page = visit(name)
        assert "<script>window.hacked=1</script>" in page.locator("body").inner_text()
        assert page.evaluate("window.hacked") is None


def test_a_record_is_reached_and_its_command_copied(visit: Any) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.locator("#board-1 tbody a", has_text="share").first.click()
    page.wait_for_load_state()
    assert page.locator("h1").inner_text().startswith("share")
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").startswith("harness run -m share")
