"""Per-image values: every metric of every protocol follows from the file, to the last bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import SPECS, counted, meter_of, per_image, scene
from torch import Tensor

from harness.errors import UsageError
from harness.problem import TaskSpec
from harness.protocol import PROFILES, Protocol
from harness.records.metric import Metric
from harness.tasks import build_task
from harness.tasks.base import Meter
from harness.tasks.images import ImageMeter
from harness.tasks.normals import AngleMeter
from harness.tasks.per_image import PER_IMAGE_NAME, PerImage, read_per_image

MEASURED = [(name, profile) for name in SPECS for profile in PROFILES]
SEEDS = [3, -4, 5, 6]
"""The second image has no valid pixel."""
OTHER_MODES = [
    ("saliency", {"saliency_mode": "per-image"}),
    ("saliency", {"saliency_mode": "per-image", "saliency_void": "salient"}),
    ("depth", {"depth_pool": "image"}),
    ("depth", {"depth_mask": "not-255"}),
    ("depth", {"depth_mask": "nonzero"}),
    ("normals", {"normals_formula": "acos-raw"}),
    ("boundary", {"boundary_match": "greedy"}),
    ("semseg", {"semseg_absent": "nanmean"}),
]


def written(values: PerImage, folder: Path) -> PerImage:
    file = values.write(folder)
    assert file is not None
    assert file.images == len(values.ids)
    return read_per_image(folder / file.file)


def assert_recomputed(name: str, protocol: Protocol, seeds: list[int], folder: Path) -> None:
    meter = counted(name, protocol, seeds)
    again = written(per_image({name: meter}, protocol, len(seeds)), folder)
    assert again.metrics() == {name: meter.compute()}
    for statistic, values in again.tasks[name].statistics.items():
        form = meter.layout[statistic]
        assert values.dtype == {"count": np.int64, "sum": np.float64, "values": object}[form.kind]
        assert len(values) == len(seeds)


@pytest.mark.parametrize(("name", "profile"), MEASURED)
def test_the_file_gives_the_very_same_metrics(name: str, profile: str, tmp_path: Path) -> None:
    assert_recomputed(name, Protocol.profile(profile), SEEDS, tmp_path)


@pytest.mark.parametrize(("name", "options"), OTHER_MODES)
def test_so_it_does_under_every_single_convention(name: str, options: dict[str, str], tmp_path: Path) -> None:
    assert_recomputed(name, Protocol.profile("invpt", options), SEEDS, tmp_path)


@pytest.mark.parametrize("profile", ["invpt", "astmt"])
@pytest.mark.parametrize("name", SPECS)
def test_a_split_without_a_valid_pixel_and_one_without_an_image(name: str, profile: str, tmp_path: Path) -> None:
    assert_recomputed(name, Protocol.profile(profile), [-1, -2], tmp_path)
    assert_recomputed(name, Protocol.profile(profile), [], tmp_path)


@pytest.mark.parametrize("profile", ["invpt", "share", "astmt"])
@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=5, deadline=None)
@given(order=st.permutations(SEEDS))
def test_the_order_of_the_images_changes_no_bit(name: str, profile: str, order: list[int]) -> None:
    protocol = Protocol.profile(profile)
    assert counted(name, protocol, order).compute() == counted(name, protocol, SEEDS).compute()


@pytest.mark.parametrize("name", SPECS)
def test_images_of_one_process_join_those_of_another(name: str) -> None:
    protocol = Protocol.profile("astmt")
    first, second = counted(name, protocol, SEEDS[:2]), counted(name, protocol, SEEDS[2:])
    first.merge(second)
    assert first.compute() == counted(name, protocol, SEEDS).compute()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=4), levels=st.integers(1, 500), seed=st.integers(0, 10**6)
)
def test_the_median_from_the_file_is_that_of_all_angles(sizes: list[int], levels: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    images = [(generator.integers(0, levels, size) * 180 / levels).astype(np.float32) for size in sizes]
    meter = AngleMeter("acos-raw")
    for image in images:
        meter.add_images(degrees=torch.tensor([image.sum(dtype=np.float64)]), pixels=torch.tensor([image.size]))
        meter._degrees.append(torch.from_numpy(image))
    pooled = np.concatenate(images)
    median = meter.compute()["median"].value
    assert median == (float(np.median(pooled)) if pooled.size else None)
    kept = sum(one.size for one in meter.statistics()["window"])
    assert kept <= 64 * len(images) + 2


LARGEST = {"semseg": 40, "parts": 40, "saliency": 40, "boundary": 40, "depth": 5, "normals": 5}
"""kB per image, at the size of NYUD-v2, whatever is predicted."""


@pytest.mark.parametrize("profile", ["invpt", "astmt"])
@pytest.mark.parametrize("name", LARGEST)
def test_the_file_is_small(name: str, profile: str, tmp_path: Path) -> None:
    protocol, size, images = Protocol.profile(profile), (425, 560), 2
    spec = TaskSpec(name, {"semseg": 41, "parts": 7}.get(name), tolerance=0.011)
    meter = build_task(spec).meter(protocol)
    assert isinstance(meter, ImageMeter)
    if name == "boundary":  # noise takes the matcher long; its counts have one size
        counts = np.random.default_rng(0).integers(0, 30_000, (images, *meter.layout["counts"].shape))
        meter._counted = list(counts)  # type: ignore[attr-defined]
    else:
        meter.update(*scene(spec, 0, size, images))
    values = PerImage(protocol, ["a", "b"])
    values.take(spec, meter)
    values.write(tmp_path)
    one, none = (tmp_path / PER_IMAGE_NAME).stat().st_size, PerImage(protocol, [])
    none.take(spec, build_task(spec).meter(protocol))
    fixed = len(none.to_parquet())
    assert (one - fixed) / images <= 1000 * LARGEST[name]


def test_images_that_were_not_scored_are_null_in_the_file(tmp_path: Path) -> None:
    protocol = Protocol()
    meter = counted("depth", protocol, [3, 5])
    values = PerImage(protocol, ["a", "b", "c", "d"])
    values.take(SPECS["depth"], meter, scored=["a", "c"], lost=["b"])  # nothing is to be scored of d
    again = written(values, tmp_path)
    assert again.tasks["depth"].present.tolist() == [True, False, True, True]
    assert again.tasks["depth"].statistics["pixels"].tolist()[1::2] == [0, 0]
    assert again.metrics()["depth"] == meter.compute()
    table = parquet.read_table(tmp_path / PER_IMAGE_NAME)
    assert table["image"].to_pylist() == ["a", "b", "c", "d"]
    assert [value is None for value in table["depth.errors"].to_pylist()] == [False, True, False, False]


def test_the_bytes_depend_on_the_values_alone(tmp_path: Path) -> None:
    values = [per_image({"semseg": counted("semseg", Protocol(), SEEDS)}, Protocol(), 4) for _ in range(2)]
    assert values[0].to_parquet() == values[1].to_parquet()


class PlainMeter(Meter):
    """A meter of other hands, with sums alone."""

    headline = "mae"

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.add(error=(prediction - target).abs().sum(dtype=torch.float64), pixels=torch.tensor(target.numel()))

    def compute(self) -> dict[str, Metric]:
        value = float(self.sums["error"] / self.sums["pixels"])
        return {"mae": Metric.of(value, unit="m", higher_is_better=False, n=1, protocol="depth.mae")}


def test_a_meter_with_sums_alone_is_left_out(tmp_path: Path) -> None:
    meter, values = PlainMeter(), PerImage(Protocol(), ["a"])
    meter.update(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    values.take(SPECS["depth"], meter)
    assert meter.compute()["mae"].value == 1
    assert values.write(tmp_path) is None
    assert not list(tmp_path.iterdir())


def damaged(tmp_path: Path, damage: Any) -> Path:
    """Write a file, let ``damage`` change its table and metadata, and return its place."""
    meters = {name: counted(name, Protocol(), SEEDS) for name in ("semseg", "depth")}
    per_image(meters, Protocol(), len(SEEDS)).write(tmp_path)
    path = tmp_path / PER_IMAGE_NAME
    table = parquet.read_table(path)
    facts = json.loads(table.schema.metadata[b"harness.per_image"])
    table = damage(table, facts)
    parquet.write_table(table.replace_schema_metadata({"harness.per_image": json.dumps(facts)}), path)
    return path


def replaced(table: Any, column: str, values: list[Any]) -> Any:
    place = table.schema.get_field_index(column)
    return table.set_column(place, table.field(place), pa.array(values, table.field(place).type))


DAMAGES = {
    "a column is missing": lambda table, facts: table.drop_columns(["depth.pixels"]),
    "negative counts": lambda table, facts: replaced(table, "depth.pixels", [-1, 0, 1, 2]),
    "too few numbers": lambda table, facts: replaced(table, "depth.errors", [[1.0]] * 4),
    "places out of reach": lambda table, facts: replaced(table, "semseg.confusion.at", [[99999] * 200] * 4),
    "another version": lambda table, facts: facts.update(version=2) or table,
    "impossible classes": lambda table, facts: facts["tasks"]["semseg"].update(num_classes=10**9) or table,
    "no protocol": lambda table, facts: facts.pop("protocol") and table,
    "numbers for lists": lambda table, facts: table.set_column(
        table.schema.get_field_index("depth.errors"), "depth.errors", [[1, 2, 3, 4]]
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    path = damaged(tmp_path, DAMAGES[damage])
    with pytest.raises(UsageError) as caught:
        read_per_image(path)
    assert "\n" not in str(caught.value)
    assert damage in ("impossible classes",) or str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"text" * 100])
def test_what_is_no_parquet_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / PER_IMAGE_NAME
    path.write_bytes(content)
    with pytest.raises(UsageError, match="no file of per-image values, or a damaged one"):
        read_per_image(path)
    path.unlink()
    with pytest.raises(UsageError, match="no such file"):
        read_per_image(path)


def test_a_task_of_a_plug_in_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    def rename(table: Any, facts: dict[str, Any]) -> Any:
        facts["tasks"]["brightness"] = {"num_classes": None, "tolerance": None}
        return table

    assert set(read_per_image(damaged(tmp_path, rename)).tasks) == {"semseg", "depth"}


def test_batches_on_any_device_give_the_statistics_of_one_image_each() -> None:
    meter, single = meter_of("semseg", Protocol()), meter_of("semseg", Protocol())
    raw, label = scene(SPECS["semseg"], 0, images=3)
    meter.update(raw, label)
    for place in range(3):
        single.update(raw[place : place + 1], label[place : place + 1])
    np.testing.assert_array_equal(meter.statistics()["confusion"], single.statistics()["confusion"])
