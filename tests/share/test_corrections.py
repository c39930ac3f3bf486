"""Corrections: identities over tasks, their order, sizes and batches, counts to the unit, and static graphs."""

from collections import Counter
from itertools import pairwise

import pytest
import torch
from corrected_nets import DEPTH, PATCHES, PROBLEM, WIDTH, corrected, images, method
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from harness.counting import count_macs
from harness.errors import UsageError
from harness.method import accounting_of
from harness.methods.share.corrections import CorrectedNets, Setting
from harness.methods.share.corrections.accounting import own_macs, report
from harness.methods.share.corrections.active import active_change
from harness.methods.share.corrections.parts import pixels_of, spread
from harness.methods.share.corrections.settings import drawn, settings_of
from harness.problem import Problem, TaskSpec

NESTED = {"first_block": 2, "rows": 0.25}
WHOLE = {"first_block": 2, "rows": 1.0}
VARIANTS = (
    {},
    {"detail": "all", "rank": 8, "levels": 3},
    {"rank": 0},
    NESTED,
    WHOLE,
    {"first_block": {"depth": 3, "boundary": 1}, "rows": 0.5},
)
SUB_TASKS = ("depth", "normals", "boundary")


def predict(nets: CorrectedNets, batch: Tensor, tasks: object = None) -> dict[str, Tensor]:
    with torch.inference_mode():
        return nets(batch, tasks)


def test_without_corrections_every_task_reads_the_bases_map_bit_for_bit() -> None:
    nets = corrected(perturbed=False, detail="none")
    with torch.inference_mode():
        features = nets.base(images())
        predictions = nets(images())
        for task in PROBLEM.names:
            assert torch.equal(predictions[task], nets.heads[task](features)), task


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_the_base_is_the_single_network_bit_for_bit(options: dict[str, object]) -> None:
    nets = corrected(**options)
    with torch.inference_mode():
        assert torch.equal(nets(images())["semseg"], nets.heads["semseg"](nets.base(images())))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_tasks_stacked_in_any_order_and_batches_give_what_each_gives_alone(options: dict[str, object]) -> None:
    nets = corrected(**options)
    together = predict(nets, images(3))
    for task in PROBLEM.names:
        torch.testing.assert_close(predict(nets, images(3), [task])[task], together[task], atol=1e-5, rtol=1e-5)
    turned = predict(nets, images(3), ["boundary", "semseg", "depth"])
    assert list(turned) == ["boundary", "semseg", "depth"]
    for task, prediction in turned.items():
        torch.testing.assert_close(prediction, together[task], atol=1e-5, rtol=1e-5)
    singly = [predict(nets, image[None]) for image in images(3)]
    for task, prediction in together.items():
        torch.testing.assert_close(torch.cat([one[task] for one in singly]), prediction, atol=1e-5, rtol=1e-5)


@settings(max_examples=12, deadline=None)
@given(
    rows=st.integers(2, 6),
    columns=st.integers(2, 6),
    batch=st.integers(1, 3),
    first=st.integers(0, DEPTH - 1),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
def test_choosing_tokens_alone_changes_nothing(
    rows: int, columns: int, batch: int, first: int, fraction: float, seed: int
) -> None:
    problem = Problem((TaskSpec("semseg", 3), TaskSpec("depth"), TaskSpec("normals")), (8 * rows, 8 * columns))
    nets = corrected(problem, perturbed=False, first_block=first, rows=fraction)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)  # any places
        for task in nets.corrections:
            nets.correction(task).get_parameter("scorer.weight").normal_(generator=generator)
    setting = nets.settings["depth"]
    with torch.inference_mode():
        trace = nets.run_base(images(batch, problem), ["depth", "normals"])
        stack = nets._stacked(("depth", "normals"), setting)
        places, change = active_change(trace, stack, setting, nets.attention_heads)
    assert places.shape == (2, batch * setting.tokens(rows * columns))
    assert change.abs().max() < 1e-5


