"""Records as points: seeds averaged, conditions kept apart, reported figures marked; the same bytes each time."""

import re
from pathlib import Path
from typing import Any

import pytest
from records import record

from harness.errors import UsageError
from harness.records import Gain, Record
from harness.records.costs import Conditions, Energy, Latency, Parameters, Sampling
from harness.records.literature import published_records
from harness.report.plot import scatter
from harness.report.values import QUANTITIES, quantity
from harness.tasks import TASKS


def latency(p50_ms: float, batch_size: int = 1, threads: int = 1, disturbed: list[str] | None = None) -> Latency:
    sampling = Sampling(warmup=1, clock="perf_counter", session="s", rounds=[1], other_cores=0)
    quiet = Conditions(load_average=None)
    return Latency.of(
        [p50_ms],
        batch_size=batch_size,
        precision="fp32",
        threads=threads,
        sampling=sampling,
        before=quiet,
        after=quiet,
        disturbed=disturbed or [],
    )


def run(method: str, ms: float, gain: float | None, seed: int = 0, **changes: Any) -> Record:
    given = {"delta_m": Gain(value=gain, reference="r", reason=None if gain is not None else "no reference")}
    given |= {"latency": [latency(ms), latency(8 * ms, 8)], "environment": {"cpu": "Test CPU"}}
    return record(method, (0.4, 0.6, 20.0, 0.7), seed=seed, **(given | changes))


def described(base: Record, **changes: Any) -> Record:
    return base.model_copy(update={"method": base.method.model_copy(update=changes)})


def test_seeds_become_one_point_with_the_sample_deviation() -> None:
    drawn = scatter([run("a", 10, 1, 0), run("a", 12, 3, 1), run("b", 5, -1)], "latency_ms", "delta_m")
    a, b = drawn.points
    assert (a.label, a.x, a.y) == ("a", 11, 2)
    assert (a.x_spread, a.y_spread) == pytest.approx((2**0.5, 2**0.5))
    assert (b.x, b.y, b.x_spread, b.y_spread) == (5, -1, 0, 0)
    assert drawn.batch_size == 1
    assert "seeds" in drawn.title
    apart = scatter([run("a", 10, 1, 0), run("a", 12, 3, 1)], "latency_ms", "delta_m", "run")
    assert [point.label for point in apart.points] == ["nyud-synth/a.seed0", "nyud-synth/a.seed1"]


def test_every_figure_is_in_the_unit_of_its_title() -> None:
    one = run("a", 10, 1, energy=Energy(joules_per_image=2.5, batch_size=1))
    wanted = {
        "latency_ms": ("Latency, ms", 10),
        "energy_j": ("Energy, J per image", 2.5),
        "parameters": ("Parameters, M", 1.5),
        "artifact_bytes": ("Artifact, MB", 6),
        "delta_m": ("Δm, %", 1),
        "semseg": ("SemSeg mIoU, %", 40),
        "depth": ("Depth RMSE, m", 0.6),
        "normals": ("Normals mErr, °", 20),
        "boundary": ("Boundary odsF, %", 70),
    }
    for name, (title, value) in wanted.items():
        assert quantity(name).title == title
        assert quantity(name).pick(one, 1) == pytest.approx(value)
    assert quantity("macs").pick(one, 1) is None
    assert set(TASKS) < set(QUANTITIES)
    assert {name for name in QUANTITIES if quantity(name).higher_is_better} == {
        *("delta_m", "semseg", "parts", "saliency", "boundary")
    }


def test_the_title_names_the_conditions() -> None:
    title = scatter([run("a", 10, 1)], "latency_ms", "semseg").title.replace("\n", " ")
    for fact in ("nyud-synth (synthetic", "protocol invpt", "budget quick", "fp32", "112x144", "Test CPU, 1 thread"):
        assert fact in title
    assert "CPU" not in scatter([run("a", 10, 1)], "parameters", "semseg").title


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": "full"},
        {"precision": "bf16"},
        {"protocol": {"geometry": "crop"}},
        {"input_size": (448, 576)},
        {"system_id": "another"},
        {"latency": [latency(3, threads=2)]},
    ],
)
def test_conditions_are_never_mixed(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="2 sets of conditions") as caught:
        scatter([run("a", 10, 1), run("b", 9, 1, **changes)], "latency_ms", "delta_m")
    assert "-d DATASET" in str(caught.value)
    assert "nyud-synth/b.seed0" in str(caught.value)


