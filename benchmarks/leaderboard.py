"""Time to build, open, sort and filter the leaderboard of several hundred records.

The records are those of the tests: every method, backbone and data set, with the reported figures beside them.
Opening ends when the tables can be sorted and filtered; a sort and a filter end when the page is drawn again.

    python benchmarks/leaderboard.py [--seeds 3] [--repeats 5]
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from many_records import many_records

from harness.leaderboard.entries import Entry
from harness.leaderboard.site import render_site, write_site
from harness.records.literature import published_records

DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"

SORT_ALL = """async () => {
    const start = performance.now();
    for (const table of document.querySelectorAll("table.ranking")) table.tHead.querySelectorAll("button")[3].click();
    return (await drawn()) - start;
}"""

FILTER = """async () => {
    const start = performance.now();
    const form = document.getElementById("filters");
    form.elements.text.value = form.elements.text.value ? "" : "share";
    form.dispatchEvent(new Event("input"));
    return (await drawn()) - start;
}"""


def build(seeds: int, folder: Path) -> tuple[int, float]:
    """Build the site; return the number of records and the seconds."""
    entries = [Entry(record) for record in [*many_records(seeds), *published_records()]]
    start = time.perf_counter()
    write_site(render_site(entries, title="Leaderboard", accuracy="delta_m"), folder)
    return len(entries), time.perf_counter() - start


def opened(page: Page, folder: Path) -> float:
    """Open the index; return the milliseconds from the start of the navigation to the first drawing after it."""
    page.goto((folder / "index.html").as_uri())
    return float(page.evaluate(DRAWN))


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="a hundred records each")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch) / "site"
        count, seconds = build(options.seeds, folder)
        size = (folder / "index.html").stat().st_size
        print(f"{count} records built in {seconds:.1f} s; index.html {size / 1e3:.0f} kB")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        rows: dict[str, list[float]] = {"open": [], "sort all tables": [], "filter": []}
        for _ in range(options.repeats):
            rows["open"].append(opened(page, folder))
            page.evaluate(f"window.drawn = {DRAWN}")
            rows["sort all tables"].append(page.evaluate(SORT_ALL))
            rows["filter"].append(page.evaluate(FILTER))
        browser.close()
    for name, times in rows.items():
        print(f"{name}: {median(times):.0f} ms (median of {len(times)})")


if __name__ == "__main__":
    main()