def test_only_chosen_tokens_move() -> None:
    nets = corrected(perturbed=True, rank=0, **NESTED)
    with torch.inference_mode():
        trace = nets.run_base(images(), SUB_TASKS)
        stack = nets._stacked(SUB_TASKS, nets.settings["depth"])
        places, change = active_change(trace, stack, nets.settings["depth"], nets.attention_heads)
        features = nets.correct(trace, ["normals"])["normals"].flatten(2).transpose(1, 2).flatten(0, 1)
        untouched = nets.correction("normals").norm(trace.last).flatten(0, 1)
    moved = (features - untouched).abs().amax(-1) > 1e-6
    assert change.abs().amax(-1).min() > 1e-4
    assert set(moved.nonzero()[:, 0].tolist()) == set(places[1].tolist())
    assert len(set(places[1].tolist())) == 2 * 6, "a quarter of 24 tokens of each of two images"


def test_all_tokens_with_keys_of_their_own_are_the_dense_sub_task() -> None:
    nets = corrected(rank=0, detail="none", **WHOLE)
    part = nets.correction("depth")
    batch = images()
    with torch.inference_mode():
        shared = nets(batch)["depth"]
        # The same network written out: a whole encoder whose last blocks and norm are the sub-task's
        dense = corrected(perturbed=False, rank=0, detail="none").base
        dense.load_state_dict(nets.base.state_dict())
        for index, own in part.blocks.items():
            block = dense.vit.blocks[int(index)]
            for name, weight in own.named_parameters():
                place = name if name.startswith("norm") else f"{'attn' if name[0] in 'qp' else 'mlp'}.{name}"
                block.get_parameter(place).copy_(weight)
        dense.vit.norm.load_state_dict(part.norm.state_dict())
        torch.testing.assert_close(shared, nets.heads["depth"](dense(batch)), atol=1e-5, rtol=1e-5)