def test_machines_matter_to_latencies_alone() -> None:
    records = [run("a", 10, 1), run("b", 9, 1, system_id="another")]
    assert len(scatter(records, "parameters", "delta_m").points) == 2


def test_data_sets_are_never_mixed_even_where_all_is_reported() -> None:
    other = run("b", 1, 1).dataset.model_copy(update={"name": "pascal-synth"})
    records = [run("a", 1, 1, source="reported"), run("b", 1, 1, source="reported", dataset=other)]
    with pytest.raises(UsageError, match=r"nyud-synth.*pascal-synth"):
        scatter(records, "parameters", "delta_m")


def test_reported_records_are_open_marked_and_never_on_the_front() -> None:
    reported = run("paper", 1, 99, source="reported", parameters=Parameters(total=1, per_part={}))
    drawn = scatter([run("a", 10, 1), reported], "parameters", "delta_m")
    assert [(point.label, point.reported) for point in drawn.points] == [("a", False), ("paper †", True)]
    assert "† reported" in drawn.title
    [axes] = drawn.draw().axes
    marks = {line.get_gid(): line for line in axes.lines}
    assert marks["point-1"].get_markerfacecolor() == "none"
    assert marks["point-0"].get_markerfacecolor() != "none"
    assert marks["front"].get_ydata().tolist() == [1], "99 beats it, and is not measured"
    left = scatter([run("a", 10, 1), reported], "latency_ms", "delta_m")
    assert len(left.points) == 1
    assert left.notes == ["nyud-synth/paper.seed0 is left out: reported, on another machine"]


def test_what_has_no_figure_is_left_out_with_the_reason() -> None:
    records = [run("a", 10, 1), run("b", 9, None), run("c", 9, 1, latency=[], unmeasured={"latency": "too slow"})]
    records += [run("d", 9, 1, status="partial"), run("e", 9, 1, latency=[latency(9, disturbed=["a noisy machine"])])]
    drawn = scatter(records, "latency_ms", "delta_m")
    assert [point.label for point in drawn.points] == ["a", "e"]
    assert drawn.notes == [
        "nyud-synth/b.seed0 is left out: no delta_m (no reference)",
        "nyud-synth/c.seed0 is left out: no latency_ms (too slow)",
        "nyud-synth/d.seed0 is left out: the run is partial",
        "latency at batch size 1 of e: a noisy machine",
    ]
    with pytest.raises(UsageError, match=r"no record has both.*no reference"):
        scatter(records[1:2], "latency_ms", "delta_m")
    with pytest.raises(UsageError, match="did you mean delta_m"):
        scatter(records, "latency_ms", "deltam")


def test_labels_tell_namesakes_apart_by_what_differs() -> None:
    a = run("a", 10, 1)
    gated = described(a, options={"gates": True, "rank": 4})
    plain = described(a, options={"gates": False, "rank": 4})
    large = described(plain, backbone="vit-b16")
    labels = [point.label for point in scatter([gated, plain, run("b", 1, 1)], "latency_ms", "delta_m").points]
    assert labels == ["a gates=True", "a gates=False", "b"]
    both = [point.label for point in scatter([plain, large], "latency_ms", "delta_m").points]
    assert both == ["a vit-micro", "a vit-b16"]
    plainly = [point.label for point in scatter([plain, large], "latency_ms", "delta_m", "backbone").points]
    assert plainly == ["vit-micro", "vit-b16"]


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_two_pictures_of_the_same_records_have_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    records = [run("a", 10, 1), run("a", 12, 3, 1), run("名前 <b>$x$", 5, -1)]
    for name in "ab":
        scatter(records, "latency_ms", "delta_m").save(tmp_path / f"{name}.{suffix}")
    data = (tmp_path / f"a.{suffix}").read_bytes()
    assert data == (tmp_path / f"b.{suffix}").read_bytes()
    assert not re.search(rb"CreationDate|dc:date|tIME|matplotlib\.org", data)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}"]
    if suffix == "svg":
        assert "Latency, ms at batch size 1 ↓" in data.decode()
        assert "<b>" not in data.decode()


