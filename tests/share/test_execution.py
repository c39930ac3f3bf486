"""Executions agree where they must: exactness is what makes the savings comparable."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from shared_nets import DEPTH, PROBLEM, TOKENS, WIDTH, differing, images, method
from torch import Tensor
from torch.nn import functional as F

from harness.backbones import build_backbone
from harness.counting import count_macs
from harness.heads.convnext import task_head
from harness.method import accounting_of
from harness.methods.share import block
from harness.methods.share.delta import LearnedDelta
from harness.methods.share.execution import Clamped, Dense, TokenGate, TokenGated
from harness.methods.share.execution.channels import changed_channels, corrected_linear, corrected_mlp
from harness.methods.share.execution.gated import Tokens, mean_square_change, tokens_above, top_tokens
from harness.methods.share.model import SharedNets

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def predict(model: SharedNets, batch: Tensor, **options: object) -> dict[str, Tensor]:
    with torch.inference_mode(), model.executed_as(**options):
        return model(batch)


def with_fraction(model: SharedNets, fraction: float) -> SharedNets:
    model.gates = {task: model.uniform_gates(fraction) for task in model.deltas}
    return model


def plain_net(model: SharedNets, task: str, batch: Tensor) -> Tensor:
    """Run timm's own network with the merged weights of a task."""
    encoder = build_backbone("vit-micro", PROBLEM.input_size)
    encoder.load_state_dict({f"vit.{name}": weight for name, weight in model.weights_of(task).items()})
    head = task_head(PROBLEM.task(task), encoder.channels, PROBLEM.input_size, encoder.cells)
    head.load_state_dict(model.heads[task].state_dict())
    with torch.inference_mode():
        return head(encoder.eval()(batch))


@pytest.mark.parametrize("queries", ["active", "all"])
@pytest.mark.parametrize("shared_blocks", [0, 2])
def test_every_token_active_is_dense_is_a_plain_network(queries: str, shared_blocks: int) -> None:
    model = with_fraction(differing(shared_blocks=shared_blocks), 1.0)
    batch = images()
    dense = predict(model, batch, mode="dense")
    gated = predict(model, batch, mode="gated", queries=queries)
    for task in PROBLEM.names:
        torch.testing.assert_close(gated[task], dense[task], **CLOSE)
    for task in model.deltas:
        torch.testing.assert_close(dense[task], plain_net(model, task, batch), **CLOSE)
        assert not torch.allclose(model.weights_of(task)["norm.weight"], model.base.vit.norm.weight) or shared_blocks


def test_clamped_with_threshold_zero_is_dense_and_with_a_huge_one_the_base() -> None:
    model = differing(shared_blocks=2)
    batch = images()
    dense = predict(model, batch, mode="dense")
    for task, map_ in predict(model, batch, mode="clamped", threshold=0.0).items():
        torch.testing.assert_close(map_, dense[task], **CLOSE)
    with torch.inference_mode():
        base = model.run_base(batch, ("depth",), "all")
        clamped = Clamped(base, 1e9)
        x = base.entries[2]
        for index in (2, 3):
            x = model.functional.block(model.weights_of("depth"), index, x, clamped)
    torch.testing.assert_close(x, base.entries[DEPTH], **CLOSE)


@pytest.mark.parametrize("policy", ["top-k", "threshold"])
def test_no_difference_gates_no_token_and_returns_the_bases_activations_bit_for_bit(policy: str) -> None:
    model = method(policy=policy, threshold=0.0).build(PROBLEM).eval()  # differences start at zero
    batch = images(1)
    with torch.inference_mode():
        base = model.run_base(batch, ("depth",), "gated")
        features = model.run_sub("depth", base, batch, model.gated("depth", base))
        theirs = model.features_of(base)
        count = count_macs(lambda: model.run_sub("depth", base, batch, model.gated("depth", base)))
    assert torch.equal(features, theirs)
    assert count.macs == 0


def test_equal_inputs_gate_no_token_where_thresholds_decide() -> None:
    model = differing()
    batch = images(1)
    with torch.inference_mode():
        base = model.run_base(batch, ("depth",), "gated")
        zero = {index: TokenGate(1.0, (0.0, 0.0, 0.0)) for index in range(DEPTH)}
        execution = TokenGated(base, zero, "threshold", "active")
        x = base.entries[0]
        weights = model.base_weights
        count = count_macs(lambda: model.functional.block(weights, 0, x, execution))
        again = model.functional.block(weights, 0, x, execution)
        dense = model.functional.block(weights, 0, x, Dense())
    assert count.macs == 0
    assert torch.equal(again, dense)


