"""Dense, ideal and simulated counts against formulas, and calibration against made-up accuracies."""

import math

import pytest
import torch
from shared_nets import DEPTH, TOKENS, WIDTH, differing, images, method

from harness.counting import count_macs
from harness.methods.share.accounting import layer_statistics, report, sparsity
from harness.methods.share.calibration import FRACTIONS, calibrate
from harness.problem import Problem, TaskSpec
from harness.records.metric import Metric

LINEAR = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def test_dense_is_what_separate_networks_execute() -> None:
    model = differing()
    with torch.inference_mode():
        counted = report(model, images(1))
        with model.executed_as(mode="dense"):
            assert counted.dense == count_macs(lambda: model(images(1))).macs


def test_ideal_counts_changed_inputs_and_changed_weights() -> None:
    model = differing()
    model.gates = {task: model.uniform_gates(0.4) for task in model.deltas}
    with torch.inference_mode():
        counted = report(model, images(1))
        embedding = count_macs(lambda: model.functional.embed(model.weights_of("depth"), images(1))).macs
        encoder = count_macs(lambda: model.run_base(images(1), (), "nothing")).macs
    heads = sum(macs for part, macs in counted.executed.per_part.items() if part.startswith("head/"))
    active = math.ceil(0.4 * TOKENS)
    expected = encoder + heads
    for task in model.deltas:
        expected += embedding + DEPTH * (2 * active * TOKENS * WIDTH + 12 * active * WIDTH**2)
        sparse = model.delta(task).sparse()
        linear = (".qkv.weight", ".proj.weight", ".fc1.weight", ".fc2.weight")
        changed = [
            held.index.numel() for name, held in sparse.items() if name.startswith("blocks.") and name.endswith(linear)
        ]
        expected += TOKENS * sum(changed)
    assert counted.ideal == expected


def test_the_papers_simulation_counts_outputs_that_stay() -> None:
    nothing = differing(threshold=0.0)
    everything = differing(threshold=1e9)
    with torch.inference_mode():
        whole = report(nothing, images(1))
        assert whole.simulated == whole.dense, "with threshold 0 every output stays"
        least = report(everything, images(1))
    attention = DEPTH * 2 * TOKENS**2 * WIDTH * len(everything.deltas)
    linear = DEPTH * 12 * TOKENS * WIDTH**2 * len(everything.deltas)
    assert least.simulated == least.dense - linear
    assert least.simulated is not None
    assert least.simulated > attention


def test_statistics_say_what_the_gates_and_the_weights_say() -> None:
    model = differing(shared_blocks=2)
    model.gates = {task: model.uniform_gates(0.4) for task in model.deltas}
    with torch.inference_mode():
        frames = layer_statistics(model, images())
    assert list(frames["active rows"].columns) == ["depth", "normals"]
    rows = frames["active rows"]["depth"]
    assert rows["block 0"] == 0
    assert rows["block 3"] == pytest.approx(math.ceil(0.4 * TOKENS) / TOKENS)
    weights = frames["non-zero weight differences"]["depth"]
    assert weights["embedding"] == weights["block 1"] == 0
    nonzero = sum(held.index.numel() for held in model.delta("depth").sparse().values())
    sizes = {}
    for name, weight in model.base_weights.items():
        if name != "pos_embed":
            layer = "embedding" if name.startswith(("patch", "cls")) else name.split(".")[0]
            layer = f"block {name.split('.')[1]}" if layer == "blocks" else layer
            sizes[layer] = sizes.get(layer, 0) + weight.numel()
    assert sum(weights[layer] * size for layer, size in sizes.items()) == pytest.approx(nonzero)