def test_an_unknown_format_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.svg, \.png or \.pdf"):
        scatter([run("a", 10, 1)], "latency_ms", "delta_m").save(tmp_path / "a.jpg")


def test_nothing_written_covers_an_error_bar_or_leaves_the_picture() -> None:
    long = "a processor with a rather long name that fills a line and then some more of the next @ 3.00GHz"
    records = [
        run(name, 10 + i + s, i + s, s, environment={"cpu": long}) for i, name in enumerate("abcd") for s in (0, 1)
    ]
    drawn = scatter(records, "latency_ms", "delta_m")
    figure = drawn.draw()
    [axes] = figure.axes
    assert len(axes.texts) == 4
    for point in drawn.points:
        for dx, dy in ((point.x_spread, 0), (-point.x_spread, 0), (0, point.y_spread), (0, -point.y_spread)):
            end = axes.transData.transform((point.x + dx, point.y + dy))
            assert not any(text.get_window_extent().contains(*end) for text in axes.texts)
    for text in (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label):
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


def test_latencies_of_another_session_are_open_marked_and_never_on_the_front() -> None:
    other = latency(1)
    other.sampling.session = "t"
    drawn = scatter([run("a", 10, 1), run("b", 9, 1), run("c", 1, 2, latency=[other])], "latency_ms", "delta_m")
    assert [(point.label, point.ranked) for point in drawn.points] == [("a", True), ("b", True), ("c §", False)]
    assert "§ timed in another session" in drawn.title.replace("\n", " ")
    [axes] = drawn.draw().axes
    marks = {line.get_gid(): line for line in axes.lines}
    assert marks["front"].get_ydata().tolist() == [1]
    assert marks["point-2"].get_markerfacecolor() == "none"
    without = scatter([run("a", 10, 1), run("c", 1, 2, latency=[other])], "parameters", "delta_m")
    assert all(point.ranked for point in without.points)


@pytest.mark.parametrize("label", ["method", "backbone", "run"])
def test_what_a_command_put_over_the_recipe_stands_next_to_its_point(label: Any) -> None:
    short = run("a", 9, 1, run_id="d/short", config={"iterations": 5})
    [whole, five] = [point.label for point in scatter([run("a", 10, 1), short], "latency_ms", "delta_m", label).points]
    assert "iterations" not in whole
    assert five.endswith(" iterations=5")


def test_the_title_says_how_many_images_of_the_split_were_scored() -> None:
    one = run("a", 10, 1)
    assert "32 val images" in scatter([one], "parameters", "delta_m").title
    one.dataset = one.dataset.model_copy(update={"n_evaluated": 2, "n_expected": 654})
    assert "2 of 654 val images" in scatter([one], "parameters", "delta_m").title


def test_gains_over_the_reference_of_another_document_are_marked() -> None:
    published = [one for one in published_records() if one.dataset.name == "nyud" and one.method.backbone == "ViT-B"]
    drawn = scatter(published, "semseg", "delta_m")
    assert [point.label for point in drawn.points if "¶" in point.label] == ["TaskPrompter + EMTAL †¶"]
    assert "¶ Δm against a single-task row that another document prints" in drawn.title.replace("\n", " ")


def test_values_that_are_no_finite_numbers_are_left_out() -> None:
    endless = run("b", 9, 1, energy=Energy.model_construct(joules_per_image=float("inf"), batch_size=1))
    drawn = scatter(
        [run("a", 10, 1, energy=Energy(joules_per_image=1.0, batch_size=1)), endless], "energy_j", "delta_m"
    )
    assert [point.label for point in drawn.points] == ["a"]
