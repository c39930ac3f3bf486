"""A site of several hundred records, built once."""

from pathlib import Path

import pytest
from many_records import hostile, many_records

from harness.leaderboard.entries import Entry
from harness.leaderboard.site import render_site, write_site
from harness.records.literature import published_records


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a site: 300 measured and all reported records, a failed run, and one whose every name is an attack."""
    failed = many_records(1)[0].model_copy(update={"run_id": "nyud/failed", "status": "failed", "failure": "it broke"})
    entries = [Entry(record) for record in [*many_records(), *published_records(), failed, hostile()]]
    folder = tmp_path_factory.mktemp("leaderboard") / "site"
    write_site(render_site(entries, title="A board", accuracy="delta_m"), folder)
    return folder
