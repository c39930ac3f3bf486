"""The recipe: what trains when, the penalties by hand, and steps that depend on nothing but their task."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shared_nets import PROBLEM, differing, images, method
from training_setups import training_setup

from harness.compute import seed_everything
from harness.data.open import OpenedData, open_data
from harness.method import Method
from harness.methods.share.execution import Dense
from harness.methods.share.model import SharedNets
from harness.methods.share.recipe import Penalties
from harness.methods.share.training import SubTaskOutput
from harness.protocol import Protocol
from harness.registry import load_dataset, load_method
from harness.training.loop import train


@pytest.fixture(scope="module")
def data(golden: Path) -> OpenedData:
    return open_data(load_dataset("nyud"), golden / "mini_NYUDv2", (), Protocol(), None, training=True, input_size=SIZE)


SIZE = (40, 48)
"""Of the images of the golden data set, the largest of which has 34 x 45 pixels, in whole patches."""


def trained(subject: Method, data: OpenedData, tasks: tuple[str, ...], folder: Path) -> torch.nn.Module:
    """Train some tasks of the problem for two steps per stage."""
    folder.mkdir(exist_ok=True)
    problem = data.problem.only(tasks)
    seed_everything(0)
    model = subject.build(problem)
    stages = [replace(stage, iterations=2) for stage in subject.stages(problem, "quick")]
    train(model, stages, training_setup(data, folder))
    return model.eval()


def test_every_sub_task_has_four_phases_and_the_base_is_frozen_in_all_of_them() -> None:
    for budget in ("quick", "full"):
        stages = method().stages(PROBLEM, budget)  # type: ignore[arg-type]
        names = [stage.name for stage in stages]
        assert names[0] == "semseg"
        phases = ["gates", "mask", "activations", "rows"]
        assert names[1:] == [f"{phase}/{task}" for task in ("depth", "normals") for phase in phases]
        for stage in stages[1:]:
            assert not any(prefix.startswith("base") for prefix in stage.trainable)
    dense = method(mode="dense").stages(PROBLEM, "quick")
    assert not any(stage.name.startswith("rows") for stage in dense), "nothing is gated, nothing to get used to"


def test_the_base_is_the_single_task_network(data: OpenedData, tmp_path: Path) -> None:
    cls = load_method("single-task")
    single = trained(cls(cls.Options(), "vit-micro"), data, ("semseg",), tmp_path / "single")
    shared = trained(method(), data, ("semseg", "depth"), tmp_path / "shared")
    ours = {key.removeprefix("base."): value for key, value in shared.state_dict().items() if key.startswith("base.")}
    theirs = {key.removeprefix("nets.semseg.backbone."): value for key, value in single.state_dict().items()}
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


def test_a_sub_task_trains_the_same_whatever_precedes_it(data: OpenedData, tmp_path: Path) -> None:
    alone = trained(method(), data, ("semseg", "normals"), tmp_path / "alone")
    beside = trained(method(), data, ("semseg", "depth", "normals"), tmp_path / "beside")
    assert isinstance(alone, SharedNets)
    assert isinstance(beside, SharedNets)
    for prefix in ("deltas.normals.", "heads.normals."):
        mine = {key: value for key, value in alone.state_dict().items() if key.startswith(prefix)}
        assert mine
        for key, value in mine.items():
            assert torch.equal(value, beside.state_dict()[key]), key


def test_the_matching_loss_is_the_mean_absolute_difference_at_six_places() -> None:
    model = differing()
    base, own = Dense("all"), Dense("all")
    batch = images(2)
    with torch.no_grad():
        whole = model.run_base(batch, ("depth",), "all")
        model.run_sub("depth", whole, batch, own)
        base.activations, base.hidden = dict(whole.activations), dict(whole.hidden)
        output = SubTaskOutput({}, delta=model.delta("depth"), base=whole, own=own)
        model.delta("depth").phase = "activations"
        terms = Penalties(l0=1.0, matching=2.0)(model, None, output)  # type: ignore[arg-type]
    means = []
    for index in range(4):
        places = []
        for name in ("norm1", "qkv", "proj", "fc2"):
            mine, theirs = getattr(own.activations[index], name), getattr(whole.activations[index], name)
            places.append((mine - theirs).abs().flatten())
        for name in ("fc1", "act"):
            mine, theirs = getattr(own.hidden[index], name), getattr(whole.hidden[index], name)
            places.append((mine - theirs).abs().flatten())
        means.append(torch.cat(places).mean())
    assert terms["elements"].item() == pytest.approx(2 * float(torch.stack(means).mean()), rel=1e-5)
    tokens = [
        (getattr(own.activations[i], name) - getattr(whole.activations[i], name)).square().mean(-1).sqrt().mean()
        for i in range(4)
        for name in ("norm1", "context", "norm2")
    ]
    assert terms["tokens"].item() == pytest.approx(2 * 0.5 * float(torch.stack(tokens).mean()), rel=1e-4)


def test_gates_that_matter_for_nothing_close_under_the_penalty() -> None:
    model = method().build(PROBLEM).train()
    delta = model.delta("depth")
    optimizer = torch.optim.AdamW(delta.logits.parameters(), lr=0.1, eps=1e-12, weight_decay=0.0)
    before = delta.expected_l0_norm().item()
    for _ in range(80):
        optimizer.zero_grad()
        (5e-8 * delta.expected_l0_norm()).backward()
        optimizer.step()
    assert delta.expected_l0_norm().item() < 0.3 * before


def test_stochastic_depth_leaves_branches_out_and_is_part_of_the_state() -> None:
    model = method().build(PROBLEM).train()
    model.drop_path = 0.9
    torch.manual_seed(0)
    first = model.forward_train(images(), ["semseg"]).predictions["semseg"]
    second = model.forward_train(images(), ["semseg"]).predictions["semseg"]
    assert not torch.equal(first, second)
    again = method().build(PROBLEM)
    again.load_state_dict(model.state_dict())
    assert again.drop_path == pytest.approx(0.9)
