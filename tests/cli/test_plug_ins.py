"""Plug-ins that are edited, that keep no contract, or that fail: one clear line, and never old results for new code."""

import json
from pathlib import Path

import pytest

from harness.records import find_records

SCALED = """
from harness.baselines.multi_task import MultiTask
{imports}

class Mine(MultiTask):
    name = "mine"
    summary = "is being worked on"

    def build(self, problem):
        model = super().build(problem)
        forward = model.forward
        model.forward = lambda *a, **k: {{task: value * {factor} for task, value in forward(*a, **k).items()}}
        return model
"""

RUN = ("run", "-m", "mine", "--plugin", "mine.py", "-t", "depth")


@pytest.fixture
def quick(mini) -> tuple[object, ...]:
    return (*mini[:4], "--iterations", 1, "--probe", "none", "-o", "out")


def results() -> list[float | None]:
    return [record.metrics["depth"]["rmse"].value for record in find_records(Path("out"))]


def test_an_edited_plug_in_runs_again(harness, quick) -> None:
    Path("mine.py").write_text(SCALED.format(imports="", factor=1))
    assert harness(*RUN, *quick).code == 0
    Path("mine.py").write_text(SCALED.format(imports="", factor=0))
    assert harness(*RUN, *quick).code == 0
    first, second = find_records(Path("out"))
    assert first.metrics != second.metrics
    assert first.method.source != second.method.source
    assert None not in (first.method.source, first.harness.source, second.method.source)
    assert harness(*RUN, *quick).code == 0
    assert len(results()) == 2, "unchanged code is not run again"


