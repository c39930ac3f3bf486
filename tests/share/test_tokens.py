"""Engine of tokens: exact where every token is active, and equal to a plain computation with masks elsewhere."""

import hashlib
import json
import math
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from shared_nets import DEPTH, PROBLEM, TOKENS, WIDTH, differing, images, method
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from harness.counting import count_macs
from harness.method import accounting_of
from harness.methods.share.accounting import report
from harness.methods.share.block import attention
from harness.methods.share.calibration import FRACTIONS, calibrate
from harness.methods.share.execution import StackedWeights, TokenWalk, nested_counts
from harness.methods.share.model import SharedNets
from harness.methods.share.options import ShareOptions
from harness.problem import Problem, TaskSpec
from harness.records.metric import Metric

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
TASKS = {"semseg": 5, "depth": None, "normals": None, "boundary": None, "parts": 4}


def model_of(fraction: float = 0.3, **options: object) -> SharedNets:
    return with_fraction(differing(engine="tokens", **options), fraction)


def with_fraction(model: SharedNets, *fractions: float) -> SharedNets:
    """Set fractions of active tokens block by block, the last for the rest."""
    model.gates = {task: model.uniform_gates(fractions[-1]) for task in model.deltas}
    for gates in model.gates.values():
        gates.update({index: model.uniform_gates(fraction)[index] for index, fraction in enumerate(fractions)})
    return model


def predict(model: SharedNets, batch: Tensor, tasks: list[str] | None = None, **options: object) -> dict[str, Tensor]:
    with torch.inference_mode(), model.executed_as(**options):
        return model(batch, tasks)


@pytest.mark.parametrize("keys", ["base", "own"])
@pytest.mark.parametrize("shared_blocks", [0, 1, 3])
def test_every_token_active_is_dense(keys: str, shared_blocks: int) -> None:
    model = model_of(1.0, keys=keys, shared_blocks=shared_blocks)
    ours, dense = predict(model, images()), predict(model, images(), mode="dense")
    for task in PROBLEM.names:
        torch.testing.assert_close(ours[task], dense[task], **CLOSE)
    assert torch.equal(ours["semseg"], dense["semseg"]), "the base is the single-task network"


@pytest.mark.parametrize(
    ("names", "size", "batch"),
    [
        (("depth", "semseg"), (24, 40), 3),
        (("boundary", "normals", "semseg", "depth"), (16, 16), 1),
        (("parts", "depth", "normals", "boundary", "semseg"), (48, 24), 2),
        (("semseg",), (32, 32), 2),
    ],
)
def test_number_and_order_of_tasks_and_sizes_do_not_matter(
    names: tuple[str, ...], size: tuple[int, int], batch: int
) -> None:
    model = differing(Problem(tuple(TaskSpec(name, TASKS[name]) for name in names), size), engine="tokens")
    some = torch.randn(batch, 3, *size)
    whole, dense = predict(with_fraction(model, 1.0), some), predict(model, some, mode="dense")
    with_fraction(model, 0.4)
    together = predict(model, some)
    for task in names:
        torch.testing.assert_close(whole[task], dense[task], **CLOSE)
        torch.testing.assert_close(predict(model, some, [task])[task], together[task], rtol=1e-6, atol=1e-6)
        alone = torch.cat([predict(model, image[None])[task] for image in some])
        torch.testing.assert_close(alone, together[task], **CLOSE)


@pytest.mark.parametrize("embedding", [False, True])
def test_an_artifact_of_the_gates_runs_with_tokens(embedding: bool) -> None:
    model = with_fraction(differing(shared_blocks=0 if embedding else 1), 1.0)
    assert model.own_part("depth").embedding is embedding
    dense = predict(model, images(), mode="dense")
    for task, map_ in predict(model, images(), engine="tokens").items():
        torch.testing.assert_close(map_, dense[task], **CLOSE)
    few = predict(with_fraction(model, 0.2), images(), engine="tokens", keys="own")
    assert not torch.allclose(few["depth"], dense["depth"], atol=1e-3)


def walked(model: SharedNets, weights: StackedWeights, counts: list[int], keys: str, batch: Tensor) -> Tensor:
    """Walk through all blocks of the base and return the normed tokens [T, B, N, D]; the base's stay as they are."""
    walk = TokenWalk(weights, counts, keys)  # type: ignore[arg-type]
    x = model.functional.embed(model.base_weights, batch)
    for index in range(DEPTH):
        block = model.functional.block_weights(model.base_weights, index)
        qkv = block.qkv.linear(block.norm1.norm(x))
        context = attention(qkv.chunk(3, dim=-1)[0], qkv, block.heads)
        lent = qkv.clone()
        walk.advance(index, x, qkv, context)
        assert torch.equal(qkv, lent)
        x = x + block.proj.linear(context)
        x = x + block.fc2.linear(F.gelu(block.fc1.linear(block.norm2.norm(x))))
    return walk.features(x)


