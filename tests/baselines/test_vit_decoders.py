"""Methods that decode a ViT: figures of the references, checkpoints, and what must hold whatever the weights."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from vit_decoders import NYUD, PASCAL, SMALL, build, counted, distinct, method, wrapped

from harness.backbones import build_backbone
from harness.errors import UsageError
from harness.method import load_published
from harness.problem import Problem, TaskSpec
from harness.weights import WeightFile

METHODS = ("taskprompter", "mlore", "sak")
INVPTS = ("taskprompter", "mlore")
SUBJECTS = [(name, data) for name in METHODS for data in SMALL]
UNUSED_SINGLES = {"taskprompter": 2}
"""Weights of a method's network that serve nothing on every encoder."""


@pytest.mark.parametrize(
    ("name", "backbone", "problem", "parameters", "keys", "giga_macs"),
    [
        ("taskprompter", "vit-l16", NYUD, 513.506, 666, 839.5),
        ("taskprompter", "vit-l16", PASCAL, 401.105, 815, 496.3),
        ("taskprompter", "vit-b16", PASCAL, 418.332, 623, 1153.3),
        ("mlore", "vit-l16", NYUD, 551.626, 1893, 927.6),
        ("mlore", "vit-l16", PASCAL, 407.690, 2167, 613.9),
        ("mlore", "vit-b16", PASCAL, 285.794, 2082, 610.8),
        ("sak", "vit-b16", NYUD, 126.404, 531, 466.8),
        ("sak", "vit-b16", PASCAL, 133.506, 572, 563.2),
    ],
)
def test_parameters_and_keys_are_the_references_and_all_macs_are_some_parts(
    name: str, backbone: str, problem: Problem, parameters: float, keys: int, giga_macs: float
) -> None:
    """MACs are ours; those of the references are compared by the tests of each method, for they compute more."""
    model, count = counted(name, problem, backbone)
    assert sum(value.numel() for value in model.parameters()) / 1e6 == pytest.approx(parameters, abs=6e-4)
    assert len(model.state_dict()) == keys
    assert count.macs / 1e9 == pytest.approx(giga_macs, abs=0.06)
    assert not count.unsupported
    assert set(count.per_part) == set(model.parts()), "everything is counted for a part"


@pytest.mark.parametrize(("name", "data"), SUBJECTS)
def test_the_order_of_the_tasks_in_a_problem_changes_nothing(name: str, data: str) -> None:
    problem = SMALL[data]
    model = distinct(build(name, problem))
    other = build(name, Problem(problem.tasks[::-1], problem.input_size)).eval()
    other.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, *problem.input_size)
    with torch.inference_mode():
        one, two = model(images), other(images)
    assert list(two) == list(reversed(one))
    for task, map_ in one.items():
        assert torch.equal(map_, two[task])


@pytest.mark.parametrize(("name", "data"), SUBJECTS)
def test_images_of_a_batch_do_not_see_each_other(name: str, data: str) -> None:
    model = distinct(build(name, SMALL[data]))
    images = torch.randn(3, 3, *SMALL[data].input_size)
    with torch.inference_mode():
        together = model(images)
        alone = [model(image[None]) for image in images]
    for task, maps in together.items():
        for index, single in enumerate(alone):
            torch.testing.assert_close(maps[index], single[task][0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "data"), SUBJECTS)
def test_unused_weights_change_nothing_and_all_others_learn(name: str, data: str) -> None:
    model = distinct(build(name, SMALL[data]))
    images = torch.randn(1, 3, *SMALL[data].input_size)
    unused = {key: value for key, value in model.named_parameters() if key.startswith(model.unused)}
    assert len(unused) == UNUSED_SINGLES.get(name, 0)
    with torch.inference_mode():
        before = model(images)
        for value in unused.values():
            value.fill_(float("nan"))
        after = model(images)
    for task, map_ in before.items():
        assert torch.equal(map_, after[task])
    model.train()
    sum(map_.square().mean() for map_ in model.forward_train(images.repeat(2, 1, 1, 1)).predictions.values()).backward()
    assert {key for key, value in model.named_parameters() if value.grad is None} == set(unused)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("backbone", "size"), [("vit-micro", (8, 8)), ("vit-micro", (40, 56)), ("vit-t16", (64, 80)), ("vit-s16", (48, 32))]
)
@pytest.mark.parametrize("data", SMALL)
def test_any_grid_will_do(name: str, backbone: str, size: tuple[int, int], data: str) -> None:
    problem = Problem(SMALL[data].tasks, size)
    model = build(name, problem, backbone).eval()
    with torch.inference_mode():
        maps = model(torch.randn(1, 3, *size))
    for task in problem:
        assert maps[task.name].shape == (1, task.channels, *size)
        assert maps[task.name].isfinite().all()


@pytest.mark.parametrize("name", INVPTS)
def test_blocks_are_left_out_in_training_alone(name: str) -> None:
    model = build(name, Problem(SMALL["nyud"].tasks, (32, 48)), "vit-t16")
    layers = [layer for key, layer in model.named_modules() if key.endswith("drop_path1")]
    assert [layer.drop_prob for layer in layers] == pytest.approx(torch.linspace(0, 0.15, 12).tolist())  # type: ignore[union-attr]
    images = torch.randn(2, 3, 32, 48)
    with torch.inference_mode():
        first, second = (model.eval()(images) for _ in range(2))
    assert torch.equal(first["depth"], second["depth"])


