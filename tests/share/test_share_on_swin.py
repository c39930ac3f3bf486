"""Sharing on a Swin: gates and active tokens against dense runs, and formulas."""

import hashlib
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from harness.counting import count_macs
from harness.errors import UsageError
from harness.method import accounting_of
from harness.methods.share.accounting import report
from harness.methods.share.delta import LearnedDelta
from harness.methods.share.method import Share
from harness.methods.share.model import SharedNets
from harness.methods.share.options import ShareOptions
from harness.problem import Problem, TaskSpec
from harness.stream import StreamPolicy

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
SIZE = (72, 104)
"""Maps of 18 x 26, 9 x 13, 5 x 7 and 3 x 4 tokens: merged with padding, and with padding in windows of 7 x 7."""
PROBLEM = Problem((TaskSpec("semseg", 5), TaskSpec("depth"), TaskSpec("normals")), SIZE)
MAPS = ((18, 26), (9, 13), (5, 7), (3, 4))
WIDTHS = (32, 64, 128, 256)
TOKENS = [height * width for height, width in MAPS]
WINDOWS = [-(-height // 7) * -(-width // 7) for height, width in MAPS]
DEPTH = 8


def method(**options: object) -> Share:
    return Share(ShareOptions.model_validate(options), "swin-micro")


def differing(fraction: float = 0.3, problem: Problem = PROBLEM, **options: object) -> SharedNets:
    """Return a model whose sub-tasks differ at random from a base that is not at its start either."""
    torch.manual_seed(1)
    model = method(**options).build(problem)
    assert isinstance(model, SharedNets)
    with torch.no_grad():
        for parameter in model.base.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
        for task in model.deltas:
            delta = model.delta(task)
            assert isinstance(delta, LearnedDelta)
            for number, weight in enumerate(delta.weights):
                mask = delta.get_buffer(f"mask{number}").copy_(torch.rand_like(weight) < 0.1)
                weight.normal_(std=0.05).mul_(mask)
            delta.phase = "mask"
    model.gates = {task: model.uniform_gates(fraction) for task in model.deltas}
    return model.eval()


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(3))


def predict(model: SharedNets, batch: Tensor, tasks: list[str] | None = None, **options: object) -> dict[str, Tensor]:
    with torch.inference_mode(), model.executed_as(**options):
        return model(batch, tasks)


def test_dense_sub_tasks_are_encoders_with_merged_weights() -> None:
    model = differing()
    dense = predict(model, images(), mode="dense")
    with torch.no_grad():
        for task in model.deltas:
            features = functional_call(model.base, dict(model.weights_of(task)), images())
            torch.testing.assert_close(model.decode(task, features), dense[task], **CLOSE)
        torch.testing.assert_close(model.decode("semseg", model.base(images())), dense["semseg"], **CLOSE)


@pytest.mark.parametrize(
    ("engine", "shared_blocks"), [("paper", 0), ("paper", 2), ("tokens", 0), ("tokens", 1), ("tokens", 4)]
)
def test_every_token_active_is_dense(engine: str, shared_blocks: int) -> None:
    model = differing(1.0, engine=engine, shared_blocks=shared_blocks)
    assert model.own_part("depth").blocks.start == shared_blocks
    dense = predict(model, images(), mode="dense")
    for keys in ("base", "own") if engine == "tokens" else ("base",):
        ours = predict(model, images(), keys=keys)
        for task in PROBLEM.names:
            torch.testing.assert_close(ours[task], dense[task], **CLOSE)


@pytest.mark.parametrize("options", [{"engine": "tokens"}, {"engine": "tokens", "keys": "own"}, {"engine": "paper"}])
@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_without_a_difference_the_choice_of_tokens_changes_nothing(options: dict[str, str], fraction: float) -> None:
    model = differing(fraction, **options)
    with torch.no_grad():
        for task in model.deltas:
            for weight in model.delta(task).weights:
                weight.zero_()
    model.eval()
    # A part must be computed even though nothing differs in it.
    model._own_parts = {task: model.functional.own_part(["layers.0.blocks.0.norm1.weight"]) for task in model.deltas}
    with torch.inference_mode():
        maps = model.encode(images(), PROBLEM.names)
    for task in model.deltas:
        torch.testing.assert_close(maps[task], maps["semseg"], **CLOSE)


@pytest.mark.parametrize("keys", ["base", "own"])
def test_tasks_and_images_alone_are_those_together(keys: str) -> None:
    model = differing(0.4, engine="tokens", keys=keys)
    for gates in model.gates.values():
        gates[1], gates[5] = model.uniform_gates(0.2)[1], model.uniform_gates(0.1)[5]  # narrowed within a stage
    together = predict(model, images())
    for task in PROBLEM.names:
        torch.testing.assert_close(predict(model, images(), [task])[task], together[task], rtol=1e-6, atol=1e-6)
        alone = torch.cat([predict(model, image[None])[task] for image in images()])
        torch.testing.assert_close(alone, together[task], **CLOSE)
    with model.one_by_one():
        single = predict(model, images())
    dense = predict(model, images(), mode="dense")
    for task in model.deltas:
        torch.testing.assert_close(single[task], together[task], rtol=1e-6, atol=1e-6)
        assert not torch.allclose(together[task], dense[task], atol=1e-3)


def test_an_artifact_of_the_gates_runs_with_tokens_and_by_thresholds() -> None:
    model = differing(1.0)  # its embedding differs, too
    dense = predict(model, images(), mode="dense")
    for options in ({"engine": "tokens"}, {"policy": "threshold", "ungated": "channels"}, {"queries": "all"}):
        for gates in model.gates.values():
            gates.update({index: type(gate)(1.0, (0.0, 0.0, 0.0)) for index, gate in gates.items()})
        for task, map_ in predict(model, images(), **options).items():
            torch.testing.assert_close(map_, dense[task], **CLOSE)
    model.gates = {task: model.uniform_gates(0.2) for task in model.deltas}
    few = predict(model, images(), engine="tokens")
    assert all(map_.isfinite().all() for map_ in few.values())
    clamped = predict(model, images(), mode="clamped", threshold=0.0)
    torch.testing.assert_close(clamped["depth"], dense["depth"], **CLOSE)


# Counts


def merging_macs() -> int:
    """Four cells of C channels to one of 2 C before each later stage."""
    return sum(TOKENS[stage] * 4 * WIDTHS[stage - 1] * WIDTHS[stage] for stage in (1, 2, 3))


def parts_of(model: SharedNets, batch: Tensor) -> tuple[object, int, int]:
    with torch.inference_mode():
        counted = report(model, batch)
        encoder = count_macs(lambda: model.base(batch)).macs
    return counted, encoder, sum(macs for part, macs in counted.executed.per_part.items() if part.startswith("head/"))


@pytest.mark.parametrize("fraction", [0.1, 0.4])
def test_gates_execute_the_macs_of_the_formula(fraction: float) -> None:
    model = differing(fraction)
    counted, encoder, heads = parts_of(model, images(1))
    embedding = count_macs(lambda: model.functional.embed(model.weights_of("depth"), images(1))).macs
    executed = ideal = embedding + merging_macs()
    sparse = model.delta("depth").sparse()
    for index in range(DEPTH):
        stage, d = index // 2, WIDTHS[index // 2]
        active = math.ceil(fraction * TOKENS[stage] - 1e-9)
        partition = model.functional.block_weights(model.base_weights, index).windows.partition
        executed += 12 * active * d**2 + 2 * partition.room(active) * 49**2 * d
        ideal += 12 * active * d**2 + 2 * WINDOWS[stage] * 49**2 * d * active / TOKENS[stage]
        for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
            ideal += TOKENS[stage] * len(sparse[f"{model.functional.prefix(index)}{name}.weight"].index)
    assert counted.executed.per_part["delta/depth"] == executed
    assert counted.dense == 3 * encoder + heads, "separate networks share nothing"
    alone = differing(fraction, PROBLEM.only(["semseg", "depth"]))
    alone.deltas["depth"].load_state_dict(model.deltas["depth"].state_dict())
    counted, _, heads = parts_of(alone.eval(), images(1))
    base = counted.executed.per_part["base"]
    assert counted.ideal == base + heads + round(ideal)
    assert base < encoder, "queries, keys and values of padding are not multiplied for"


@pytest.mark.parametrize("keys", ["base", "own"])
def test_active_tokens_execute_the_macs_of_the_formula(keys: str) -> None:
    model = differing(0.1, engine="tokens", keys=keys)
    counted, encoder, heads = parts_of(model, images(1))
    executed = merging_macs()
    for index in range(DEPTH):
        stage, d = index // 2, WIDTHS[index // 2]
        active = math.ceil(0.1 * TOKENS[stage] - 1e-9)
        first = model.functional.block_weights(model.base_weights, 2 * stage).windows.partition
        room = min(WINDOWS[stage], first.room(active) * (1 + index % 2))  # shifted windows cut across
        asked = 1 if keys == "base" else 3
        executed += (9 + asked) * active * d**2 + 2 * room * 49**2 * d
        # The sketch by which tokens are chosen; behind the first stage own tokens are compared with the base's.
        executed += 16 * TOKENS[stage] * d * (2 if stage else 1) * (1 - index % 2)
    assert counted.executed.per_part["delta/depth"] == executed
    assert counted.dense == 3 * encoder + heads


def test_layers_are_named_by_stage_and_block() -> None:
    model = differing(0.5, engine="tokens")
    with torch.inference_mode():
        tables = accounting_of(method(engine="tokens")).layer_statistics(model, images())
    blocks = [f"block {stage}.{index}" for stage in range(4) for index in range(2)]
    assert list(tables["active rows"].index) == blocks
    assert set(tables["non-zero weight differences"].index) == {
        *blocks,
        *(f"merging {stage}" for stage in range(3)),
        *(f"norm{level}" for level in (1, 2, 3)),
        "embedding",
    }
    assert tables["active rows"]["depth"]["block 3.1"] == 6 / 12
    assert tables["non-zero weight differences"]["depth"]["embedding"] == 0


# Artifact, training, device


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("engine", ["paper", "tokens"])
def test_an_added_task_leaves_every_file_and_every_prediction_alone(tmp_path: Path, engine: str) -> None:
    subject = method(engine=engine)
    (first := tmp_path / "first").mkdir()
    (second := tmp_path / "second").mkdir()
    held = differing(0.3, PROBLEM.only(["semseg", "depth"]), engine=engine)
    held.calibrated.add("depth")  # its gates are part of the artifact
    subject.save(held, first)
    grown = subject.extend(first, PROBLEM)
    for weight in grown.deltas["normals"].weights:
        torch.nn.init.normal_(weight, std=0.01)
    grown.deltas["normals"].binarise(0.1, grown.countable)
    subject.save(grown.eval(), second)
    before, after = hashes(first), hashes(second)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"normals.safetensors", "normals.task.json"}
    new = subject.load(second).eval()
    for task, map_ in predict(held, images()).items():
        torch.testing.assert_close(predict(new, images())[task], map_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("engine", ["paper", "tokens"])
def test_a_few_steps_train_every_weight_that_may_differ(engine: str) -> None:
    torch.manual_seed(0)
    model = method(engine=engine).build(PROBLEM).train()
    delta = model.learned("depth")
    for parameter in model.base.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW([*delta.weights, *model.heads["depth"].parameters()], lr=2e-3)
    target = images().mean(1, keepdim=True)
    losses = []
    for phase in ("mask", "activations", "rows", "rows", "rows", "rows"):
        delta.phase = phase
        output = model.forward_train(images(), ["depth"])
        loss = (output.predictions["depth"] - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        untouched = [n for n, w in zip(delta.names, delta.weights, strict=True) if w.grad is None]
        assert not untouched, phase
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    with torch.inference_mode():
        assert model.eval()(images())["depth"].isfinite().all()


@pytest.mark.parametrize("keys", ["base", "own"])
def test_nothing_waits_for_the_device_and_no_shape_depends_on_the_image(keys: str) -> None:
    model = differing(0.2, PROBLEM.only(["semseg", "depth"]), engine="tokens", keys=keys)
    with torch.no_grad():
        expected = model(images())  # stacks the weights
        # `.item()`, `nonzero` and the like would raise here.
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            shapes = {task: map_.shape for task, map_ in model(mode.from_tensor(images())).items()}
        assert shapes == {task: map_.shape for task, map_ in expected.items()}
        if keys == "own":
            return
        # A CUDA graph plays operators again as they were: recorded on another image, they must give this one's map.
        play = make_fx(lambda batch: model.encode(batch, ["depth"])["depth"])(torch.randn(1, 3, *SIZE))
        torch.testing.assert_close(play(images(1)), model.encode(images(1), ["depth"])["depth"])


def test_what_a_swin_cannot_do_is_one_line() -> None:
    with pytest.raises(
        UsageError, match=r"engine=corrections runs on vision transformers, not on swin-micro; use --set"
    ):
        method(engine="corrections").build(PROBLEM)
    with pytest.raises(UsageError, match="the encoder has 8 blocks"):
        method(shared_blocks=9).build(PROBLEM)
    with pytest.raises(UsageError, match="gates need plain ViT encoders"):
        differing().open(StreamPolicy(mode="gated"))