def stacked(model: SharedNets, *subs: dict[str, Tensor]) -> StackedWeights:
    return StackedWeights.of(subs, model.base_weights, model.functional, model.functional.resolutions[0])


@pytest.mark.parametrize("keys", ["base", "own"])
@pytest.mark.parametrize("counts", [[7] * 4, [TOKENS, 9, 9, 2], [12, 12, 5, 1], [3, 0, 0, 0], [TOKENS] * 4])
def test_without_a_difference_the_choice_of_tokens_changes_nothing(keys: str, counts: list[int]) -> None:
    model = model_of()
    base = dict(model.base_weights)
    with torch.no_grad():
        found = walked(model, stacked(model, base, base), counts, keys, images())
        theirs = model.functional.as_map(found[1])
        torch.testing.assert_close(theirs, model.features_of(model.run_base(images(), (), "nothing")), **CLOSE)
        torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("keys", ["base", "own"])
@pytest.mark.parametrize("counts", [[6] * 4, [11, 11, 4, 4], [TOKENS, 8, 8, 3], [5, 4, 3, 0]])
def test_active_tokens_are_those_of_a_computation_with_masks(keys: str, counts: list[int]) -> None:
    """Whole maps, every image alone, masks in the place of gathers, and no folded norms."""
    model = model_of()
    base, sub, heads = model.base_weights, model.weights_of("normals"), model.functional.heads
    block_of = model.functional.block_weights
    with torch.no_grad():
        weights = stacked(model, model.weights_of("depth"), sub)
        found = walked(model, weights, counts, keys, images())[1]
        for number, image in enumerate(images()):
            x = model.functional.embed(base, image[None])
            own = x.clone()
            # The first tokens: where the sketch of the difference is largest, the class token last.
            size = weights.sketch.of(F.layer_norm(x, (WIDTH,), eps=1e-6).expand(2, -1, -1))[1].square().sum(-1)
            size[0] = -1
            active = torch.zeros(TOKENS, dtype=torch.bool)
            active[size.topk(counts[0]).indices] = True
            for index, count in enumerate(counts):
                if count < int(active.sum()):
                    far = (own - x)[0].square().sum(-1)
                    far[0] = -1 if bool(active.all()) else far[0]
                    far[~active] = -2
                    active = torch.zeros_like(active)
                    active[far.topk(count).indices] = True
                ours, theirs = (block_of(held, index) for held in (sub, base))
                qkv, lent = ours.qkv.linear(ours.norm1.norm(own)), theirs.qkv.linear(theirs.norm1.norm(x))
                mixed = lent.clone()
                if keys == "own" or count == TOKENS:
                    mixed[:, active] = qkv[:, active]
                context = attention(qkv.chunk(3, -1)[0], mixed, heads)
                after = own + ours.proj.linear(context)
                after = after + ours.fc2.linear(F.gelu(ours.fc1.linear(ours.norm2.norm(after))))
                before = x
                x = x + theirs.proj.linear(attention(lent.chunk(3, -1)[0], lent, heads))
                x = x + theirs.fc2.linear(F.gelu(theirs.fc1.linear(theirs.norm2.norm(x))))
                # Tokens that stopped keep their distance from the base's.
                own = after.where(active[None, :, None], x + own - before)
            normed = F.layer_norm(own, (WIDTH,), sub["norm.weight"], sub["norm.bias"], 1e-6)
            torch.testing.assert_close(found[number], normed[0], rtol=1e-4, atol=1e-4)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(1, 2000))
def test_counts_never_grow_and_round_up(fractions: list[float], tokens: int) -> None:
    counts = nested_counts(fractions, tokens)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == min(tokens, math.ceil(fractions[0] * tokens - 1e-9))
    assert counts[-1] == min(min(tokens, math.ceil(fraction * tokens - 1e-9)) for fraction in fractions)


