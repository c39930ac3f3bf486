"""Mutated records beside a sound one: read, or left out with a warning, and then tabulated, plotted and compared."""

import copy
import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzzing.mutate import mutated
from fuzzing.subjects import time_limit
from records import record

from harness.compare import Tolerances, compare
from harness.errors import HarnessError
from harness.records import RECORD_NAME, UnreadableRecord
from harness.records.costs import Energy
from harness.records.load import Stored, load_stored
from harness.records.reference import with_gains
from harness.report.costs import cost_tables
from harness.report.formats import FORMATS
from harness.report.plot import scatter
from harness.report.table import build_tables

_ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2, 0.5, -0.0, 1e-320, 1e300, 10**400, 2**63, float("nan"), float("inf"), -float("inf"),
    "", "x" * 5000, "\x1b[2J\u202e", "=1+1", "../..", "<script>", "\ud800", "NaN", "1", [], {}, [[]], [None], {"": {}},
    [1] * 1000, {"a": {"b": [{}]}}, "2026-01-02T00:00:00Z", "9999-99-99",
)  # fmt: skip
_KEYS = ("evil", "", "x" * 300, "__class__", "value", "headline", "\x00")


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a JSON value."""
    found: list[tuple[Any, Any]] = []
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        found += [(content, key), *_places(value)]
    return found


def _edited(content: Any, rng: random.Random) -> Any:
    """Return a JSON value with one to three edits: another value, a key less, a key more, two values exchanged."""
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        places = _places(content)
        if not places:
            break
        (holder, key), (other, there) = rng.choice(places), rng.choice(places)
        match rng.randrange(6):
            case 0 | 1 | 2:
                holder[key] = rng.choice(_ODD)
            case 3:
                del holder[key]
            case 4 if isinstance(holder, dict):
                holder[rng.choice(_KEYS)] = rng.choice(_ODD)
            case _:
                holder[key] = copy.deepcopy(other[there])
    return content


def attempt_record(sound: bytes, seed: int, folder: Path) -> str:
    """Tabulate, plot and compare a sound record and a mutated one; the same seed gives the same record.

    Returns:
        ``read``, or the warning with which the mutated one was left out.

    Raises:
        Exception: whatever escaped, or what went wrong with the sound one; that is a fault.
    """
    rng = random.Random(f"record {seed}")
    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    if rng.random() < 0.2:
        changed = mutated(sound, rng)
    else:
        changed = json.dumps(_edited(json.loads(sound), rng)).encode("utf-8", "backslashreplace")
    for name, content in (("sound", sound), ("changed", changed)):
        (results / name).mkdir(parents=True)
        (results / name / RECORD_NAME).write_bytes(content)
    with warnings.catch_warnings(record=True) as caught, time_limit():
        warnings.simplefilter("always")
        stored = load_stored(results)
        _use(stored)
    said = [str(one.message) for one in caught if issubclass(one.category, UnreadableRecord)]
    if len(stored) != 2 - bool(said):
        raise AssertionError(f"{len(stored)} records, and said was {said}")
    if any("\n" in line for line in said):
        raise AssertionError(f"the warning is no line: {said}")
    return said[0] if said else "read"


def _use(stored: list[Stored]) -> None:
    """Run everything that reads records; any of it may refuse, in one line."""
    records = [one.record for one in stored]
    calls: tuple[Callable[[], object], ...] = (
        lambda: [form(build_tables(with_gains(records), "wide")) for form in FORMATS.values()],
        lambda: cost_tables(records),
        lambda: scatter(records, "params", "macs").render(".svg"),
        lambda: compare(stored, stored[:1], Tolerances.parse([])).rows,
    )
    for call in calls:
        try:
            call()
        except HarnessError as error:
            if "\n" in str(error) or not str(error).strip():
                raise AssertionError(f"the message is no line: {error!s}") from error


def sound_record(root: Path) -> bytes:
    """Return a record with accuracies and costs: one of the gate's, with the metrics of a scored one."""
    [path] = root.glob("results/baseline/nyud-synth/share.*/record.json")
    content = json.loads(path.read_text())
    scored = record("share", (0.4, 0.6, 25.0, 0.6), energy=Energy(joules_per_image=2.0, batch_size=1))
    filled = json.loads(scored.model_dump_json())
    return json.dumps(content | {key: filled[key] for key in ("metrics", "energy", "status")}).encode()
