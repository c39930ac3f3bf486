"""The values that papers and repositories report, as records.

``results/published/results.csv`` holds one row per reported model; it is installed with the package.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

import harness
from harness.records import (
    DatasetInfo,
    Gain,
    MethodInfo,
    Provenance,
    Record,
    Reported,
    Software,
    build_record,
    conditions,
)
from harness.records.gain import gain_over
from harness.records.metric import Metric, Unit

COPIED_AT = datetime(2026, 11, 25, tzinfo=UTC)
"""When the rows were last compared with their sources."""

_DATASETS = {"NYUD-v2": "nyud", "PASCAL-Context": "pascal-context"}
_SINGLE_TASK = re.compile(r"single-task|^STL\b", re.IGNORECASE)

_FIGURES: Mapping[str, tuple[str, str, Unit, bool]] = {
    "semseg_miou": ("semseg", "miou", "fraction", True),
    "parsing_miou": ("parts", "miou", "fraction", True),
    "saliency_maxf": ("saliency", "maxf", "fraction", True),
    "saliency_miou": ("saliency", "miou", "fraction", True),
    "depth_rmse": ("depth", "rmse", "m", False),
    "normals_merr": ("normals", "merr", "deg", False),
    "normals_rmse": ("normals", "rmse", "deg", False),
    "boundary_odsf": ("boundary", "odsf", "fraction", True),
}
"""Column, in the papers' order, to task, metric, unit and whether higher is better; fractions in percent."""

_Row = dict[str, str]


@cache
def _rows() -> tuple[_Row, ...]:
    text = files("harness.results.published").joinpath("results.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def published_records() -> list[Record]:
    """Return the reported values of NYUD-v2 and PASCAL-Context as records, in the order of the file.

    What a source scores is told by all its rows on a data set; a value that one of these rows lacks is null. The gain
    is computed again against the single-task row on the same backbone that scores the same metrics: the one of the
    row's own source where that prints one, else the only other one. The gain as printed stands in ``reported``.
    """
    scored: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in _rows():
        scored[row["dataset"], row["source"]] |= {column for column in _FIGURES if row[column]}
    records = [_record(row, scored[row["dataset"], row["source"]]) for row in _rows()]
    for record in records:
        record.delta_m = _gain(record, records)
    return records


def _record(row: _Row, scored: Iterable[str]) -> Record:
    dataset = _DATASETS[row["dataset"]]
    columns = [column for column in _FIGURES if column in scored]
    name = f"{row['method']} {row['backbone']}".strip()
    software = Software(version=harness.__version__, git_commit=None, git_dirty=None)
    return build_record(
        f"{dataset}/reported.{re.sub('[^a-z0-9+]+', '-', name.lower()).strip('-')}",
        row,
        Provenance(COPIED_AT, software, command=[], system_id="not stated", environment={}),
        _method(row),
        DatasetInfo.without_images(dataset, synthetic=False),
        source="reported",
        status="complete",
        config={},
        protocol_name="as printed",
        protocol={_FIGURES[column][0]: _FIGURES[column][1] for column in columns},
        budget=None,
        input_size=_size(row["input_size"]),
        precision=None,
        seed=None,
        metrics={_FIGURES[column][0]: {_FIGURES[column][1]: _metric(column, row[column])} for column in columns},
        reported=_origin(row),
    )


def _method(row: _Row) -> MethodInfo:
    return MethodInfo(
        name=row["method"],
        summary=row["note"] or row["method"],
        paper=row["venue_year"] or None,
        is_reference=bool(_SINGLE_TASK.search(row["method"])),
        backbone=row["backbone"] or None,
        init="reported",
        checkpoint=None,
        options={},
        plugin=None,
    )


def _metric(column: str, text: str) -> Metric:
    task, name, unit, higher = _FIGURES[column]
    value = float(text) / (100 if unit == "fraction" else 1) if text else None
    return Metric(
        value=value,
        unit=unit,
        higher_is_better=higher,
        n=None,
        protocol=f"{task}.{name}@as-printed",
        reason=None if text else "not printed in the source",
    )


def _origin(row: _Row) -> Reported:
    printed = {key: float(row[key]) if row[key] else None for key in ("delta_m", "gflops", "params_m", "latency_ms")}
    return Reported(
        source=row["source"],
        locator=row["locator"],
        tier="own" if row["tier"] == "own" else "quoted",
        note=row["note"] or None,
        differs=row["differs"] or None,
        delta_m_percent=printed["delta_m"],
        gflops=printed["gflops"],
        parameters_m=printed["params_m"],
        latency_ms=printed["latency_ms"],
    )


def _size(text: str) -> tuple[int, int] | None:
    """Return height and width of ``448x576`` or ``480x640 (repo config)``."""
    found = re.match(r"(\d+)x(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _gain(record: Record, records: Sequence[Record]) -> Gain:
    backbone = record.method.backbone
    if backbone is None:
        return Gain(value=None, reference=None, reason="the source does not state the backbone")
    references = [
        other
        for other in records
        if other.method.is_reference and other.method.backbone == backbone and conditions(other) == conditions(record)
    ]
    if not references:
        return Gain(value=None, reference=None, reason="no single-task values on this backbone by these metrics")
    return gain_over(record, min(references, key=lambda other: _document(other) != _document(record)))


def _document(record: Record) -> str | None:
    return record.reported.source if record.reported else None
