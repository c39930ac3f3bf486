"""Frontier of a results folder: which records and settings are drawn, and where."""

from pathlib import Path

import pytest
from records import record

from harness.records import Record, write_record
from harness.records.calibration import CALIBRATION, Walked, read_walk, write_walk
from harness.records.costs import Macs, Spread
from harness.records.gain import fill_gains
from harness.report.frontier import FRONTIER, draw_frontier, walked_paths, write_frontier


def with_macs(made: Record, giga: float, folder: Path) -> Record:
    spread = Spread.of([giga * 1e9])
    made.macs = Macs(
        dense=spread, executed=spread, ideal=None, simulated=None, per_part={}, per_task={}, unseen={},
        elementwise_outputs=0, counters=[],
    )  # fmt: skip
    (folder / made.run_id).mkdir(parents=True)
    write_record(made, folder / made.run_id)
    return made


@pytest.fixture
def results(tmp_path: Path) -> list[Record]:
    """Return records of three methods in a folder, one of which was calibrated."""
    made = [
        with_macs(record("single-task", (0.4, 0.7, 30.0, 0.6)), 4.0, tmp_path),
        with_macs(record("multi-task", (0.38, 0.75, 33.0, 0.5)), 2.0, tmp_path),
        with_macs(record("share", (0.4, 0.7, 31.0, 0.6)), 2.2, tmp_path),
    ]
    fill_gains(made, tmp_path)
    walk = [
        Walked(task="depth", title="head alone", macs=0, loss=4.0, chosen=False),
        Walked(task="depth", title="correction", macs=10**8, loss=0.4, chosen=True),
        Walked(task="depth", title="all", macs=5 * 10**8, loss=0.0, chosen=False),
        Walked(task="normals", title="head alone", macs=0, loss=None, chosen=False),
    ]
    write_walk(walk, tmp_path / made[2].run_id)
    return made


def test_walked_settings_lie_beside_their_run(results: list[Record], tmp_path: Path) -> None:
    share = results[2]
    assert share.delta_m is not None
    gain = share.delta_m.value
    assert gain is not None
    [path] = walked_paths(share, tmp_path)
    # MACs of the setting instead of those in force, and its loss beyond theirs, as a mean over four tasks
    expected = [(2.1, gain - 3.6 / 4), (2.2, gain), (2.6, gain + 0.4 / 4)]
    assert path == [pytest.approx(place) for place in expected]
    assert walked_paths(results[0], tmp_path) == []


def test_the_picture_shows_every_configuration_of_the_folder(results: list[Record], tmp_path: Path) -> None:
    assert write_frontier(results[0], tmp_path)
    picture = (tmp_path / "nyud-synth" / FRONTIER).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert draw_frontier(results, tmp_path) == picture, "equal records give equal bytes"
    (tmp_path / results[2].run_id / CALIBRATION).unlink()
    assert draw_frontier(results, tmp_path) != picture
    assert draw_frontier(results[:1], tmp_path) is None, "one point is no frontier"


def test_a_damaged_walk_is_as_none(results: list[Record], tmp_path: Path) -> None:
    folder = tmp_path / results[2].run_id
    (folder / CALIBRATION).write_text('[{"task": 3}]')
    assert read_walk(folder) == []
