"""Budgets of this project give every task the same number of images, whatever the method."""

from itertools import combinations

import pytest
from test_methods import PROBLEM, method

from harness.baselines.single_task import SingleTask
from harness.errors import UsageError
from harness.registry import load_dataset, load_method, names
from harness.run.job import images_of
from harness.training.recipes import MEDIUM_BATCH, MEDIUM_STEPS, QUICK_BATCH, QUICK_STEPS

TASKS = PROBLEM.names


@pytest.mark.parametrize(
    ("budget", "images"), [("quick", QUICK_STEPS * QUICK_BATCH), ("medium", MEDIUM_STEPS * MEDIUM_BATCH)]
)
@pytest.mark.parametrize("name", names("methods"))
def test_every_task_sees_the_same_number_of_images(name: str, budget: str, images: int) -> None:
    subject = method(name)
    for count in range(1, len(TASKS) + 1):
        for chosen in combinations(TASKS, count):
            if name == "share" and "semseg" not in chosen:
                continue
            problem = PROBLEM.only(chosen)
            seen = images_of(subject.stages(problem, budget))  # type: ignore[arg-type]
            assert set(seen.values()) == {images}, (chosen, seen)
            assert set(seen) == set(chosen)


def matching() -> SingleTask:
    cls = load_method("single-task")
    return cls(cls.Options(effort="match"), "vit-micro")  # type: ignore[return-value]


def test_single_task_takes_its_effort_from_others() -> None:
    subject = matching()
    subject.match({"semseg": 100, "depth": 101})
    problem = PROBLEM.only(("semseg", "depth"))
    stages = {stage.name: stage for stage in subject.stages(problem, "full")}
    assert stages["semseg"].iterations * stages["semseg"].batch_size >= 100
    assert stages["depth"].iterations == -(-101 // stages["depth"].batch_size)
    assert all(stage.epochs is None for stage in stages.values())


def test_there_must_be_others_to_match() -> None:
    with pytest.raises(UsageError, match="no other method to match"):
        matching().match({})
    method("single-task").match({})


def test_the_medium_budget_has_scenes_of_its_own() -> None:
    for name in ("nyud-synth", "pascal-synth"):
        quick, medium = load_dataset(name).for_budget("quick"), load_dataset(name).for_budget("medium")
        assert medium.plan.train >= 2000 > quick.plan.train
        assert min(medium.default_size(medium.plan.longest)) >= 212
        assert load_dataset(name).for_budget("full").plan == quick.plan
