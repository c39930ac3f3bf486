"""MTAN against its formula written out."""

import pytest
import torch
from torch.nn import functional as F

from harness.baselines.mtan import AttentionNet
from harness.problem import Problem

from resnet_nets import NYUD, SIX, SIZE, built, method  # isort: skip


@torch.inference_mode()
def test_a_task_masks_the_last_block_of_every_stage() -> None:
    model = built("mtan", SIX)
    assert isinstance(model, AttentionNet)
    images = torch.randn(2, 3, *SIZE)
    net, x, masked = model.backbone, model.backbone.stem(images), None
    for stage, (layers, refine) in enumerate(
        zip(net.stages, (model.refine_1, model.refine_2, model.refine_3, None), strict=True), 1
    ):
        before = layers[0](x)
        x = layers[1](before)
        first, norm, _, second, norm_again, _ = getattr(model, f"attention_{stage}")["human_parts"]
        inputs = before if masked is None else torch.cat([before, masked], dim=1)
        mask = 1 / (1 + torch.exp(-norm_again(second(norm(first(inputs)).clamp_min(0)))))
        masked = mask * x
        if refine is not None:
            masked = refine(masked)
        if stage == 1:
            masked = F.max_pool2d(masked, 2)
    torch.testing.assert_close(model(images, ["parts"])["parts"], model.heads["human_parts"](masked))


@pytest.mark.parametrize("size", [(36, 52), (33, 47)])
@torch.inference_mode()
def test_sides_that_are_no_multiples_of_the_stride_are_rounded_as_the_encoder_does(size: tuple[int, int]) -> None:
    predictions = built("mtan", NYUD[:2], size)(torch.randn(1, 3, *size))
    assert predictions["semseg"].shape == (1, 40, *size)
    assert predictions["depth"].isfinite().all()


@torch.inference_mode()
def test_the_order_of_the_tasks_in_the_problem_does_not_matter() -> None:
    model = built("mtan", SIX)
    other = method("mtan").build(Problem(SIX[::-1], SIZE)).eval()
    assert list(model.state_dict()) == list(other.state_dict())
    other.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, *SIZE)
    one, two = model(images), other(images)
    for task, map_ in one.items():
        assert torch.equal(map_, two[task])
    assert one["saliency"].shape[1] == 1


def test_parts_of_a_task_are_its_masks_and_its_head() -> None:
    parts = built("mtan", NYUD[:2]).parts()
    assert set(parts) == {"encoder", "refinement", "attention/semseg", "head/semseg", "attention/depth", "head/depth"}


def test_the_full_recipe_is_the_same_for_both_encoders_but_for_the_batch() -> None:
    for backbone, batch in (("resnet50", 8), ("resnet18", 6)):
        [stage] = method("mtan", backbone).stages(Problem(NYUD, SIZE), "full")
        optimizer = (stage.optimizer.name, stage.optimizer.lr, stage.optimizer.weight_decay)
        assert (optimizer, stage.epochs, stage.batch_size) == (("adam", 1e-4, 1e-4), 100, batch)