def test_the_norm_of_the_levels_can_be_folded_into_the_product() -> None:
    nets = corrected()
    layer = nets.correction("depth").inward
    with torch.inference_mode():
        trace = nets.run_base(images(), ["depth"])
        weights = layer.weight.t().unflatten(0, (5, WIDTH))  # [m, D, r]
        folded = layer.bias.expand(2, PATCHES, -1)
        explicit = layer(torch.cat([F.layer_norm(trace.patches(level), (WIDTH,), eps=1e-6) for level in range(5)], -1))
        for level, weight in enumerate(weights):
            x = trace.patches(level)
            mean, deviation = x.mean(-1, keepdim=True), (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
            folded = folded + (x @ weight - mean * weight.sum(0)) / deviation  # n(x) V = (x V - mean 1^T V) / deviation
    torch.testing.assert_close(folded, explicit, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_formulas_of_a_sub_task_are_the_count_to_the_unit(options: dict[str, object]) -> None:
    nets = corrected(**options)
    with torch.inference_mode():
        count = count_macs(lambda: nets(images(1)), nets.parts())
        encoder = count_macs(lambda: nets.base(images(1))).macs
        counted = report(nets, images(1))
    heads = sum(macs for part, macs in count.per_part.items() if part.startswith("head/"))
    own = sum(own_macs(nets, task, nets.settings[task]) for task in nets.corrections)
    assert not count.unsupported
    assert count.macs == encoder + heads + own
    assert counted.dense == 4 * encoder + heads
    assert counted.ideal == counted.executed.macs == count.macs
    for task in nets.corrections:
        with torch.inference_mode():
            alone = count_macs(lambda task=task: nets(images(1), [task]), nets.parts())
        assert alone.macs == encoder + own_macs(nets, task, nets.settings[task]) + alone.per_part[f"head/{task}"]


def test_the_formula_is_that_of_the_paper_and_pencil() -> None:
    nets = corrected(**NESTED)
    correction = PATCHES * WIDTH * 24 * 6
    block = 6 * 10 * WIDTH**2 + 2 * 6 * (PATCHES + 1) * WIDTH
    assert own_macs(nets, "depth", nets.settings["depth"]) == correction + PATCHES * WIDTH + 2 * block
    cells = 16 * 24 * 12 * 24  # 16 x 24 cells of 2 x 2 pixels, and the 24 channels of the wide head's map
    assert own_macs(nets, "boundary", Setting(False)) == cells


def test_pixels_are_torchs_own_order() -> None:
    batch = images()
    expected = F.pixel_unshuffle(batch, 4).permute(0, 2, 3, 1)
    assert torch.equal(pixels_of(batch, 4), expected)


def test_levels_are_spread_evenly() -> None:
    for count in range(1, 20):
        levels = spread(count, 12)
        assert levels[-1] == 12
        assert len(levels) <= min(count, 13)
        steps = {after - before for before, after in pairwise(levels)}
        assert not steps or max(steps) - min(steps) <= 1


def test_settings_go_from_cheap_to_dear_and_every_one_is_drawn() -> None:
    options = method(first_block=1, rows=0.5).options
    ladder = settings_of(options, "depth", DEPTH)
    assert [setting.title for setting in ladder] == [
        "head alone",
        "correction",
        "correction, 0.25 of the tokens from block 3",
        "correction, 0.5 of the tokens from block 3",
        "correction, 0.5 of the tokens from block 1",
    ]
    nets = corrected(first_block=1, rows=0.5)
    costs = [own_macs(nets, "depth", setting) for setting in ladder]
    assert costs == sorted(costs)
    seen = Counter(drawn(ladder, step / 1000) for step in range(1000))
    assert seen[ladder[-1]] == 750
    assert {seen[setting] for setting in ladder[:-1]} <= {62, 63}
    assert drawn(ladder, 0.9999999999) == ladder[-2]
    assert len(settings_of(method(rank=0).options, "depth", DEPTH)) == 1
    with pytest.raises(UsageError, match="blocks 0 to 3"):
        settings_of(method(first_block=4).options, "depth", DEPTH)


class Calls(TorchDispatchMode):
    """Counts the operators that launch a kernel, and remembers their names."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "view" not in func._opname and func._opname not in ("empty", "detach", "expand"):
            self.names.append(func._opname)
        return result


def test_all_sub_task_encoders_are_a_dozen_calls() -> None:
    nets = corrected()
    with torch.inference_mode():
        nets(images(1))  # puts the weights side by side
    with torch.no_grad():
        nets.eval()(images(1))
        trace = nets.run_base(images(1), SUB_TASKS)
        with Calls() as calls:
            nets.correct(trace, SUB_TASKS)
    assert len(calls.names) <= 20, calls.names


@pytest.mark.parametrize("options", [{}, NESTED, WHOLE], ids=str)
def test_the_graph_is_static(options: dict[str, object]) -> None:
    nets = corrected(**options)
    with torch.no_grad():
        expected = nets(images(1))
        exported = torch.export.export(nets, (images(1),), strict=False)
        got = exported.module()(images(1))
    names = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert not [name for name in names if "nonzero" in name or "_local_scalar" in name or "masked_select" in name]
    for task in PROBLEM.names:
        torch.testing.assert_close(got[task], expected[task], atol=1e-5, rtol=1e-5)


def test_weights_side_by_side_follow_training_and_moves() -> None:
    nets = corrected()
    before = predict(nets, images())
    with torch.no_grad():
        nets.train()
        nets.correction("depth").get_parameter("outward").add_(1.0)
    after = predict(nets.eval(), images())
    assert not torch.equal(before["depth"], after["depth"])
    assert torch.equal(before["normals"], after["normals"])
    double = nets.double()
    with torch.inference_mode():
        assert double(images().double())["depth"].dtype == torch.float64
    nets.float()
    with torch.enable_grad():  # nothing of inference mode is left where gradients are wanted
        nets(images())["depth"].sum().backward()
    assert nets.correction("depth").get_parameter("outward").grad is not None


def test_statistics_and_sparsity_say_what_is_a_sub_tasks_own() -> None:
    nets = corrected(**NESTED)
    accounting = accounting_of(method(**NESTED))
    frames = accounting.layer_statistics(nets, images())
    assert frames["active tokens"]["depth"].tolist() == [0, 0, 0.25, 0.25]
    own = frames["weights of their own"]["depth"]
    assert own["block 0"] == 0
    assert own["block 3"] == pytest.approx(1 - 2 * (WIDTH**2 + WIDTH) / 111_840, abs=1e-3), "no keys, no values"
    found = accounting.sparsity(nets, images())
    values = sum(weight.numel() for weight in nets.correction("depth").parameters())
    assert found["depth"].weight_density == pytest.approx(
        values / sum(p.numel() for n, p in nets.base.vit.named_parameters() if n != "pos_embed")
    )
    assert found["depth"].active_rows == 0.125
    assert (found["semseg"].weight_density, found["semseg"].active_rows) == (1, 1)
