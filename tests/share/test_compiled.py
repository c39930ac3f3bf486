"""All engines compiled and as CUDA graphs: one graph without a break, and the eager predictions."""

from collections.abc import Callable

import corrected_nets
import pytest
import shared_nets
import torch
from torch import Tensor

from harness.compute import Compute, ExecutionSettings
from harness.counting import count_macs
from harness.model import MultiTaskModel
from harness.probes.prepare import prepare_call
from harness.problem import Problem, TaskSpec

SMALL = Problem((TaskSpec("semseg", 5), TaskSpec("depth")), (16, 24))


def gated(engine: str) -> MultiTaskModel:
    model = shared_nets.differing(SMALL, engine=engine, shared_blocks=2)
    model.gates = {task: model.uniform_gates(0.3) for task in model.deltas}
    return model


ENGINES: dict[str, Callable[[], MultiTaskModel]] = {
    "paper": lambda: gated("paper"),
    "tokens": lambda: gated("tokens"),
    "corrections": lambda: corrected_nets.corrected(SMALL, first_block=3, rows=0.3),
}


def images(count: int = 1) -> Tensor:
    return torch.randn(count, 3, *SMALL.input_size, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_is_one_graph(engine: str) -> None:
    model = ENGINES[engine]().eval()
    torch._dynamo.reset()
    with torch.inference_mode():
        expected = model(images())  # merges and stacks weights
        # The tracer alone: what it traces, every back end compiles. A break of the graph would raise.
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        for task, map_ in compiled(images()).items():
            torch.testing.assert_close(map_, expected[task], rtol=1e-5, atol=1e-5)
        assert count_macs(lambda: model(images()), model.parts()).per_part["base"] > 0, "eager counts are as before"
    torch._dynamo.reset()


def test_weights_are_merged_and_stacked_before_anything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gated("tokens")
    stacked: list[int] = []

    def compiled(given: MultiTaskModel, mode: str) -> MultiTaskModel:
        stacked.append(len(given.tokens.stacks))
        return given

    monkeypatch.setattr(torch, "compile", compiled)
    prepare_call(model, images(), Compute(torch.device("cpu")), ExecutionSettings(compile="default"))
    assert stacked == [1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", [ExecutionSettings(cuda_graph=True), ExecutionSettings(compile="default")])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_runs_as_a_graph_and_compiled_on_a_gpu(engine: str, settings: ExecutionSettings) -> None:
    model = ENGINES[engine]().eval().cuda()
    with torch.inference_mode():
        expected = model(images().cuda())
    call = prepare_call(model, images(), Compute(torch.device("cuda")), settings)
    for task, map_ in call().items():
        torch.testing.assert_close(map_, expected[task], rtol=1e-3, atol=1e-3)
