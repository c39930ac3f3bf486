"""Which rows are held against each other, and what their exact figures come to."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import metric, record
from timed import NOTHING, macs, write

from harness.compare import Comparison, Figure, Row, Tolerances, compare, compare_pair
from harness.errors import UsageError
from harness.records import Record
from harness.records.costs import Parameters, Storage

SCORES = (0.4, 0.6, 20.0, 0.7)


def one(name: str = "m", values: tuple[float | None, ...] = SCORES, **changes: Any) -> Record:
    return record(name, values, **({"macs": macs(1000)} | changes))


def compared(
    folder: Path, base: list[Record], head: list[Record], *tolerance: str, allow_removed: bool = False
) -> Comparison:
    for side in (base, head):
        for number, each in enumerate(side):
            each.run_id = f"nyud-synth/{number}"
    sides = (write(folder / "base", *base), write(folder / "head", *head))
    return compare(*sides, Tolerances.parse(tolerance), allow_removed)


def only(comparison: Comparison) -> Row:
    [row] = comparison.rows
    return row


def figure(comparison: Comparison, key: str) -> Figure:
    return next(figure for figure in only(comparison).figures if figure.key == key)


def verdict(base: Record, head: Record, key: str, folder: Path, *tolerance: str) -> str:
    return figure(compared(folder, [base], [head], *tolerance), key).verdict


def test_a_repeat_has_no_change_and_every_exact_figure(tmp_path: Path) -> None:
    comparison = compared(tmp_path, [one()], [one()])
    assert not comparison.failed
    assert [(f.key, f.verdict) for f in only(comparison).figures] == [
        ("metrics.semseg", "same"),
        ("metrics.depth", "same"),
        ("metrics.normals", "same"),
        ("metrics.boundary", "same"),
        ("macs.executed", "same"),
        ("macs.dense", "same"),
        ("params.total", "same"),
        ("bytes.artifact_bytes", "same"),
    ]
    assert [(f.base, f.unit) for f in only(comparison).figures[:4]] == [
        (40.0, "points"),
        (0.6, "m"),
        (20.0, "°"),
        (70.0, "points"),
    ]


@pytest.mark.parametrize(
    ("key", "head"),
    [
        ("metrics.semseg", one(values=(0.398, 0.6, 20.0, 0.7))),
        ("metrics.depth", one(values=(0.4, 0.6011, 20.0, 0.7))),
        ("metrics.normals", one(values=(0.4, 0.6, 20.06, 0.7))),
        ("metrics.boundary", one(values=(0.4, 0.6, 20.0, 0.698))),
        ("macs.executed", one(macs=macs(1001))),
        ("params.total", one(parameters=Parameters(total=1_500_001, per_part={}))),
        ("bytes.artifact_bytes", one(storage=Storage(artifact_bytes=6_000_001, per_file={}))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fifth_of_a_point_one_mac_and_one_byte_are_found_and_their_gain_is_none(
    key: str, head: Record, tmp_path: Path
) -> None:
    worse = compared(tmp_path / "worse", [one()], [head])
    assert worse.failed
    assert figure(worse, key).verdict == "regressed"
    better = compared(tmp_path / "better", [head], [one()])
    assert not better.failed
    assert figure(better, key).verdict == "improved"


def test_tolerances_are_in_the_units_of_the_tables_or_relative(tmp_path: Path) -> None:
    head = one(values=(0.399, 0.61, 20.5, 0.7), macs=macs(1010))
    assert verdict(one(), head, "metrics.semseg", tmp_path) == "within", "0.1 points by default, and not a bit less"
    assert verdict(one(), head, "metrics.semseg", tmp_path, "metrics=0.09") == "regressed"
    assert verdict(one(), head, "metrics.depth", tmp_path, "metrics=0.1") == "within"
    assert verdict(one(), head, "metrics.depth", tmp_path, "metrics=0.1,depth=0.005") == "regressed"
    assert verdict(one(), head, "metrics.normals", tmp_path, "metrics=2%") == "regressed"
    assert verdict(one(), head, "metrics.normals", tmp_path, "normals=2.5%") == "within"
    assert verdict(one(), head, "macs.executed", tmp_path, "macs=9") == "regressed"
    assert verdict(one(), head, "macs.executed", tmp_path, "macs=1%") == "within"


@given(st.floats(0, 100), st.floats(0, 1))
def test_a_change_of_the_tolerance_passes_and_a_larger_one_does_not(base: float, amount: float) -> None:
    tolerance = Tolerances.parse([f"metrics={amount!r}"]).of("metrics")
    assert tolerance.allows((base + amount) - base - 1e-13, base)
    assert not tolerance.allows(1.001 * amount + 1e-9, base)


def test_a_figure_that_became_null_is_lost_with_the_reason_and_one_that_came_is_gained(tmp_path: Path) -> None:
    null = one(values=(None, 0.6, 20.0, 0.7), macs=None, unmeasured={"macs": "no rule"})
    lost = compared(tmp_path / "lost", [one()], [null], allow_removed=True)
    assert lost.failed
    assert (figure(lost, "metrics.semseg").verdict, figure(lost, "metrics.semseg").reason) == ("lost", "not measured")
    assert (figure(lost, "macs.executed").verdict, figure(lost, "macs.executed").reason) == ("lost", "no rule")
    gained = compared(tmp_path / "gained", [null], [one()])
    assert not gained.failed
    assert figure(gained, "metrics.semseg").verdict == "gained"
    assert figure(gained, "macs.executed").verdict == "gained"


def test_a_run_that_failed_has_lost_its_figures(tmp_path: Path) -> None:
    failed = one(values=(), macs=None, status="failed", failure="out of ideas")
    comparison = compared(tmp_path, [one()], [failed])
    assert comparison.failed
    assert figure(comparison, "metrics.depth").reason == "out of ideas"


def test_added_and_removed_rows_are_named_and_a_removed_one_fails(tmp_path: Path) -> None:
    comparison = compared(tmp_path, [one("a"), one("b")], [one("b"), one("c")])
    assert [(row.label, row.fate) for row in comparison.rows] == [
        ("a (nyud-synth, vit-micro)", "removed"),
        ("b (nyud-synth, vit-micro)", "compared"),
        ("c (nyud-synth, vit-micro)", "added"),
    ]
    assert comparison.failures == ["a (nyud-synth, vit-micro): removed"]
    assert not compared(tmp_path, [one("a"), one("b")], [one("b"), one("c")], allow_removed=True).failed


def dataset(**changes: Any) -> dict[str, Any]:
    return {"dataset": one().dataset.model_copy(update=changes)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (dataset(fingerprint="g"), "data fingerprint: f → g"),
        (dataset(synthetic=False), "synthetic: True → False"),
        (dataset(n_evaluated=31), "images scored: 32 → 31"),
        ({"protocol": {"depth_pool": "image"}}, "protocol depth_pool: None → image"),
        ({"source": "reported"}, "source: measured → reported"),
        ({"input_size": (128, 144)}, "input size: 112x144 → 128x144"),
    ],
)
def test_rows_of_other_data_protocol_or_source_are_never_compared(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    row = only(compared(tmp_path, [one()], [one(**changes)]))
    assert (row.fate, row.figures, row.reasons) == ("incomparable", [], [reason])
    assert compared(tmp_path, [one()], [one(**changes)]).failed, "a gate that compares nothing must not pass"
    assert not compared(tmp_path, [one()], [one(**changes)], allow_removed=True).failed
    pair = compare_pair(*write(tmp_path / "pair", one("a"), one("b", **changes)), Tolerances.parse([]))
    assert only(pair).figures == [], "nor as two records"


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"budget": "full"}, {"seed": 1}, dataset(name="nyud")])
def test_other_precisions_budgets_seeds_and_data_sets_are_other_rows(changes: dict[str, Any], tmp_path: Path) -> None:
    comparison = compared(tmp_path, [one()], [one(**changes)])
    assert sorted(row.fate for row in comparison.rows) == ["added", "removed"]


def test_costs_alone_are_not_held_against_a_run(tmp_path: Path) -> None:
    costs = one(values=(), dataset=NOTHING, budget=None)
    assert sorted(row.fate for row in compared(tmp_path, [one()], [costs]).rows) == ["added", "removed"]
    pair = compare_pair(*write(tmp_path / "pair", one("a"), one("b", dataset=NOTHING)), Tolerances.parse([]))
    assert "kind: run → costs" in only(pair).reasons


def test_one_row_under_two_protocols_is_two_rows(tmp_path: Path) -> None:
    both = [one(protocol={"p": "x"}, protocol_name="x"), one(protocol={"p": "y"}, protocol_name="y")]
    assert [row.fate for row in compared(tmp_path, both, both).rows] == ["compared", "compared"]
    assert [row.label for row in compared(tmp_path, both, both).rows] == [
        "m protocol=x (nyud-synth, vit-micro)",
        "m protocol=y (nyud-synth, vit-micro)",
    ]


def test_exact_figures_are_compared_across_machines(tmp_path: Path) -> None:
    assert verdict(one(), one(system_id="t", macs=macs(1001)), "macs.executed", tmp_path) == "regressed"


def test_a_metric_of_another_convention_is_not_comparable_and_fails(tmp_path: Path) -> None:
    head = one()
    head.metrics["depth"]["headline"] = metric(0.5, "m", False).model_copy(update={"protocol": "q"})
    comparison = compared(tmp_path, [one()], [head])
    assert figure(comparison, "metrics.depth").verdict == "incomparable"
    assert figure(comparison, "metrics.depth").reason == "protocol: p → q"
    assert comparison.failed


def test_a_record_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"BASE: .* are of the same row; keep one of them"):
        compared(tmp_path, [one(), one()], [one()])


def test_labels_tell_what_varies_and_nothing_else(tmp_path: Path) -> None:
    sides = [one(), one()]
    for side, rows in zip(sides, (0.1, 0.2), strict=True):
        side.method.options = {"rows": rows, "mode": "gated"}
    assert [row.label for row in compared(tmp_path, sides, sides).rows] == [
        "m rows=0.1 (nyud-synth, vit-micro)",
        "m rows=0.2 (nyud-synth, vit-micro)",
    ]


def test_versions_that_changed_are_noted(tmp_path: Path) -> None:
    base, head = (one(environment={"packages": {"torch": version, "numpy": "2"}}) for version in ("2.12", "2.13"))
    assert compared(tmp_path, [base], [head]).notes == ["torch: 2.12 → 2.13 (BASE → HEAD)"]


def optioned(**options: object) -> Record:
    subject = one()
    return subject.model_copy(update={"method": subject.method.model_copy(update={"options": options})})


def test_an_option_that_a_method_has_gained_parts_no_rows(tmp_path: Path) -> None:
    fates = {row.fate for row in compared(tmp_path / "a", [optioned(rows=0.2)], [optioned(rows=0.2, engine="x")]).rows}
    assert not fates & {"added", "removed"}
    # Another value of an option that both know is another row, and so are two rows that the new one tells apart.
    other = compared(tmp_path / "b", [optioned(rows=0.2)], [optioned(rows=0.3, engine="x")])
    assert sorted(row.fate for row in other.rows) == ["added", "removed"]
    two = [optioned(rows=0.2, engine=name).model_copy(update={"run_id": f"nyud-synth/{name}"}) for name in ("x", "y")]
    doubtful = compared(tmp_path / "c", [optioned(rows=0.2)], two)
    assert sorted(row.fate for row in doubtful.rows) == ["added", "added", "removed"]