@pytest.mark.slow
def test_vit_b16_has_the_papers_parameters_and_macs() -> None:
    pascal = Problem((TaskSpec("semseg", 21), TaskSpec("parts", 7), TaskSpec("normals")), (512, 512))
    subject = type(method())(method().options, "vit-b16")
    with torch.device("meta"):
        model = subject.build(pascal).eval()
    blocks = sum(p.numel() for name, p in model.base.vit.named_parameters() if name.startswith("blocks."))
    assert blocks == 85_054_464
    # 85 645 824 of the paper's encoder, and a final norm, which it does without
    assert model.countable == 85_645_824 + 2 * 768
    with torch.inference_mode():
        count = count_macs(lambda: model.run_base(torch.empty(1, 3, 512, 512, device="meta"), (), "nothing"))
    assert count.macs == pytest.approx(107.0e9, rel=0.005)


def made_up(model: object, losses: dict[float, float]) -> object:
    """Return a score that falls with the mean fraction of active tokens, as a table says."""

    def score(asked: object, tasks: object) -> dict[str, Metric]:
        [task] = tasks  # type: ignore[misc]
        dense = asked.options.mode == "dense"  # type: ignore[attr-defined]
        fractions = [asked.gates[task][block].fraction for block in asked.own_part(task).blocks]  # type: ignore[attr-defined]
        loss = 0 if dense else sum(losses[fraction] for fraction in fractions) / len(fractions)
        value = 1 - loss / 100
        return {task: Metric(value=value, unit="fraction", higher_is_better=True, n=1, protocol="p")}

    return score


def test_calibration_takes_the_smallest_fractions_within_the_budget() -> None:
    model = differing()
    losses = {0.05: 10.0, 0.1: 4.0, 0.2: 2.0, 0.3: 0.59, 0.5: 0.1, 0.7: 0.0, 1.0: 0.0}
    calibrate(model, made_up(model, losses), budget=0.4)  # type: ignore[arg-type]
    # 0.4 points of the mean over three tasks are 0.6 for each of two sub-tasks: 0.3 everywhere, and no block less
    assert {gate.fraction for gate in model.gates["depth"].values()} == {0.3}
    assert model.calibrated == {"depth", "normals"}
    calibrate(model, made_up(model, losses), budget=100.0)  # type: ignore[arg-type]
    assert {gate.fraction for gate in model.gates["depth"].values()} == {0.3}, "what is calibrated stays as it is"


def test_calibration_narrows_single_blocks_and_gives_up_nothing_it_cannot_measure() -> None:
    model = differing()
    losses = dict.fromkeys(FRACTIONS, 0.0) | {0.05: 4.0}
    calibrate(model, made_up(model, losses), budget=1.0)  # type: ignore[arg-type]
    # 1.5 points per sub-task: all blocks at 0.1, and one of four at 0.05, which costs one
    assert sorted(gate.fraction for gate in model.gates["depth"].values()) == [0.05, 0.1, 0.1, 0.1]

    def unknown(asked: object, tasks: object) -> dict[str, Metric]:
        [task] = tasks  # type: ignore[misc]
        return {task: Metric(value=None, unit="m", higher_is_better=False, n=0, protocol="p", reason="none")}

    careful = differing()
    calibrate(careful, unknown, budget=1.0)  # type: ignore[arg-type]
    assert {gate.fraction for gate in careful.gates["depth"].values()} == {1.0}


def test_a_sub_task_has_its_changed_weights_and_active_tokens_and_the_base_all_of_both() -> None:
    model = differing()
    model.gates = {task: model.uniform_gates(0.4) for task in model.deltas}
    with torch.inference_mode():
        found = sparsity(model, images(2))
        with model.executed_as(mode="dense"):
            dense = sparsity(model, images(2))
    for task in model.deltas:
        changed = sum(held.index.numel() for held in model.delta(task).sparse().values())
        assert found[task].weight_density == changed / model.countable
        assert found[task].active_rows == math.ceil(0.4 * TOKENS) / TOKENS
        assert dense[task].active_rows == 1
    [base] = set(model.problem.names) - set(model.deltas)
    assert (found[base].weight_density, found[base].active_rows) == (1, 1)
