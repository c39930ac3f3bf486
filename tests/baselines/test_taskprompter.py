"""TaskPrompter: its windows and scores written out, its options, what it does not compute."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F
from vit_decoders import NYUD, PASCAL, SMALL, build, counted, distinct, method

from harness.baselines.taskprompter.decoding import Attended
from harness.baselines.taskprompter.model import TaskPrompterNet
from harness.baselines.taskprompter.prompting import Reading, onto_cells, over_windows
from harness.method import MultiTaskModel
from harness.problem import Problem


def subject(data: str = "nyud", **options: object) -> TaskPrompterNet:
    model = distinct(build("taskprompter", SMALL[data], **options))
    assert isinstance(model, TaskPrompterNet)
    return model


@pytest.mark.parametrize(
    ("backbone", "problem", "giga_macs"),
    [("vit-l16", NYUD, 839.7), ("vit-l16", PASCAL, 496.6), ("vit-b16", PASCAL, 1153.4)],
)
def test_macs_are_the_references_without_what_it_discards(backbone: str, problem: Problem, giga_macs: float) -> None:
    """By block the authors' code multiplies products over windows with values, too, and discards them: T N C twice."""
    model, count = counted("taskprompter", problem, backbone)
    blocks = model.get_submodule("backbone.blocks")
    depth, width = len(list(blocks.children())), model.get_parameter("backbone.task_prompts").shape[1]
    tasks, patches = len(problem.tasks), (problem.input_size[0] // 16) * (problem.input_size[1] // 16)
    # Products over windows of blocks that are not read, and those with values; the last block's prompts
    discarded = tasks * patches * width * ((depth - 4) + depth + 1) + tasks * 9 * width**2
    assert (count.macs + discarded) / 1e9 == pytest.approx(giga_macs, rel=2e-4)


@pytest.mark.parametrize("data", SMALL)
def test_predictions_are_those_of_loops_over_heads_windows_and_tasks(data: str) -> None:
    """All that is computed at once here, written out as the paper has it."""
    model, problem = subject(data), SMALL[data]
    images = torch.randn(2, 3, *problem.input_size)
    with torch.inference_mode():
        ours = model(images)
        for task, map_ in by_loops(model, images).items():
            torch.testing.assert_close(ours[task], map_, rtol=1e-3, atol=1e-3)


def by_loops(model: TaskPrompterNet, images: Tensor) -> dict[str, Tensor]:
    backbone = model.backbone
    (h, w), count = backbone.grid, len(backbone.keys)
    patches = backbone.patch_embed(images) + backbone.pos_embed[:, 1:]
    prompts = backbone.task_prompts.repeat(len(images), 1, 1)
    totals: dict[str, Tensor] = {}
    level = 0
    for number, block in enumerate(backbone.blocks, 1):
        attention = block.attn
        x, p = block.norm1(patches), block.norm1(prompts)
        both = torch.cat([p, x], dim=1)
        q, k, v = attention.qkv(both).chunk(3, dim=2)
        size = q.shape[2] // attention.heads
        scores, mixed = [], []
        for head in range(attention.heads):
            part = slice(head * size, (head + 1) * size)
            score = q[..., part] @ k[..., part].transpose(1, 2)
            scores.append(score)
            mixed.append((score * size**-0.5).softmax(-1) @ v[..., part])
        out = attention.proj(torch.cat(mixed, dim=2))
        maps = attention.token_trans(p)
        patches = patches + out[:, count:]
        patches = patches + block.mlp(block.norm2(patches))
        prompts = prompts + out[:, :count] + attention.token_trans1(maps)
        prompts = prompts + block.mlp(block.norm2(prompts))
        if number not in backbone.taps:
            continue
        last = backbone.norm(patches) if number == len(backbone.blocks) else patches
        map_ = last.transpose(1, 2).unflatten(2, (h, w))
        features = []
        for t, key in enumerate(backbone.keys):
            by_head = [
                part * scores[head][:, t, count:].unflatten(1, (h, w))[:, None]
                for head, part in enumerate(map_.chunk(attention.heads, dim=1))
            ]
            channel = torch.zeros_like(map_)
            rows, columns = h // backbone.side, w // backbone.side
            for i in range(backbone.side):
                for j in range(backbone.side):
                    window = (..., slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
                    maps_in, tokens_in = (
                        maps.unflatten(2, (h, w))[window],
                        x.transpose(1, 2).unflatten(2, (h, w))[window],
                    )
                    weight = (maps_in[:, t, None] * tokens_in).sum((2, 3))
                    channel[window] = map_[window] * weight[:, :, None, None]
            spatial = backbone.fea_decode_spa[level][key](torch.cat(by_head, dim=1) + map_)
            joint = torch.cat([spatial, backbone.fea_decode_chan[level][key](channel + map_)], dim=1)
            features.append(backbone.fea_fuse[level][key](joint))
        for t, key in enumerate(backbone.keys):
            own = features[t]
            if backbone.mixed:
                between = torch.stack([score[:, t, :count] for score in scores], dim=1)[:, :, None]
                weights = backbone.ctr_attn_conv[level][key](between)[:, 0, 0]
                own = sum(weights[:, s, None, None, None] * features[s] for s in range(count))
            totals[key] = totals.get(key, 0) + own
        level += 1
    names = {key: name for name in model.problem.names for key in backbone.keys if key in (name, NAMES.get(name))}
    return {
        names[key]: model.heads[key](
            F.interpolate(total, scale_factor=4, mode="bilinear", align_corners=False), model.problem.input_size
        )
        for key, total in totals.items()
    }


NAMES = {"boundary": "edge", "parts": "human_parts", "saliency": "sal"}


def test_windows_sum_and_return() -> None:
    maps, tokens = torch.rand(1, 1, 4 * 6), torch.rand(1, 4 * 6, 2)
    sums = over_windows(maps, tokens, (4, 6), 2)
    assert sums.shape == (1, 1, 2, 2, 2)
    products = (maps[0, 0, :, None] * tokens[0]).view(4, 6, 2)
    torch.testing.assert_close(sums[0, 0, :, 1, 0], products[2:, :3].sum((0, 1)))
    cells = onto_cells(sums[:, 0], (4, 6))
    assert torch.equal(cells[0, :, 3, 0], sums[0, 0, :, 1, 0])
    assert torch.equal(cells[0, :, 1, 5], sums[0, 0, :, 0, 1])


def test_windows_that_do_not_divide_the_grid_reach_beyond_it() -> None:
    maps, tokens = torch.ones(1, 1, 5 * 3), torch.ones(1, 5 * 3, 1)
    sums = over_windows(maps, tokens, (5, 3), 2)
    assert sums[0, 0, 0].tolist() == [[6, 3], [4, 2]]
    assert onto_cells(sums[:, 0], (5, 3))[0, 0].tolist() == [[6, 6, 3]] * 3 + [[4, 4, 2]] * 2


def test_each_head_weights_its_own_channels() -> None:
    map_ = torch.ones(1, 4, 1, 2)
    scores = torch.tensor([[9.0, 1.0, 2.0], [9.0, 3.0, 4.0]])[None, :, None]  # two heads, one prompt, two patches
    attended = Attended(map_, Reading(scores, torch.zeros(1, 1, 2), torch.zeros(1, 2, 4)), 1)
    assert attended.over_space(0)[0, :, 0].tolist() == [[2, 3], [2, 3], [4, 5], [4, 5]]
    assert torch.equal(attended.over_channels(0), map_)


def test_features_are_mixed_in_the_design_for_pascal_alone() -> None:
    images = torch.randn(1, 3, 32, 48)
    for data, mixed in (("nyud", False), ("pascal", True)):
        model = subject(data)
        with torch.inference_mode():
            before = model(images, ["semseg"])["semseg"]
            other = next(key for key in model.backbone.keys if key != "semseg")
            model.backbone.fea_fuse[0][other][4].bias.add_(1)
            after = model(images, ["semseg"])["semseg"]
        assert torch.equal(before, after) is not mixed


def test_options_replace_single_widths() -> None:
    def shape(model: MultiTaskModel) -> tuple[int, ...]:
        return tuple(model.get_parameter("backbone.fea_fuse.0.semseg.0.weight").shape)

    assert shape(build("taskprompter", SMALL["nyud"])) == (64, 96, 1, 1)
    assert shape(build("taskprompter", SMALL["nyud"], final_embed_dim=20)) == (20, 96, 1, 1)
    assert shape(build("taskprompter", SMALL["pascal"], embed_dim=8)) == (56, 16, 1, 1)
    with pytest.raises(ValidationError, match="8 is no square number"):
        method("taskprompter", chan_nheads=8)


def test_the_recipe_is_the_authors() -> None:
    nyud, pascal = (method("taskprompter", "vit-l16").stages(problem, "full") for problem in (NYUD, PASCAL))
    assert [stage.optimizer.lr for stage in (*nyud, *pascal)] == [1e-5, 2e-5]
    for stage in (*nyud, *pascal):
        assert (stage.iterations, stage.batch_size, stage.clip_norm) == (40_000, 4, 10.0)
        assert (stage.optimizer.name, stage.optimizer.weight_decay, stage.schedule.power) == ("adam", 1e-6, 0.9)
