"""SAK: teacher paths and routers written out, its options, weights of its first stage, its recipe."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F
from vit_decoders import NYUD, PASCAL, SMALL, build, distinct, method

from harness.baselines.common.tasks import key_of
from harness.baselines.sak.model import SAKNet
from harness.baselines.sak.student import Adapter, TokenRouter
from harness.errors import UsageError
from harness.weights import WeightFile

PROBLEM = SMALL["nyud"]
TWO = {"teachers": "clip=24,sam=40", "down_ratio": 3, "noisy_gating": False, "aligner": True}


def network(**options: object) -> SAKNet:
    model = distinct(build("sak", PROBLEM, **options))
    assert isinstance(model, SAKNet)
    return model


@pytest.mark.parametrize("options", [{}, TWO], ids=["noisy", "aligned"])
def test_predictions_are_those_of_the_equations(options: dict[str, object]) -> None:
    model, images = network(**options), torch.randn(2, 3, 32, 48)
    with torch.inference_mode():
        ours = model(images)
        for task, map_ in written_out(model, images).items():
            torch.testing.assert_close(ours[task], map_, rtol=1e-4, atol=1e-4)


def written_out(model: SAKNet, images: Tensor) -> dict[str, Tensor]:
    """Every level enlarged on its own, every router averaged at the end, every teacher after the other."""
    student, vit = model.backbone, model.backbone.vit
    start = torch.cat([vit.cls_token.repeat(len(images), 1, 1), vit.patch_embed(images)], dim=1) + vit.pos_embed
    after = [start]
    for block in vit.blocks:
        after.append(block(after[-1]))
    paths = {}
    for teacher, adapters in student.tsap.items():
        paths[teacher] = [adapters[0](start)]
        for adapter, tokens in zip(adapters[1:], after[1:], strict=True):
            paths[teacher].append(adapter(paths[teacher][-1] + tokens))
    predictions = {}
    for task in model.problem.names:
        key, head, levels = key_of(task), model.heads[key_of(task)], []
        for place, tap in enumerate(student.taps):
            sources = [after[tap + 1][:, 1:]]
            sources += [student.out_norms[f"{tap}_{name}"](path[tap + 1][:, 1:]) for name, path in paths.items()]
            router = student.mor[f"{tap}_{key}"].router
            logits = router.module(sources[0]).mean(1)[:, : len(sources)]
            mixed = sum(p[:, None, None] * s for p, s in zip(logits.softmax(1).T, sources, strict=True))
            map_ = head.linears[place](mixed).transpose(1, 2).unflatten(2, student.grid)
            levels.append(F.interpolate(map_, size=(8, 12), mode="bilinear", align_corners=False))
        prediction = head.last_conv(head.linear_fuse(torch.cat(levels, dim=1)))
        predictions[task] = F.interpolate(prediction, size=(32, 48), mode="bilinear", align_corners=False)
    return predictions


def test_an_adapter_is_a_scaled_residual() -> None:
    adapter, tokens = Adapter(8, 4), torch.randn(1, 3, 8)
    with torch.no_grad():
        adapter.scale.fill_(0.0)
        assert torch.equal(adapter(tokens), tokens)
        adapter.scale.fill_(2.0)
        expected = tokens + 2 * adapter.up(F.gelu(adapter.down(tokens)))
        torch.testing.assert_close(adapter(tokens), expected)
    assert adapter.down.weight.shape == (2, 8)


def test_routers_are_disturbed_in_training_and_only_where_a_noise_is_learned() -> None:
    tokens = torch.randn(2, 5, 8)
    for noisy in (True, False):
        router = TokenRouter(8, 3, noisy)
        with torch.no_grad():
            first, second = router(tokens), router(tokens)
            assert torch.equal(first, second) is not noisy
            torch.testing.assert_close(first.sum(1), torch.ones(2))
            router.eval()
            assert torch.equal(router(tokens), router(tokens))


def test_aligners_serve_no_prediction_and_are_kept() -> None:
    model, images = network(**TWO), torch.randn(1, 3, 32, 48)
    dead = [value for key, value in model.named_parameters() if key.startswith(model.unused)]
    assert {tuple(value.shape) for value in dead if value.ndim > 1} == {(24, 96), (40, 96)}
    with torch.inference_mode():
        before = model(images)
        for value in dead:
            value.fill_(float("nan"))
        assert all(torch.equal(map_, before[task]) for task, map_ in model(images).items())
    held = {parameter for part in model.parts().values() for parameter in part.parameters()}
    assert held == set(model.parameters())


def test_teachers_are_named() -> None:
    assert list(build("sak", PROBLEM, teachers="sam").backbone.tsap) == ["sam"]  # type: ignore[union-attr, arg-type]
    for wrong in ("Sam", "a.b", "sam=-1", "sam=x"):
        with pytest.raises(ValidationError):
            method("sak", teachers=wrong)


def first_stage(folder: Path, **options: object) -> tuple[Path, dict[str, Tensor]]:
    """Save a student without routers and heads, as the first stage leaves it, on images of another size."""
    torch.manual_seed(7)
    student = method("sak", **options).build(type(PROBLEM)(PROBLEM.tasks, (64, 64))).backbone  # type: ignore[union-attr]
    state = {key: value for key, value in student.state_dict().items() if not key.startswith("mor.")}  # type: ignore[union-attr]
    torch.save({"model": state, "epoch": 30}, folder / "stage1.pth")
    return folder / "stage1.pth", state


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_training_starts_from_the_student_of_the_first_stage(prefix: str, tmp_path: Path) -> None:
    path, state = first_stage(tmp_path)
    torch.save({f"{prefix}{key}": value for key, value in state.items()}, path)
    subject = method("sak")
    model = type(subject)(subject.options, "vit-micro", WeightFile(path)).build(PROBLEM)
    own = model.get_submodule("backbone").state_dict()
    for key, value in state.items():
        if key != "vit.pos_embed":
            assert torch.equal(own[key], value), key
    assert own["vit.pos_embed"].shape == (1, 1 + 24, 96), "resampled from 8 x 8 to 4 x 6"
    assert torch.equal(own["vit.pos_embed"][:, 0], state["vit.pos_embed"][:, 0])
    assert len(model.notes) == 1
    assert "without its teachers" in model.notes[0]


def test_aligners_of_the_first_stage_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    options = {"teachers": "clip=24,sam=40"}
    path, _ = first_stage(tmp_path, **options, aligner=True)
    for aligner in (False, True):
        subject = method("sak", **options, aligner=aligner)
        model = type(subject)(subject.options, "vit-micro", WeightFile(path)).build(PROBLEM)
        assert ("weights stage1.pth: ignored, as no part of the first stage: ts_aligners" in model.notes) is not aligner
        assert ("backbone.ts_aligners.0_clip.weight" in model.state_dict()) is aligner


def test_the_student_of_other_teachers_is_refused(tmp_path: Path) -> None:
    path, _ = first_stage(tmp_path, teachers="clip,sam")
    subject = method("sak")
    with pytest.raises(UsageError, match=r"stage1\.pth does not fit the student: .* missing") as caught:
        type(subject)(subject.options, "vit-micro", WeightFile(path)).build(PROBLEM)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("problem", [NYUD, PASCAL], ids=["nyud", "pascal"])
def test_the_recipe_is_the_second_stage(problem: object) -> None:
    [stage] = method("sak", "vit-b16").stages(problem, "full")  # type: ignore[arg-type]
    assert (stage.iterations, stage.batch_size, stage.clip_norm) == (40_000, 4, 10.0)
    assert (stage.optimizer.name, stage.optimizer.lr, stage.optimizer.weight_decay) == ("adamw", 2e-5, 1e-6)
    assert (stage.schedule.name, stage.schedule.power, stage.terms) == ("poly", 0.9, None)