@pytest.mark.parametrize(("name", "data"), SUBJECTS)
def test_a_checkpoint_as_the_reference_saves_it_is_loaded(name: str, data: str, tmp_path: Path) -> None:
    problem = SMALL[data]
    model = distinct(build(name, problem))
    path = wrapped(model, tmp_path / "checkpoint.pth.tar")
    loaded, notes = load_published(method(name), problem, WeightFile(path))
    images = torch.randn(1, 3, *problem.input_size)
    with torch.inference_mode():
        for task, map_ in loaded.eval()(images).items():
            assert torch.equal(map_, model(images)[task])
    assert notes[0] == "checkpoint checkpoint.pth.tar: ignored beside model: epoch, iter_count, optimizer, scheduler"
    assert len(notes) == (1 + bool(UNUSED_SINGLES.get(name)))


OTHERS: dict[str, Callable[[Problem], Problem]] = {
    "fewer tasks": lambda problem: problem.only(problem.names[1:]),
    "more tasks": lambda problem: Problem((*problem.tasks, TaskSpec("saliency")), problem.input_size),
    "other classes": lambda problem: Problem(
        tuple(TaskSpec("semseg", 6) if task.name == "semseg" else task for task in problem), problem.input_size
    ),
    "another size": lambda problem: Problem(problem.tasks, (48, 48)),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_for_another_problem_is_refused_in_one_line(name: str, other: str, tmp_path: Path) -> None:
    path = wrapped(build(name, SMALL["pascal"]), tmp_path / "checkpoint.pth.tar")
    with pytest.raises(UsageError, match=rf"checkpoint\.pth\.tar does not fit {name} on vit-micro for") as caught:
        load_published(method(name), OTHERS[other](SMALL["pascal"]), WeightFile(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_of_another_encoder_or_method_is_refused(name: str, tmp_path: Path) -> None:
    problem = Problem(SMALL["nyud"].tasks, (32, 48))
    path = wrapped(build(name, problem, "vit-t16"), tmp_path / "c.pth")
    with pytest.raises(UsageError, match=f"does not fit {name} on vit-micro"):
        load_published(method(name), problem, WeightFile(path))
    path = wrapped(build("invpt", problem), tmp_path / "d.pth")
    with pytest.raises(UsageError, match=f"does not fit {name} on vit-micro"):
        load_published(method(name), problem, WeightFile(path))


class Code:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", METHODS)
def test_a_damaged_checkpoint_and_one_with_code_are_refused(name: str, tmp_path: Path) -> None:
    problem, ran = SMALL["nyud"], tmp_path / "ran"
    path = wrapped(build(name, problem), tmp_path / "c.pth")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"c\.pth") as caught:
        load_published(method(name), problem, WeightFile(path))
    assert "\n" not in str(caught.value)
    state = build(name, problem).state_dict()
    torch.save({"model": state, "hook": Code(ran)}, path, pickle_module=pickle)
    with pytest.raises(UsageError, match=r"c\.pth"):
        load_published(method(name), problem, WeightFile(path))
    assert not ran.exists()


@pytest.mark.parametrize("name", METHODS)
def test_notes_on_the_encoders_weights_are_kept(name: str, tmp_path: Path) -> None:
    state = build("multi-task", SMALL["nyud"]).get_submodule("backbone.vit").state_dict()
    torch.save(state | {"head.weight": torch.zeros(10, 96)}, tmp_path / "vit.pth")
    subject = method(name)
    started = type(subject)(subject.options, "vit-micro", WeightFile(tmp_path / "vit.pth")).build(SMALL["nyud"])
    assert "weights vit.pth: ignored, as no part of the encoder: head" in started.notes
    own = started.state_dict()
    prefix = "backbone.vit." if "backbone.vit.pos_embed" in own else "backbone."
    assert torch.equal(own[f"{prefix}pos_embed"], state["pos_embed"])
    assert torch.equal(own[f"{prefix}blocks.1.mlp.fc1.weight"], state["blocks.1.mlp.fc1.weight"])


@pytest.mark.parametrize("budget", ["quick", "medium"])
@pytest.mark.parametrize("name", METHODS)
def test_in_our_budgets_the_encoder_alone_learns_slowly(name: str, budget: str) -> None:
    """All of it lies under ``backbone.``, as in other methods, but so does most of what reads it."""
    subject = method(name)
    [stage] = subject.stages(SMALL["nyud"], budget)  # type: ignore[arg-type]
    [usual] = method("invpt").stages(SMALL["nyud"], budget)  # type: ignore[arg-type]
    assert (stage.iterations, stage.batch_size) == (usual.iterations, usual.batch_size), "equal effort"
    model = subject.build(SMALL["nyud"])
    rates = {
        key: next((group.lr for group in stage.groups if key.startswith(group.prefixes)), stage.optimizer.lr)
        for key, _ in model.named_parameters()
    }
    prefix = "backbone.vit." if name == "sak" else "backbone."
    encoder = build_backbone("vit-micro", SMALL["nyud"].input_size).vit.state_dict()
    slow = {f"{prefix}{key}" for key in encoder} & rates.keys()
    assert {key for key, rate in rates.items() if rate < stage.optimizer.lr} == slow
    assert len(slow) > 40