def test_an_edited_module_next_to_a_plug_in_runs_it_again(harness, quick, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("mine.py").write_text(SCALED.format(imports="from scale_of_mine import FACTOR", factor="FACTOR"))
    Path("scale_of_mine.py").write_text("import deeper_of_mine\nFACTOR = deeper_of_mine.VALUE\n")
    for value in (1, 0):
        Path("deeper_of_mine.py").write_text(f"VALUE = {value}\n")
        assert harness(*RUN, *quick).code == 0
    assert len(set(results())) == 2


def test_a_half_trained_run_of_other_code_is_not_continued(harness, quick, monkeypatch) -> None:
    Path("mine.py").write_text(SCALED.format(imports="", factor=1))
    with monkeypatch.context() as patch:
        patch.setattr("harness.run.execute._export", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert harness(*RUN, *quick).code == 130
    assert list(Path("out").rglob("checkpoint.pt"))
    Path("mine.py").write_text(SCALED.format(imports="", factor=0))
    assert harness(*RUN, *quick).code == 0
    [complete] = [record for record in find_records(Path("out")) if record.status == "complete"]
    assert not any(phase.resumed for phase in complete.phases)


def test_results_of_other_code_of_the_harness_are_not_repeated_silently(harness, quick, monkeypatch) -> None:
    command = ("run", "-m", "multi-task", "-t", "depth", *quick)
    assert harness(*command).code == 0
    assert "other code" not in harness(*command).err
    path = next(Path("out").rglob("record.json"))
    content = json.loads(path.read_text())
    content["harness"]["source"] = "0" * 64
    path.write_text(json.dumps(content))
    repeated = harness(*command)
    assert repeated.code == 0
    assert "other code of the harness" in repeated.err
    assert "--overwrite always" in repeated.err
    monkeypatch.setattr("harness.__version__", "99.0")
    assert harness(*command).code == 0
    assert len(results()) == 2, "another version runs again"


METHOD = """
import sys, torch
from harness.baselines.multi_task import MultiTask
from harness.method import Method, MethodOptions, Stage

class Mine(MultiTask):
    name = "mine"
    summary = "breaks the contract"
    {body}
"""

NO_CONTRACT = {
    "exit on import": ("import sys; sys.exit(0)", "calls sys.exit(0)"),
    "exit in the class": (METHOD.format(body="sys.exit('bye')"), "calls sys.exit('bye')"),
    "a number for a name": (METHOD.format(body="name = 5"), "Mine.name is '5'"),
    "an empty name": (METHOD.format(body="name = ''"), "Mine.name is ''"),
    "a path for a name": (METHOD.format(body="name = '../../evil'"), "Mine.name is '../../evil'"),
    "an absolute name": (METHOD.format(body="name = '/tmp/evil'"), "Mine.name is '/tmp/evil'"),
    "dots": (METHOD.format(body="name = '..'"), "Mine.name is '..'"),
    "a long name": (METHOD.format(body="name = 'x' * 300"), "1 to 64 letters"),
    "a line break": (METHOD.format(body="name = 'a' + chr(10) + 'b'"), "Mine.name is"),
    "no options": (METHOD.format(body="Options = dict"), "Mine.Options must be a class"),
    "options that are no class": (METHOD.format(body="Options = 3"), "Mine.Options must be a class"),
    "a summary that is none": (METHOD.format(body="summary = None"), "Mine.summary must be a line"),
    "families": (METHOD.format(body="families = ('vits',)"), "Mine.families must be a tuple of"),
    "backbones": (METHOD.format(body="default_backbone = {'quick': 'vit-micro'}"), "for the budget 'full'"),
    "no stages": (
        "from harness.method import Method\nclass Mine(Method):\n    name = 'mine'\n    def build(self, p): ...",
        "Mine lacks stages",
    ),
}


@pytest.mark.parametrize("case", NO_CONTRACT)
def test_a_plug_in_without_the_contract_is_one_line_and_exit_code_2(case: str, harness, quick, tmp_path: Path) -> None:
    source, message = NO_CONTRACT[case]
    Path("mine.py").write_text(source)
    result = harness(*RUN, *quick)
    assert (result.code, message in result.err) == (2, True), result.err
    assert len(result.err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py"], "nothing is written"
    assert not (tmp_path.parent / "evil").exists()


def overriding(method: str, code: str) -> str:
    return METHOD.format(body=f"def {method}:\n        {code}")


NET = """
    def build(self, problem):
        model = super().build(problem)
        forward = model.forward
        def changed(images, tasks=None):
            out = forward(images, tasks)
            {code}
        model.forward = changed
        return model
"""

FAILING = {
    "exit in build": (overriding("build(self, problem)", "sys.exit(0)"), "calls sys.exit(0)"),
    "exit in stages": (overriding("stages(self, problem, budget)", "sys.exit(0)"), "calls sys.exit(0)"),
    "exit in forward": (METHOD.format(body=NET.format(code="sys.exit(0)")), "calls sys.exit(0)"),
    "exit while loading": (overriding("load(self, folder, tasks=None)", "sys.exit(0)"), "calls sys.exit(0)"),
    "exit at the start": (overriding("__init__(self, *_)", "sys.exit(0)"), "calls sys.exit(0)"),
    "stages raise": (overriding("stages(self, problem, budget)", "1 / 0"), "stages: ZeroDivisionError"),
    "stages are None": (overriding("stages(self, problem, budget)", "return None"), "must return a list of Stage"),
    "stages are rubbish": (overriding("stages(self, problem, budget)", "return [1]"), "must return a list of Stage"),
    "a stage twice": (
        overriding("stages(self, problem, budget)", "return 2 * [Stage('a', problem.names, 1, 1)]"),
        "the name 'a'",
    ),
    "a stranger's task": (
        overriding("stages(self, problem, budget)", "return [Stage('a', ('flow',), 1, 1)]"),
        "must be a tuple of some of depth",
    ),
    "a text for tasks": (
        overriding("stages(self, problem, budget)", "return [Stage('a', 'depth', 1, 1)]"),
        "must be a tuple of some of depth",
    ),
    "no steps": (
        overriding("stages(self, problem, budget)", "return [Stage('a', problem.names, 0, 1)]"),
        "whole number from 1",
    ),
    "build gives None": (overriding("build(self, problem)", "return None"), "build must return a MultiTaskModel"),
    "build gives a module": (
        overriding("build(self, problem)", "return torch.nn.Linear(1, 1)"),
        "build must return a MultiTaskModel, not Linear",
    ),
    "no prediction": (METHOD.format(body=NET.format(code="return None")), "must return a dictionary"),
    "a task is missing": (METHOD.format(body=NET.format(code="return {}")), "no prediction of depth"),
    "small maps": (
        METHOD.format(body=NET.format(code="return {t: v[..., ::2, ::2] for t, v in out.items()}")),
        "depth has the shape",
    ),
    "other channels": (
        METHOD.format(body=NET.format(code="return {t: v.repeat(1, 2, 1, 1) for t, v in out.items()}")),
        "depth has the shape",
    ),
    "no tensors": (METHOD.format(body=NET.format(code="return {t: 1.0 for t in out}")), "depth is of type float"),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_method_that_fails_is_one_line_and_exit_code_4(case: str, harness, quick) -> None:
    source, message = FAILING[case]
    Path("mine.py").write_text(source)
    result = harness(*RUN[:3], "-m", "multi-task", *RUN[3:], *quick)
    assert (result.code, message in result.err) == (4, True), result.err
    assert len(result.err.strip().splitlines()) == 1
    assert result.err.count("mine on nyud, seed 0") <= 1
    if case != "exit at the start":
        assert "multi-task" in result.out, "the other method is kept"


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')"])
def test_predictions_that_are_not_finite_give_null_with_the_reason(value: str, harness, quick) -> None:
    code = f"if not torch.is_grad_enabled(): out['semseg'][-1, :, 0, 0] = {value}\n            return out"
    Path("mine.py").write_text(METHOD.format(body=NET.format(code=code)))
    command = (*RUN, "-t", "semseg", *quick, "--batch-size", 8, "--save-predictions", "saved")
    assert harness(*command).code == 0
    [record] = find_records(Path("out"))
    for metric in record.metrics["semseg"].values():
        assert metric.value is None
        assert "1 of 2 images are not finite" in metric.reason
    assert record.metrics["depth"]["rmse"].value is not None
    assert len(list(Path("saved/semseg").iterdir())) == 1, "a map of classes would hide it"
    assert len(list(Path("saved/depth").iterdir())) == 2


OPTIONAL = """
import pandas as pd
from harness.baselines.multi_task import MultiTask
from harness.method import Accounting, Method, save_artifact, write_manifest
from harness.weights import load_exactly
from harness.weights.artifact import read_manifest, read_tensors
from safetensors.torch import save_file

class Costs(Accounting):
    data_dependent = True

    def layer_statistics(self, model, images):
        return {"density": pd.DataFrame({"depth": [0.5]}, index=["block 0"])}

    def bytes_per_part(self, model, folder):
        return {"everything": (folder / "weights.safetensors").stat().st_size}

    def describe(self, folder):
        return {"made_by": self.method.name}

class Mine(MultiTask):
    name = "mine"
    summary = "takes part in everything"
    Accounting = Costs

    def calibrate(self, model, score):
        assert set(score(model, ["depth"])) == {"depth"}
        model.calibrated = True

    def save(self, model, folder):
        assert model.calibrated
        save_file(model.state_dict(), folder / "weights.safetensors")
        write_manifest(self, model.problem, folder)

    def load(self, folder, tasks=None):
        model = self.build(read_manifest(folder).problem())
        load_exactly(model, read_tensors(folder / "weights.safetensors"), str(folder))
        return model
"""


def test_a_file_may_define_every_optional_part(harness, quick) -> None:
    Path("mine.py").write_text(OPTIONAL)
    result = harness(*RUN, *quick[:-4], "--probe", "storage", "--probe", "macs", "-o", "out")
    assert result.code == 0, result.err
    [record] = find_records(Path("out"))
    folder = Path("out") / record.run_id
    assert {path.name for path in (folder / "artifact").iterdir()} == {"artifact.json", "weights.safetensors"}
    assert record.storage.per_part["everything"] > 0
    assert record.macs.executed.n == 2, "counted on every image"
    assert (folder / "layers.png").is_file()
    shown = harness("show", folder / "artifact", "--plugin", "mine.py")
    assert json.loads(shown.out)["made_by"] == "mine"
    refused = harness(*RUN[:-1], "semseg", "-t", "depth", *quick, "--extend", folder / "artifact")
    assert (refused.code, "cannot add tasks" in refused.err) == (2, True)


@pytest.mark.parametrize("member", ["macs(self, model, images)", "storage_parts(self, model, folder)"])
def test_a_part_of_the_accounting_is_not_overlooked_on_the_method(member: str, harness, quick) -> None:
    Path("mine.py").write_text(overriding(member, "return {}"))
    result = harness(*RUN, *quick)
    assert result.code == 2
    assert "belongs to its Accounting" in result.err
