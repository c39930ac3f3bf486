"""Which record a gain is taken against, and what is never mixed with it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from records import metric, origin, record

from harness.records import Record, StageInfo, read_record, write_record
from harness.records.gain import fill_gains, gain_over_one, is_reference_of
from harness.records.reference import with_gains
from harness.report.values import QUANTITIES, absence

SCORES = (0.4, 0.6, 20.0, 0.7)


def trained(name: str, iterations: int | None = None, **changes: Any) -> Record:
    stages = [StageInfo(name="joint", iterations=iterations or 340, final_loss=1.0)]
    return record(name, SCORES, config={"iterations": iterations}, training=stages, **changes)


def test_a_short_trial_is_no_reference_of_a_whole_run() -> None:
    whole, trial = trained("single-task"), trained("single-task", iterations=4, run_id="nyud-synth/trial")
    ours = trained("ours")
    assert is_reference_of(whole, ours)
    assert not is_reference_of(trial, ours)
    [gain] = [one.delta_m for one in with_gains([trial, whole, ours]) if one.method.name == "ours"]
    assert gain is not None
    assert gain.reference == whole.run_id


def test_of_several_references_none_is_picked(tmp_path: Path) -> None:
    first = trained("single-task", run_id="nyud-synth/a")
    second = trained("single-task", run_id="nyud-synth/b")
    ours = trained("ours")
    for one in (first, second, ours):
        write_record(one, tmp_path / one.run_id)
    fill_gains([ours], tmp_path)
    stored = read_record(tmp_path / ours.run_id).delta_m
    assert stored is not None
    assert (stored.value, stored.reason) == (None, "several references fit: nyud-synth/a, nyud-synth/b")


def test_a_paper_s_saliency_by_another_metric_is_not_drawn_as_max_f() -> None:
    by_iou = record(source="reported", reported=origin(), metrics={"saliency": {"miou": metric(0.6, "fraction", True)}})
    by_f = record(source="reported", reported=origin(), metrics={"saliency": {"maxf": metric(0.8, "fraction", True)}})
    assert QUANTITIES["saliency"].pick(by_iou, None) is None
    assert absence(by_iou, "saliency") == "no saliency (reported by another metric)"
    assert QUANTITIES["saliency"].pick(by_f, None) == 80.0


def test_saliency_scored_image_by_image_gains_by_the_mean_iou_as_in_the_papers() -> None:
    def scored(method: str, maxf: float, miou: float | None) -> Record:
        found = {"maxf": metric(maxf, "fraction", True)}
        if miou is not None:
            found["miou"] = metric(miou, "fraction", True)
        return record(method, metrics={"saliency": found})

    by_iou = gain_over_one(scored("ours", 0.9, 0.66), [scored("single-task", 0.8, 0.6)])
    by_f = gain_over_one(scored("ours", 0.9, None), [scored("single-task", 0.8, None)])
    assert (by_iou.value, by_f.value) == (pytest.approx(10.0), pytest.approx(12.5))


def test_the_reference_of_the_newest_code_counts() -> None:
    old, new = reference_of_code("old", day=1), reference_of_code("new", day=2)
    ours = record("multi-task", (0.5, 1.0, 20.0, 0.7))
    assert gain_over_one(ours, [new, old]).reference == new.run_id
    assert gain_over_one(ours, [old, new]).reference == new.run_id
    twins = [reference_of_code("new", day=day) for day in (1, 2)]
    assert "several references fit" in str(gain_over_one(ours, twins).reason)


def reference_of_code(source: str, day: int) -> Record:
    made = record("single-task", (0.4, 1.0, 20.0, 0.7), run_id=f"nyud-synth/single-task.{source}{day}")
    made.method.source, made.created_at = source, datetime(2026, 1, day, tzinfo=UTC)
    return made
