"""Cross-stitch networks and NDDR-CNN piece by piece, against their formulas written out."""

import pytest
import torch
from torch.nn import functional as F

from harness.baselines.common.parallel import ExchangeOptions, ParallelNets
from harness.baselines.common.tasks import key_of
from harness.baselines.cross_stitch import CrossStitchUnit
from harness.baselines.nddr_cnn import NDDRUnit
from harness.problem import Problem

from resnet_nets import NYUD, PARALLEL, SIX, SIZE, built, method  # isort: skip

TASKS = ("semseg", "parts", "depth")


def maps_of(channels: int) -> dict[str, torch.Tensor]:
    return {task: torch.randn(2, channels, 3, 5) for task in TASKS}


def test_a_cross_stitch_unit_weighs_every_pair_of_tasks_and_channel() -> None:
    unit, maps = CrossStitchUnit(TASKS, 6, 0.8, 0.1), maps_of(6)
    weights = {key: value.copy_(torch.randn(6)) for key, value in unit.state_dict().items()}
    assert len(weights) == 9
    mixed = unit(maps, ["depth", "parts"])
    assert list(mixed) == ["depth", "parts"]
    for task, map_ in mixed.items():
        expected = torch.zeros(2, 6, 3, 5)
        for other in TASKS:
            for channel in range(6):
                weight = weights[f"cross_stitch_unit.{key_of(task)}.{key_of(other)}.param"][channel]
                expected[:, channel] += weight * maps[other][:, channel]
        torch.testing.assert_close(map_, expected)


def test_an_nddr_unit_reduces_all_maps_in_the_order_of_its_tasks() -> None:
    unit, maps = NDDRUnit(TASKS, 6, 0.8, 0.1).eval(), maps_of(6)
    kernel = torch.randn(6, 18)
    unit.layer["depth"][0].load_state_dict({"weight": kernel[..., None, None]})
    reduced = torch.einsum("oc,bchw->bohw", kernel, torch.cat([maps[task] for task in TASKS], dim=1))
    shuffled = {task: maps[task] for task in reversed(TASKS)}
    torch.testing.assert_close(unit(shuffled, ["depth"])["depth"], F.relu(reduced / (1 + 1e-5) ** 0.5))
    assert unit.layer["depth"][1].momentum == 0.05


def test_both_units_start_from_a_share_of_the_own_map_and_of_the_others() -> None:
    maps = maps_of(6)
    total = sum(maps.values())
    stitched = CrossStitchUnit(TASKS, 6, 0.8, 0.1)(maps, TASKS)
    reduced = NDDRUnit(TASKS, 6, 0.8, 0.1).eval()(maps, TASKS)
    for task in TASKS:
        expected = 0.8 * maps[task] + 0.1 * (total - maps[task])
        torch.testing.assert_close(stitched[task], expected)
        torch.testing.assert_close(reduced[task], F.relu(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("tasks", "shares"),
    [(1, (1, 0)), (2, (0.9, 0.1)), (3, (0.8, 0.1)), (4, (0.8, 0.2 / 3)), (5, (0.8, 0.05)), (6, (0.8, 0.04))],
)
def test_first_shares_are_the_published_ones_and_sum_to_one(tasks: int, shares: tuple[float, float]) -> None:
    assert ExchangeOptions().first_weights(tasks) == pytest.approx(shares)


def test_first_shares_can_be_set() -> None:
    assert ExchangeOptions(alpha=0.7).first_weights(4) == pytest.approx((0.7, 0.1))
    assert ExchangeOptions(alpha=0.7, beta=0.3).first_weights(4) == (0.7, 0.3)


@pytest.mark.parametrize("name", PARALLEL)
def test_the_order_of_the_tasks_in_the_problem_does_not_matter(name: str) -> None:
    model = built(name, SIX)
    other = method(name).build(Problem(SIX[::-1], SIZE)).eval()
    assert list(model.state_dict()) == list(other.state_dict())
    other.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        one, two = model(images), other(images)
    assert list(two) == [task.name for task in reversed(SIX)]
    for task, map_ in one.items():
        assert torch.equal(map_, two[task])


@pytest.mark.parametrize("name", PARALLEL)
def test_a_task_asked_for_alone_still_hears_the_others(name: str) -> None:
    model = built(name, NYUD)
    images = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        before = model(images)["normals"]
        torch.testing.assert_close(model(images, ["normals"])["normals"], before)
        model.get_parameter("backbone.depth.layer4.0.conv1.weight").mul_(3)
        assert not torch.allclose(model(images, ["normals"])["normals"], before, rtol=1e-3)


@pytest.mark.parametrize("name", PARALLEL)
def test_training_some_tasks_trains_their_networks_alone(name: str) -> None:
    model = built(name, NYUD).train()
    assert isinstance(model, ParallelNets)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    predictions = model.forward_train(torch.randn(2, 3, *SIZE), ["normals"]).predictions
    assert list(predictions) == ["normals"]
    predictions["normals"].sum().backward()
    reached = {key for key, value in model.named_parameters() if value.grad is not None}
    own = ("backbone.normals.", "heads.normals.")
    assert reached == {key for key, _ in model.named_parameters() if key.startswith(own)}
    changed = {key for key, value in model.state_dict().items() if not torch.equal(before[key], value)}
    assert changed
    assert all(key.startswith(own) for key in changed), "norms of the others and of the units saw nothing"


@pytest.mark.parametrize("name", PARALLEL)
def test_training_all_tasks_reaches_every_parameter(name: str) -> None:
    model = built(name, NYUD).train()
    maps = model.forward_train(torch.randn(2, 3, *SIZE), [task.name for task in NYUD[::-1]]).predictions
    torch.stack([map_.pow(2).sum() for map_ in maps.values()]).sum().backward()
    assert all(value.grad is not None for value in model.parameters())


@pytest.mark.parametrize(("name", "units"), [("cross-stitch", "cross_stitch."), ("nddr-cnn", "nddr.")])
@pytest.mark.parametrize(("backbone", "lr", "epochs", "batch"), [("resnet50", 1e-3, 50, 8), ("resnet18", 5e-3, 20, 6)])
def test_the_full_recipe_trains_each_task_and_then_all(
    name: str, units: str, backbone: str, lr: float, epochs: int, batch: int
) -> None:
    *alone, joint = method(name, backbone).stages(Problem(NYUD[:2], SIZE), "full")
    assert [(stage.name, stage.tasks, stage.epochs) for stage in alone] == [
        ("semseg", ("semseg",), 100),
        ("depth", ("depth",), 100),
    ]
    assert alone[1].trainable == ("backbone.depth.", "heads.depth.")
    assert (joint.tasks, joint.epochs, joint.batch_size) == (("semseg", "depth"), epochs, batch)
    assert (joint.optimizer.name, joint.optimizer.lr, joint.trainable) == ("sgd", lr, ("",))
    [group] = joint.groups
    assert group.lr == pytest.approx(100 * lr)
    assert group.prefixes == (units,)
    assert any(key.startswith(units) for key, _ in built(name, NYUD[:2]).named_parameters())


@pytest.mark.parametrize("name", PARALLEL)
@pytest.mark.parametrize("budget", ["quick", "full"])
def test_one_task_is_trained_in_one_stage_with_its_unit(name: str, budget: str) -> None:
    [stage] = method(name).stages(Problem(NYUD[:1], SIZE), budget)  # type: ignore[arg-type]
    model = built(name, NYUD[:1]).train()
    model.forward_train(torch.randn(2, 3, *SIZE), stage.tasks).predictions["semseg"].sum().backward()
    assert all(value.grad is not None for value in model.parameters())
