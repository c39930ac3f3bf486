"""Recipe of corrections: effort of single networks, one stage, teachers whose training counts, held-out images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from corrected_nets import PROBLEM, corrected, images, method
from records import record
from test_recipe import data, trained  # noqa: F401 - a fixture
from training_setups import training_setup

from harness.compute import seed_everything
from harness.data.loading import train_batches
from harness.data.open import OpenedData
from harness.data.transforms import Item
from harness.errors import UsageError
from harness.method import MultiTaskModel, save_artifact
from harness.methods.share.corrections import CorrectedNets
from harness.methods.share.corrections.candidates import CandidateNets, choose
from harness.methods.share.corrections.nets import CorrectedOutput
from harness.methods.share.corrections.teacher import Pull, Teacher
from harness.problem import Problem
from harness.recipe import held_out
from harness.records import StageInfo, write_record
from harness.records.metric import Metric
from harness.registry import load_method
from harness.training.loop import train
from harness.training.recipes import baseline_stage


@pytest.mark.parametrize("budget", ["quick", "full"])
def test_a_sub_task_trains_once_and_as_long_as_the_base_or_a_single_network(budget: str) -> None:
    stages = method().stages(PROBLEM, budget)  # type: ignore[arg-type]
    assert [stage.name for stage in stages] == list(PROBLEM.names)
    base = stages[0]
    for stage in stages[1:]:
        assert (stage.iterations, stage.batch_size) == (base.iterations, base.batch_size)
        assert stage.trainable == (f"corrections.{stage.name}.", f"heads.{stage.name}.")
        single = baseline_stage("vit-micro", stage.name, (stage.name,), "quick")
        assert budget == "full" or (stage.iterations, stage.optimizer) == (single.iterations, single.optimizer)


def test_images_are_held_out_only_where_settings_are_chosen() -> None:
    assert [stage.holds_out for stage in method().stages(PROBLEM, "quick")] == [False, True, True, True]
    assert not any(stage.holds_out for stage in method(accuracy_budget=None).stages(PROBLEM, "quick"))
    assert not any(stage.holds_out for stage in method(rank=0).stages(PROBLEM, "quick"))


def test_a_sub_task_trains_the_same_whatever_precedes_it_and_the_base_stays(data: OpenedData, tmp_path: Path) -> None:  # noqa: F811
    alone = trained(method(), data, ("semseg", "normals"), tmp_path / "alone")
    beside = trained(method(), data, ("semseg", "depth", "normals"), tmp_path / "beside")
    cls = load_method("single-task")
    single = trained(cls(cls.Options(), "vit-micro"), data, ("semseg",), tmp_path / "single").state_dict()
    state = beside.state_dict()
    for key, value in alone.state_dict().items():
        if key.startswith("base."):
            assert torch.equal(value, single[f"nets.semseg.backbone.{key.removeprefix('base.')}"]), key
        if key.startswith(("corrections.normals.", "heads.normals.", "base.")):
            assert torch.equal(value, state[key]), key
    assert not torch.equal(state["corrections.normals.outward"], torch.zeros_like(state["corrections.normals.outward"]))


def test_inference_is_what_was_trained() -> None:
    nets = corrected()
    nets.train()
    torch.manual_seed(0)  # the first draw, 0.496, is of the dearest setting
    with torch.no_grad():
        output = nets.forward_train(images(), ["boundary"])
    with torch.inference_mode():
        torch.testing.assert_close(output.predictions["boundary"], nets.eval()(images())["boundary"])


def single_artifact(folder: Path, problem: Problem = PROBLEM, steps: int = 7) -> Path:
    """Write an artifact of single networks, and the record of their training, in the folder of a run."""
    cls = load_method("single-task")
    subject = cls(cls.Options(), "vit-micro")
    torch.manual_seed(5)
    artifact = folder / "artifact"
    artifact.mkdir(parents=True)
    save_artifact(subject, subject.build(problem), artifact)
    training = [StageInfo(name=task, iterations=steps, final_loss=1.0) for task in problem.names]
    write_record(record("single-task", training=training), folder)
    return artifact


def test_a_teacher_gives_its_head_and_its_map_and_its_effort_counts(tmp_path: Path) -> None:
    artifact = single_artifact(tmp_path, PROBLEM.only(["depth", "normals"]))
    stages = method(teacher=str(artifact)).stages(PROBLEM, "quick")
    assert [stage.name for stage in stages] == [
        "semseg", "teacher/depth", "depth", "teacher/normals", "normals", "boundary",
    ]  # fmt: skip
    effort, taught = stages[1:3]
    assert (effort.iterations, effort.batch_size, len(effort.elsewhere.sha256)) == (7, taught.batch_size, 64)
    nets = corrected()
    taught.prepare(nets)  # type: ignore[misc]
    teacher = Teacher(artifact, "vit-micro", PROBLEM)
    encoder = teacher.encoder("depth")
    head = corrected(perturbed=False).heads["depth"]
    teacher.give_head("depth", head)
    for ours, theirs in zip(nets.heads["depth"].parameters(), head.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    # The loss by hand: 0 at the teacher's own map, the weighted mean square elsewhere
    assert isinstance(taught.terms, Pull)
    batch = type("", (), {"images": images()})()
    target = encoder(images())
    for shift in (0.0, 0.5):
        output = CorrectedOutput({}, features=target + shift)
        assert taught.terms(nets, batch, output)["pull"].item() == pytest.approx(shift**2, rel=1e-4)
    normals = stages[4].terms
    assert isinstance(normals, Pull)
    assert normals.weight == 10


@pytest.mark.parametrize(
    ("distil", "pulls", "starts"), [("both", True, True), ("pull", True, False), ("head", False, True)]
)
def test_pull_and_head_start_can_be_had_alone(distil: str, pulls: bool, starts: bool, tmp_path: Path) -> None:
    artifact = single_artifact(tmp_path)
    stages = method(teacher=str(artifact), distil=distil, taught=["normals"]).stages(PROBLEM, "quick")
    by_name = {stage.name: stage for stage in stages}
    assert (by_name["normals"].terms is not None) == pulls
    assert by_name["depth"].terms is None
    assert "teacher/depth" not in by_name
    nets = corrected()
    before = nets.heads["normals"].project.weight.clone()
    by_name["normals"].prepare(nets)  # type: ignore[misc]
    assert torch.equal(before, nets.heads["normals"].project.weight) != starts


def test_teachers_that_cannot_teach_are_refused_in_one_line(tmp_path: Path) -> None:
    artifact = single_artifact(tmp_path / "run", PROBLEM.only(["depth"]))
    wrong = [
        ({"taught": ["depth"]}, "needs a teacher"),
        ({"teacher": str(artifact), "taught": ["normals"]}, "has no normals, but depth"),
        ({"teacher": str(tmp_path / "nowhere")}, "is no artifact"),
    ]
    for options, message in wrong:
        with pytest.raises(UsageError, match=message):
            method(**options).stages(PROBLEM, "quick")
    other = tmp_path / "other"
    other.mkdir()
    method().save(corrected(), other)
    with pytest.raises(UsageError, match="is of share; teachers are single-task"):
        method(teacher=str(other)).stages(PROBLEM, "quick")
    with pytest.raises(UsageError, match="vit-micro at 32x48, the sub-tasks are vit-micro at 32x56"):
        method(teacher=str(artifact)).stages(Problem(PROBLEM.tasks, (32, 56)), "quick")
    (tmp_path / "run" / "record.json").unlink()
    with pytest.raises(UsageError, match="training effort is unknown"):
        method(teacher=str(artifact)).stages(PROBLEM, "quick")


def test_stages_of_a_teacher_are_counted_and_not_run(data: OpenedData, tmp_path: Path) -> None:  # noqa: F811
    problem = data.problem.only(("semseg", "normals"))
    artifact = single_artifact(tmp_path / "run", problem)
    subject = method(teacher=str(artifact))
    seed_everything(0)
    model = subject.build(problem)
    stages = [stage if stage.elsewhere else replace(stage, iterations=1) for stage in subject.stages(problem, "quick")]
    logs = train(model, stages, training_setup(data, tmp_path))
    assert [(log.name, log.iterations) for log in logs] == [("semseg", 1), ("teacher/normals", 7), ("normals", 1)]
    # Resumed: nothing is left to do, and the log is the same but for losses of stages that ran
    assert [log.name for log in train(model, stages, training_setup(data, tmp_path))] == [log.name for log in logs]


def test_held_out_images_are_never_drawn() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> Item:
            self.seen.append(index)
            return Item(str(index), np.zeros((3, 2, 2), np.float32), {}, (2, 2))

    scenes = Recorder()
    skip = held_out(len(scenes))
    assert skip == 4
    transform = lambda sample, rng: sample  # noqa: E731
    list(train_batches(scenes, transform, 4, seed=0, start=0, stop=9, skip=skip))  # type: ignore[arg-type]
    assert sorted(scenes.seen) == list(range(4, 40)), "one epoch of the others, each once"


def test_the_base_that_serves_the_others_best_is_chosen() -> None:
    problem = PROBLEM.only(["semseg", "depth", "normals"])
    model = method(base_task="auto").build(problem)
    assert isinstance(model, CandidateNets)
    stages = method(base_task="auto").stages(problem, "quick")
    assert [stage.name for stage in stages[:4]] == ["semseg", "depth on semseg", "normals on semseg", "depth"]
    assert all(stage.holds_out for stage in stages)
    stages[4].prepare(model)  # type: ignore[misc]
    assert (model.chosen, stages[4].name) == ("depth", "semseg on depth")
    names = [name for name, _ in model.named_parameters() if name.startswith(stages[4].trainable)]
    assert names
    assert all("candidates.depth." in name and ".semseg." in name for name in names)
    assert model.forward_train(images(problem=problem), ["semseg"]).predictions.keys() == {"semseg"}

    def score(nets: MultiTaskModel, tasks: list[str]) -> dict[str, Metric]:
        assert isinstance(nets, CorrectedNets)
        [base] = set(problem.names) - set(nets.corrections)
        value = {"semseg": 0.5, "depth": 0.7, "normals": 0.6}[base]
        return {
            task: Metric(
                value=1.0 if task == base else value, unit="fraction", higher_is_better=True, n=1, protocol="p"
            )
            for task in tasks
        }

    gains = choose(model, score)  # type: ignore[arg-type]
    assert model.chosen == "depth"
    assert gains["depth"] == pytest.approx(-100 * 2 * 0.3 / 3)


def test_stochastic_depth_is_the_bases_alone_and_part_of_the_state() -> None:
    nets = corrected()
    nets.drop_path = 0.9
    nets.train()
    passes = [nets.forward_train(images(), ["semseg"]).predictions["semseg"] for _ in range(2)]
    assert not torch.equal(*passes)
    torch.manual_seed(0)
    first = nets.forward_train(images(), ["depth"]).predictions["depth"]
    torch.manual_seed(0)
    assert torch.equal(first, nets.forward_train(images(), ["depth"]).predictions["depth"])
    again = corrected(perturbed=False)
    again.load_state_dict(nets.state_dict())
    assert again.drop_path == pytest.approx(0.9)