def test_stacked_sub_tasks_are_those_one_by_one() -> None:
    model = with_fraction(model_of(), 0.6, 0.3)
    together = predict(model, images())
    with model.one_by_one():
        single = predict(model, images())
    model.gates["depth"] = model.uniform_gates(0.1)
    apart = predict(model, images())
    for task in PROBLEM.names:
        torch.testing.assert_close(single[task], together[task], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(apart["normals"], together["normals"], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(apart["depth"], together["depth"], atol=1e-4)


@pytest.mark.parametrize("keys", ["base", "own"])
@pytest.mark.parametrize("fractions", [(0.3,), (0.5, 0.2), (1.0, 0.4), (1.0,)])
def test_macs_are_those_of_the_formula(keys: str, fractions: tuple[float, ...]) -> None:
    model = with_fraction(model_of(keys=keys), *fractions)
    with torch.inference_mode():
        counted = report(model, images(1))
        encoder = count_macs(lambda: model.run_base(images(1), (), "nothing")).macs
    counts = nested_counts([*fractions, *[fractions[-1]] * (DEPTH - len(fractions))], TOKENS)
    products = ideal = 0
    sparse = model.delta("depth").sparse()
    for index, count in enumerate(counts):
        asked = (1 if keys == "base" and count < TOKENS else 3) * WIDTH**2  # queries, keys and values of a token
        products += count * (asked + 9 * WIDTH**2 + 2 * TOKENS * WIDTH)
        for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
            index_ = sparse[f"blocks.{index}.{name}.weight"].index
            ideal += TOKENS * int((index_ < asked).sum() if name == "attn.qkv" else len(index_))
    sketch = 0 if counts[0] == TOKENS else 16 * TOKENS * WIDTH
    assert counted.executed.per_part["delta/depth"] == products + sketch
    assert counted.executed.per_part["base"] == encoder
    assert counted.executed.macs == sum(counted.executed.per_part.values())
    heads = sum(macs for part, macs in counted.executed.per_part.items() if part.startswith("head/"))
    assert counted.dense == len(PROBLEM.names) * encoder + heads, "separate networks share nothing"
    with torch.inference_mode():
        assert report_of(model, "depth").ideal == encoder + heads_of(model, "depth") + products + ideal


def report_of(model: SharedNets, task: str) -> object:
    """Count a model that has one sub-task alone."""
    alone = differing(PROBLEM.only(["semseg", task]), engine="tokens", keys=model.options.keys)
    alone.gates = {task: model.gates[task]}
    alone.deltas[task].load_state_dict(model.deltas[task].state_dict())
    return report(alone.eval(), images(1))


def heads_of(model: SharedNets, task: str) -> int:
    features = torch.zeros(1, WIDTH, *model.functional.grid)
    return sum(count_macs(lambda name=name: model.decode(name, features)).macs for name in ("semseg", task))


def test_statistics_say_the_nested_counts() -> None:
    model = with_fraction(model_of(), 0.5, 0.2, 0.4)
    with torch.inference_mode():
        tables = accounting_of(method(engine="tokens")).layer_statistics(model, images())
        found = accounting_of(method(engine="tokens")).sparsity(model, images())
    expected = [count / TOKENS for count in nested_counts((0.5, 0.2, 0.4, 0.4), TOKENS)]
    assert list(tables["active rows"]["depth"]) == pytest.approx(expected)
    assert found["depth"].active_rows == pytest.approx(sum(expected) / DEPTH)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_an_added_task_leaves_every_file_and_every_prediction_alone(tmp_path: Path) -> None:
    subject = method(engine="tokens")
    (first := tmp_path / "first").mkdir()
    (second := tmp_path / "second").mkdir()
    held = with_fraction(differing(PROBLEM.only(["semseg", "depth"]), engine="tokens"), 0.3)
    held.calibrated.add("depth")  # its gates are part of the artifact
    subject.save(held, first)
    grown = subject.extend(first, PROBLEM)
    for number, weight in enumerate(grown.deltas["normals"].weights):
        torch.nn.init.normal_(weight, std=0.01 + number / 1e4)
    grown.deltas["normals"].binarise(0.1, grown.countable)
    subject.save(grown.eval(), second)
    before, after = hashes(first), hashes(second)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"normals.safetensors", "normals.task.json"}
    old, new = subject.load(first).eval(), subject.load(second).eval()
    for task, map_ in predict(old, images()).items():
        torch.testing.assert_close(predict(new, images())[task], map_, rtol=1e-6, atol=1e-6)


def test_an_artifact_from_before_the_engines_keeps_its_mode_and_its_values(tmp_path: Path) -> None:
    model = with_fraction(differing(), 0.3)
    method().save(model, tmp_path)
    manifest = json.loads((tmp_path / "artifact.json").read_text())
    for name in ("engine", "keys"):
        del manifest["options"][name]
    options = ShareOptions.model_validate(manifest["options"])
    assert options.engine == "paper"
    loaded = type(method())(options, "vit-micro").load(tmp_path).eval()
    loaded.gates = model.gates
    for task, map_ in predict(model, images()).items():
        assert torch.equal(predict(loaded, images())[task], map_)


@pytest.mark.parametrize("keys", ["base", "own"])
def test_nothing_waits_for_the_device_and_no_shape_depends_on_the_image(keys: str) -> None:
    model = with_fraction(model_of(keys=keys), 0.5, 0.2)
    with torch.no_grad():
        expected = model(images())  # stacks the weights
        # A CUDA graph can hold what runs on tensors without values: `.item()` or `nonzero` would raise here.
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            shapes = {task: map_.shape for task, map_ in model(mode.from_tensor(images())).items()}
        assert shapes == {task: map_.shape for task, map_ in expected.items()}
        program = torch.export.export(model, (images(),), strict=False)
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [
        name for name in names if any(word in name for word in ("nonzero", "aten.item", "local_scalar", "masked_s"))
    ]
    for task, map_ in program.module()(images()).items():
        torch.testing.assert_close(map_, expected[task], **CLOSE)


def test_gates_of_the_paper_are_nested_for_tokens(tmp_path: Path) -> None:
    model = with_fraction(differing(), 0.3, 1.0, 0.05, 0.7)
    model.calibrated.add("depth")
    method().save(model, tmp_path)
    for engine, expected in (("paper", [0.3, 1.0, 0.05, 0.7]), ("tokens", [1.0, 1.0, 0.7, 0.7])):
        loaded = method(engine=engine).load(tmp_path)
        assert [gate.fraction for gate in loaded.gates["depth"].values()] == expected
        assert {gate.fraction for gate in loaded.gates["normals"].values()} == {0.2}, "what was not calibrated stays"
    method(engine="tokens").save(with_fraction(model_of(), 0.3, 1.0), tmp_path)
    loaded = method(engine="tokens").load(tmp_path)
    assert loaded.active_counts("depth") == model_of(0.2).active_counts("depth")


def test_training_predicts_as_inference_and_reaches_every_weight() -> None:
    model = model_of(0.4)
    expected = predict(model, images())["depth"]
    model.train()
    delta = model.delta("depth")
    delta.phase = "rows"
    model.gates["depth"] = model.uniform_gates(0.4)
    torch.testing.assert_close(model(images(), ["depth"])["depth"], expected, **CLOSE)
    torch.manual_seed(0)
    output = model.forward_train(images(), ["depth"])
    output.predictions["depth"].square().mean().backward()
    assert model.gates["depth"][0].fraction == 0.4, "the drawn fraction holds for one step"
    for name, weight in zip(delta.names, delta.weights, strict=True):
        assert weight.grad is not None, name
    assert all(weight.grad is None for weight in model.base.parameters())


def test_weights_are_held_once_and_follow_the_model() -> None:
    model = model_of()
    predict(model, images())
    assert not any(name.startswith("merged") for name, _ in model.named_buffers())
    kept = {name for name in model.state_dict() if name.startswith("tokens.")}
    assert not kept, "nothing of a stack is stored"
    before = predict(model, images())
    moved = model.double().float()
    for task, map_ in predict(moved, images()).items():
        torch.testing.assert_close(map_, before[task])
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(images())["depth"].isfinite().all()


def test_what_the_engine_lacks_is_refused() -> None:
    for options in ({"policy": "threshold"}, {"queries": "all"}, {"ungated": "channels"}):
        with pytest.raises(ValidationError, match="engine=tokens has policy=top-k"):
            method(engine="tokens", **options)


def test_calibration_narrows_from_the_last_block() -> None:
    model = model_of()
    losses = dict.fromkeys(FRACTIONS, 0.0) | {0.05: 4.0}

    def score(asked: SharedNets, tasks: list[str]) -> dict[str, Metric]:
        [task] = tasks
        fractions = list(accumulate((gate.fraction for gate in asked.gates[task].values()), min))
        loss = 0 if asked.options.mode == "dense" else sum(losses[one] for one in fractions) / DEPTH
        return {task: Metric(value=1 - loss / 100, unit="fraction", higher_is_better=True, n=1, protocol="p")}

    calibrate(model, score, budget=1.0)  # type: ignore[arg-type]
    # 1.5 points per sub-task: all blocks at 0.1, and the last of four at 0.05, which costs one
    assert [gate.fraction for gate in model.gates["depth"].values()] == [0.1, 0.1, 0.1, 0.05]