@contextmanager
def spied(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Collect the multiplies of every product that the code really calls."""
    macs: list[int] = []
    linear, attend, conv = F.linear, F.scaled_dot_product_attention, F.conv2d
    products = {(torch, "addmm"): torch.addmm, (torch, "baddbmm"): torch.baddbmm, (Tensor, "addmm_"): Tensor.addmm_}

    def spy_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        macs.append(x.numel() * weight.shape[0])
        return linear(x, weight, bias)

    def spy_attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        macs.append(2 * q.numel() * k.shape[2])
        return attend(q, k, v)

    def spy_conv(x: Tensor, weight: Tensor, *rest: object) -> Tensor:
        out = conv(x, weight, *rest)
        macs.append(out.numel() * weight[0].numel())
        return out

    def spy_product(product: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def spy(total: Tensor, left: Tensor, right: Tensor, **rest: Tensor) -> Tensor:
            macs.append(left.numel() * right.shape[-1])
            return product(total, left, right, **rest)

        return spy

    with monkeypatch.context() as patch:
        for (owner, name), product in products.items():
            patch.setattr(owner, name, spy_product(product))
        patch.setattr(F, "linear", spy_linear)
        patch.setattr(F, "scaled_dot_product_attention", spy_attend)
        patch.setattr(F, "conv2d", spy_conv)
        yield macs


@pytest.mark.parametrize("queries", ["active", "all"])
@pytest.mark.parametrize("policy", ["top-k", "threshold"])
@pytest.mark.parametrize("ungated", ["reuse", "channels"])
def test_executed_macs_are_the_multiplies_that_were_launched(
    queries: str, policy: str, ungated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"queries": queries, "policy": policy, "ungated": ungated, "granularity": "channel", "threshold": 0.3}
    subject, model = method(**options), with_fraction(differing(**options), 0.3)
    batch = images(1)
    with torch.inference_mode():
        model(batch)  # merges weights
        with spied(monkeypatch) as launched:
            model(batch)
        report = accounting_of(subject).macs(model, batch)
    assert report.executed.macs == sum(launched)
    if (ungated, policy) == ("reuse", "top-k"):
        assert report.executed.macs < report.dense
        with torch.inference_mode(), model.executed_as(engine="tokens", queries="active"):
            model(batch)  # stacks weights
            with spied(monkeypatch) as launched:
                model(batch)
            tokens = accounting_of(subject).macs(model, batch)
        assert tokens.executed.macs == sum(launched)
    assert sum(report.executed.per_part.values()) == report.executed.macs


def test_the_macs_of_top_k_tokens_are_those_of_the_formula() -> None:
    subject, model = method(), with_fraction(differing(), 0.3)
    with torch.inference_mode():
        executed = accounting_of(subject).macs(model, images(1)).executed
    active = -(-3 * TOKENS // 10)  # rounded up
    per_block = 12 * active * WIDTH**2 + 2 * active * TOKENS * WIDTH
    stem = count_macs(lambda: model.functional.embed(model.weights_of("depth"), images(1))).macs
    assert executed.per_part["delta/depth"] == DEPTH * per_block + stem


def test_a_batch_is_its_images_one_by_one() -> None:
    model = with_fraction(differing(), 0.2)
    batch = images(3)
    together = predict(model, batch)
    for number in range(3):
        alone = predict(model, batch[number : number + 1])
        for task in PROBLEM.names:
            torch.testing.assert_close(together[task][number], alone[task][0], **CLOSE)


def test_tokens_below_a_threshold_are_the_same_for_a_batch_and_its_images() -> None:
    model = differing(policy="threshold", threshold=0.3)
    batch = images(2)
    together = predict(model, batch)
    for number in range(2):
        alone = predict(model, batch[number : number + 1])
        torch.testing.assert_close(together["depth"][number], alone["depth"][0], **CLOSE)


def test_channels_correct_unchanged_tokens_exactly() -> None:
    model = differing(granularity="channel")
    heads = model.functional.heads
    base_weights = block.BlockWeights.of(model.base_weights, 1, heads)
    sub_weights = block.BlockWeights.of(model.weights_of("depth"), 1, heads)
    changed = changed_channels(base_weights, sub_weights)
    assert 0 < len(changed[block.Product.QKV]) < 3 * WIDTH
    x = torch.randn(2, 7, WIDTH)
    with torch.inference_mode():
        anew = corrected_linear(x, base_weights.qkv.linear(x), sub_weights.qkv, changed[block.Product.QKV])
        torch.testing.assert_close(anew, sub_weights.qkv.linear(x), **CLOSE)
        act = F.gelu(base_weights.fc1.linear(x))
        anew = corrected_mlp(x, act, base_weights.fc2.linear(act), sub_weights, changed)
        torch.testing.assert_close(
            anew, sub_weights.fc2.linear(F.gelu(sub_weights.fc1.linear(x))), rtol=1e-4, atol=1e-4
        )


def test_the_tokens_with_the_largest_change_are_taken_and_put_back() -> None:
    change = torch.tensor([[0.0, 3.0, 1.0, 2.0], [5.0, 0.0, 0.0, 4.0]])
    tokens = top_tokens(change, 0.5)
    assert sorted(tokens.index.tolist()) == [1, 3, 4, 7]
    assert top_tokens(change, 0.51).count == 3, "rounded up"
    assert top_tokens(change, 0.0).count == 0
    x = torch.arange(16.0).view(2, 4, 2)
    assert torch.equal(tokens.replaced(tokens.take(x), torch.zeros_like(x)) != 0, (x != 0) & (change >= 2)[..., None])
    assert tokens_above(change[:1], 1.4).index.tolist() == [1, 3]
    other = x.clone()
    other[0, 1] += torch.tensor([3.0, 4.0])
    assert mean_square_change(other, x)[0].tolist() == [0, 12.5, 0, 0]


def test_tokens_keep_their_gradient() -> None:
    x = torch.randn(1, 4, 3, requires_grad=True)
    tokens = Tokens(torch.tensor([2, 0]), 2)
    tokens.replaced(tokens.take(x) * 2, torch.zeros(1, 4, 3)).sum().backward()
    assert x.grad is not None
    assert x.grad[0, :, 0].tolist() == [2, 0, 2, 0]


def test_a_sub_task_starts_at_the_first_block_that_differs() -> None:
    model = differing(shared_blocks=2)
    assert model.own_part("depth").blocks.start == 2
    delta = model.delta("normals")
    assert isinstance(delta, LearnedDelta)
    model.train()
    with torch.no_grad():
        for name, weight in zip(delta.names, delta.weights, strict=True):
            if name.startswith("blocks.2."):
                weight.zero_()
    model.eval()
    assert model.own_part("normals").blocks.start == 3
    assert model.own_part("depth").blocks.start == 2
    with torch.inference_mode():
        assert count_macs(lambda: model(images(1))).macs > 0
