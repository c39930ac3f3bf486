"""Latencies are compared by paired samples or not at all."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from timed import latency, macs, noise, session, write

from harness.compare import Figure, Tolerances, compare, compare_pair
from harness.compare.slowdown import LEAST_PAIRS, SESSION_DEVIATION, Interval, paired_log_ratios, slowdown
from harness.records import Record

FIVE_PERCENT = Tolerances.parse(["latency=5%"])


def judged(folder: Path, base: list[Record], head: list[Record], method: str = "multi-task") -> Figure:
    sides = (write(folder / "base", *base), write(folder / "head", *head))
    [row] = [row for row in compare(*sides, FIVE_PERCENT).rows if row.label.startswith(method)]
    [figure] = [figure for figure in row.figures if figure.kind == "latency"]
    return figure


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([40, 120]))
def test_a_slowdown_of_15_percent_is_found_and_a_repeat_is_not_one(seed: int, rounds: int) -> None:
    generator = np.random.default_rng(seed)
    base, head = (
        paired_log_ratios(*(latency(blocks, "s") for blocks in noise(generator, rounds, spread=0.01))) for _ in range(2)
    )
    repeat = slowdown(head, base)
    assert repeat.low <= repeat.ratio <= repeat.high
    assert repeat.low <= 1.05
    slower = slowdown(head + np.log(1.15), base)
    assert slower.ratio == pytest.approx(1.15 * repeat.ratio)
    assert slower.low > 1.05


def test_short_sessions_find_nearly_all_of_what_is_clear() -> None:
    found = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        base, head = (
            paired_log_ratios(*(latency(blocks, "s") for blocks in noise(generator, 24, spread=0.01))) for _ in range(2)
        )
        found += slowdown(head + np.log(1.15), base).low > 1.05
    assert found >= 190, "12 pairs tell little of how neighbours go together"


def test_repeats_with_heavy_tails_and_what_holds_for_a_whole_session_do_not_fail() -> None:
    generator = np.random.default_rng(1)
    fired = 0
    for _ in range(300):
        shifts = generator.normal(0, SESSION_DEVIATION, 2)
        base, head = (
            paired_log_ratios(*(latency(blocks, "s") for blocks in noise(generator, 40, shift=shift)))
            for shift in shifts
        )
        fired += slowdown(head, base).low > 1.05
    assert fired == 0


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        ours, reference = noise(generator, 80, spread=0.05)
        found = slowdown(paired_log_ratios(latency(2 * ours, "s"), latency(reference, "s")))
        covered += found.low <= 1 <= found.high
    assert covered / 400 >= 0.98, "99 % intervals of 40 pairs"


def test_a_steady_drift_favours_nobody() -> None:
    """ABBA: in the first round of a pair ours comes first, in the second last."""
    drift = np.exp(np.linspace(0, 1, 80)).reshape(20, 4)
    ours, reference = drift[:, [0, 3]].reshape(-1, 1), drift[:, [1, 2]].reshape(-1, 1)
    assert paired_log_ratios(latency(ours, "s"), latency(reference, "s")) == pytest.approx(np.zeros(20), abs=1e-12)


def test_the_ratio_is_that_of_the_hand_formula() -> None:
    base, head = np.log(np.full(20, 0.5)), np.log(np.full(20, 0.6))
    assert slowdown(head) == Interval(*[pytest.approx(0.6)] * 3), "no noise, no width"
    found, half = slowdown(head, base), 2.5758 * np.sqrt(2) * SESSION_DEVIATION
    assert [found.ratio, found.low, found.high] == pytest.approx(
        [1.2, 1.2 * np.exp(-half), 1.2 * np.exp(half)], rel=1e-4
    )


def test_the_interval_is_welchs_where_sessions_add_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.compare.slowdown.SESSION_DEVIATION", 0.0)
    # Alternately high and low, none far off: there is nothing to correct for.
    steps = np.linspace(-1, 1, LEAST_PAIRS)
    alternating = np.stack([steps[:5], steps[5:][::-1]], 1).ravel()
    head, base = 0.1 + 0.02 * alternating, 0.05 * alternating
    expected = stats.ttest_ind(head, base, equal_var=False).confidence_interval(0.99)
    found = slowdown(head, base)
    assert np.log([found.low, found.high]) == pytest.approx([expected.low, expected.high])


def test_a_planted_slowdown_regresses_by_way_of_the_reference(tmp_path: Path) -> None:
    figure = judged(tmp_path, session(1), session(2, factor=1.15))
    assert figure.verdict == "regressed"
    assert figure.slowdown is not None
    assert figure.slowdown.reference == "nyud-synth/single-task.s"
    assert figure.slowdown.low > 1.05
    assert (figure.slowdown.base_pairs, figure.slowdown.head_pairs) == (30, 30)
    assert judged(tmp_path / "back", session(1, factor=1.15), session(2)).verdict == "improved"


def test_twenty_pairs_of_repeats_are_the_same(tmp_path: Path) -> None:
    verdicts = [judged(tmp_path / str(i), session(2 * i), session(2 * i + 1)).verdict for i in range(20)]
    assert verdicts == ["same"] * 20


def test_two_records_of_one_command_are_compared_directly(tmp_path: Path) -> None:
    single, multi = write(tmp_path, *session(1, factor=2.3))
    [row] = compare_pair(single, multi, FIVE_PERCENT).rows
    assert row.label == "single-task (nyud-synth, vit-micro) → multi-task (nyud-synth, vit-micro)"
    figure = row.figures[-1]
    assert figure.verdict == "regressed"
    assert figure.slowdown is not None
    assert figure.slowdown.reference is None
    assert figure.slowdown.ratio == pytest.approx(1.15, rel=0.03)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"system": "t"}, "system: s → t"),
        ({"threads": 2}, "threads: 1 → 2"),
        ({"compiled": "default"}, "compiled: None → default"),
        ({"channels_last": True}, "channels_last: False → True"),
        ({"rounds": 2 * LEAST_PAIRS - 1}, f"{LEAST_PAIRS - 1} pairs of rounds are too few"),
    ],
)
def test_what_is_measured_otherwise_is_not_comparable(tmp_path: Path, changes: dict, reason: str) -> None:
    figure = judged(tmp_path, session(1), session(2, factor=2.0, **changes))
    assert figure.verdict == "incomparable"
    assert figure.slowdown is None
    assert reason in str(figure.reason)


def test_the_reference_itself_and_what_was_timed_alone_are_not_comparable(tmp_path: Path) -> None:
    base, head = session(1), session(2)
    assert "it is the reference" in str(judged(tmp_path, base, head, "single-task").reason)
    head[1].latency[0].paired = None
    assert "timed alone in HEAD" in str(judged(tmp_path, base, head).reason)
    lone = judged(tmp_path / "lone", [session(1)[1]], session(2))
    assert "the reference nyud-synth/single-task.s is not in BASE" in str(lone.reason)


def test_a_reference_that_changed_or_is_of_another_session_judges_nobody(tmp_path: Path) -> None:
    head = session(2)
    head[0].macs = macs(2e9)
    assert "executed MACs: 1000000000.0 → 2000000000.0" in str(judged(tmp_path, session(1), head).reason)
    mixed = [session(3)[0], session(2)[1]]
    assert "timed in another session in HEAD" in str(judged(tmp_path / "mixed", session(1), mixed).reason)


def test_samples_that_form_no_rounds_are_not_comparable(tmp_path: Path) -> None:
    head = session(2)
    head[1].latency[0].sampling.rounds = [1]
    assert "do not form rounds" in str(judged(tmp_path, session(1), head).reason)


def test_a_slowdown_that_is_not_certain_passes_and_says_so(tmp_path: Path) -> None:
    figure = judged(tmp_path, session(1), session(2, factor=1.065))
    assert figure.slowdown is not None
    assert figure.slowdown.low < 1.05 < figure.slowdown.ratio
    assert figure.verdict == "within"
    assert "not for certain" in str(figure.reason)


def test_a_lost_latency_is_a_regression(tmp_path: Path) -> None:
    head = session(2)
    head[1].latency, head[1].unmeasured = [], {"latency": "no clock"}
    figure = judged(tmp_path, session(1), head)
    assert (figure.verdict, figure.reason) == ("lost", "no clock")


def test_disturbed_samples_are_compared_in_one_command_only(tmp_path: Path) -> None:
    head = session(2, factor=2.6, disturbed=["the fan fell off"])
    across = judged(tmp_path, session(1), head)
    assert (across.verdict, across.reason) == ("incomparable", "disturbed in HEAD: the fan fell off")
    [row] = compare_pair(*write(tmp_path / "one", *head), FIVE_PERCENT).rows
    assert row.figures[-1].verdict == "regressed"
    assert "disturbed in BASE: the fan fell off" in str(row.figures[-1].reason)
