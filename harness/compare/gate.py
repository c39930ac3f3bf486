"""Holds the records of HEAD against those of BASE."""

from collections.abc import Sequence

from harness.compare.figures import exact_figures
from harness.compare.latency import latency_figures
from harness.compare.matching import match
from harness.compare.result import Comparison, Row
from harness.compare.rows import RowLabels, differences, setting
from harness.compare.slowdown import TEST
from harness.compare.tolerance import Tolerances
from harness.records.load import Stored
from harness.report.text import printable


def compare(
    base: Sequence[Stored], head: Sequence[Stored], tolerances: Tolerances, allow_removed: bool = False
) -> Comparison:
    """Compare the rows of two results folders.

    Args:
        base: Records of BASE.
        head: Records of HEAD.
        tolerances: How much worse values may be.
        allow_removed: Let pass what BASE has and HEAD cannot be held against.

    Raises:
        UsageError: records of one folder cannot be told apart, or hold what there is not.
    """
    labels = RowLabels(*([entry.record for entry in side] for side in (base, head)))
    matched = match(base, head)
    rows = [_row(labels.of(one.record), one, other, tolerances) for one, other in matched.pairs]
    rows += [
        Row(label=labels.of(entry.record), base=printable(entry.record.run_id), head=None, fate="removed")
        for entry in matched.removed
    ]
    rows += [
        Row(label=labels.of(entry.record), base=None, head=printable(entry.record.run_id), fate="added")
        for entry in matched.added
    ]
    return _comparison(sorted(rows, key=lambda row: row.label), matched.pairs, allow_removed)


def with_streams(comparison: Comparison | None, rows: Sequence[Row], allow_removed: bool = False) -> Comparison:
    """Return a comparison with the rows of streams behind those of still images; None stands for no still images."""
    if comparison is None:
        return _comparison(list(rows), (), allow_removed)
    return comparison.model_copy(update={"rows": [*comparison.rows, *rows]})


def compare_pair(base: Stored, head: Stored, tolerances: Tolerances, allow_removed: bool = False) -> Comparison:
    """Compare two records, though they may be of two methods.

    Args:
        base: Record of BASE.
        head: Record of HEAD.
        tolerances: How much worse values may be.
        allow_removed: Let pass what BASE has and HEAD cannot be held against.

    Raises:
        UsageError: a record holds what there is not.
    """
    labels = RowLabels([base.record, head.record])
    names = dict.fromkeys(labels.of(entry.record) for entry in (base, head))
    row = _row(" → ".join(names), base, head, tolerances)
    return _comparison([row], [(base, head)], allow_removed)


def _row(label: str, base: Stored, head: Stored, tolerances: Tolerances) -> Row:
    one, other = base.record, head.record
    reasons = differences(setting(one), setting(other))
    figures = [
        *exact_figures(base, head, tolerances),
        *latency_figures(base, head, tolerances.of("latency")),
    ]
    return Row(
        label=label,
        base=printable(one.run_id),
        head=printable(other.run_id),
        fate="incomparable" if reasons else "compared",
        reasons=reasons,
        figures=[] if reasons else figures,
    )


def _comparison(rows: list[Row], pairs: Sequence[tuple[Stored, Stored]], allow_removed: bool) -> Comparison:
    notes = [f"{what} (BASE → HEAD)" for base, head in pairs for what in differences(_software(base), _software(head))]
    return Comparison(allow_removed=allow_removed, latency_test=TEST, notes=list(dict.fromkeys(notes)), rows=rows)


def _software(entry: Stored) -> dict[str, object]:
    """Return what may change values beside the code: versions of packages, and settings of the process."""
    known = entry.record.environment
    facts = [known.get(name) for name in ("packages", "variables")]
    return {name: value for group in facts if isinstance(group, dict) for name, value in group.items()}
