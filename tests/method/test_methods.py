"""Every registered method is built, trained, evaluated, saved and loaded."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_setups import training_setup

from harness.compute import Compute
from harness.data.loading import eval_batches
from harness.data.open import OpenedData, open_data
from harness.method import Method, MultiTaskModel, TrainingOutput, load_artifact, save_artifact
from harness.problem import Problem, TaskSpec
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.registry import load_dataset, load_method, names
from harness.run.evaluate import evaluate
from harness.tasks import build_task
from harness.training.loop import train

CPU = torch.device("cpu")
PROBLEM = Problem(
    (
        TaskSpec("semseg", 21),
        TaskSpec("parts", 7),
        TaskSpec("saliency"),
        TaskSpec("normals"),
        TaskSpec("depth"),
        TaskSpec("boundary", tolerance=0.011),
    ),
    (32, 48),
)


def method(name: str) -> Method:
    cls = load_method(name)
    return cls(cls.Options(), cls.default_backbone["quick"])


@pytest.fixture(scope="module", params=["nyud", "pascal-context"])
def data(request: pytest.FixtureRequest, golden: Path) -> OpenedData:
    root = golden / ("mini_NYUDv2" if request.param == "nyud" else "mini_PASCALContext")
    return open_data(load_dataset(request.param), root, (), Protocol(), None, training=True)


@pytest.mark.parametrize("name", names("methods"))
def test_trains_evaluates_saves_and_loads(name: str, data: OpenedData, tmp_path: Path) -> None:
    subject = method(name)
    torch.manual_seed(0)
    model = subject.build(data.problem)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    stages = [replace(stage, iterations=1) for stage in subject.stages(data.problem, "quick")]
    logs = train(model, stages, training_setup(data, tmp_path))
    assert [log.name for log in logs] == [stage.name for stage in stages]
    assert all(log.final_loss is not None for log in logs)
    assert any(not torch.equal(before[key], value) for key, value in model.state_dict().items())

    artifact = tmp_path / "artifact"
    artifact.mkdir()
    save_artifact(subject, model, artifact)
    loaded = load_artifact(subject, artifact)
    images = torch.rand(2, 3, *data.problem.input_size)
    model.eval()
    loaded.eval()
    with torch.inference_mode():
        ours, theirs = model(images), loaded(images)
    for task in data.problem:
        assert torch.equal(ours[task.name], theirs[task.name])

    tasks = {spec.name: build_task(spec) for spec in data.problem}
    batches = eval_batches(data.val, data.transform, 2)
    figures = evaluate(loaded, batches, len(data.val), tasks, Protocol(), Compute(CPU), RunProgress(quiet=True))
    assert list(figures) == list(data.problem.names)


@pytest.mark.parametrize("name", names("methods"))
def test_predicts_raw_maps_at_input_size_for_the_tasks_asked_for(name: str) -> None:
    model = method(name).build(PROBLEM).eval()
    images = torch.rand(1, 3, *PROBLEM.input_size)
    with torch.inference_mode():
        everything = model(images)
        some = model(images, ["depth", "normals"])
    for task in PROBLEM:
        _, channels, *size = everything[task.name].shape
        assert tuple(size) == PROBLEM.input_size
        assert channels == task.channels or (task.name, channels) == ("saliency", 1)
    assert set(some) == {"depth", "normals"}
    for task, prediction in some.items():
        torch.testing.assert_close(prediction, everything[task])


FROZEN = {"mtlora": ".linear."}
"""Parts of the names of parameters that a method leaves as they were pretrained."""


@pytest.mark.parametrize("name", names("methods"))
def test_stages_supervise_every_task_and_train_every_parameter(name: str) -> None:
    subject = method(name)
    for budget in ("quick", "full"):
        stages = subject.stages(PROBLEM, budget)  # type: ignore[arg-type]
        assert {task for stage in stages for task in stage.tasks} == set(PROBLEM.names)
        prefixes = tuple(prefix for stage in stages for prefix in stage.trainable)
        left = [key for key, _ in subject.build(PROBLEM).named_parameters() if not key.startswith(prefixes)]
        assert bool(left) == (name in FROZEN)
        assert all(FROZEN[name] in key for key in left)


@pytest.mark.parametrize("name", names("methods"))
def test_parts_hold_every_parameter_once(name: str) -> None:
    model = method(name).build(PROBLEM)
    parts = [parameter for part in model.parts().values() for parameter in part.parameters()]
    assert len(parts) == len({id(parameter) for parameter in parts})
    own = list(model.parameters(recurse=False))  # of no module, such as weights of the losses that are learned
    assert {id(parameter) for parameter in [*parts, *own]} == {id(parameter) for parameter in model.parameters()}


def test_single_task_stages_touch_their_own_network_alone(data: OpenedData, tmp_path: Path) -> None:
    subject = method("single-task")
    model = subject.build(data.problem)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    stage = replace(subject.stages(data.problem, "quick")[1], iterations=2)
    train(model, [stage], training_setup(data, tmp_path))
    changed = {key.split(".")[1] for key, value in model.state_dict().items() if not torch.equal(before[key], value)}
    assert changed == set(stage.tasks)


class Intermediate(MultiTaskModel):
    """Predicts once before and once after scaling."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.scale = torch.nn.Parameter(torch.ones(2))

    def forward(self, images: torch.Tensor, tasks: object = None) -> dict[str, torch.Tensor]:
        return {"depth": images[:, :1] * self.scale[0]}

    def forward_train(self, images: torch.Tensor, tasks: object = None) -> TrainingOutput:
        return TrainingOutput(self(images), ({"depth": images[:, :1] * self.scale[1]},))


@contextlib.contextmanager
def one_stage(data: OpenedData, **changes: object) -> Iterator[tuple[Intermediate, list[object]]]:
    stage = replace(method("multi-task").stages(data.problem, "quick")[0], tasks=("depth",), iterations=1)
    yield Intermediate(data.problem), [replace(stage, **changes)]  # type: ignore[arg-type]


@pytest.mark.parametrize("data", ["nyud"], indirect=True)
def test_intermediate_predictions_and_further_terms_are_trained(data: OpenedData, tmp_path: Path) -> None:
    with one_stage(data, terms=lambda model, batch, output: {"pull": model.scale.sum() * 1000}) as (model, stages):
        [log] = train(model, stages, training_setup(data, tmp_path))
    assert (model.scale != 1).all()
    assert log.final_loss is not None
    assert log.final_loss > 1999, "the further term is part of the loss"


@pytest.mark.parametrize("data", ["nyud"], indirect=True)
def test_a_stage_may_weigh_the_losses_itself(data: OpenedData, tmp_path: Path) -> None:
    def weigh(model: MultiTaskModel, losses: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: 0 * loss + 3.0 for name, loss in losses.items()}

    with one_stage(data, weigh=weigh) as (model, stages):
        [log] = train(model, stages, training_setup(data, tmp_path))
    predictions = 2  # the final one and the intermediate one
    assert log.final_loss == pytest.approx(3.0 * predictions * len(stages[0].tasks))


def test_loading_an_artifact_fetches_no_published_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = load_method("multi-task")
    plain = cls(cls.Options(), "vit-t16")
    save_artifact(plain, plain.build(PROBLEM), tmp_path)
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("went to the hub"))
    loaded = load_artifact(cls(cls.Options(), "vit-t16", weights="pretrained"), tmp_path)
    assert loaded.problem == PROBLEM
