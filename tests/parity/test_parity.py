"""Baselines hold the weights of their references under the same keys, and give the same outputs."""

import pytest
import torch
from deterministic import image, relative_error, set_weights
from expectation import COUNTER, Expectation, names
from parity_cases import CASES, Case, build
from torch import Tensor

from harness.baselines.common.interaction import AuxiliaryModel
from harness.baselines.common.tasks import key_of
from harness.method import MultiTaskModel

MARKED = [pytest.param(name, marks=pytest.mark.slow) if case.slow else name for name, case in CASES.items()]


def test_every_expectation_has_a_case() -> None:
    assert names() == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_keys_shapes_and_parameters_are_the_references(name: str) -> None:
    expectation = Expectation.load(name)
    with torch.device("meta"):
        model = build(CASES[name], expectation)
    own = {key: tuple(entry.shape) for key, entry in model.state_dict().items() if not key.endswith(COUNTER)}
    assert own == expectation.state
    parameters = {key for key, _ in model.named_parameters(remove_duplicate=False)}
    assert own.keys() - parameters == set(expectation.buffers)
    assert sum(parameter.numel() for parameter in model.parameters()) == expectation.parameters


@pytest.mark.parametrize("name", MARKED)
def test_outputs_are_the_references(name: str) -> None:
    case, expectation = CASES[name], Expectation.load(name)
    model = build(case, expectation)
    set_weights(model, case.left)
    ours = outputs(model, case, image(expectation.input, expectation.seed))
    compared = {key: value for key, value in expectation.outputs.items() if not key.startswith(case.not_compared)}
    assert ours.keys() >= compared.keys() > set()
    errors = {
        key: relative_error(ours[key], expected.at, expected.values, expected.deviation)
        for key, expected in compared.items()
    }
    assert max(errors.values()) < case.tolerance, errors


@torch.inference_mode()
def outputs(model: MultiTaskModel, case: Case, images: Tensor) -> dict[str, Tensor]:
    """Return all predictions under the names of the reference."""
    if isinstance(model, AuxiliaryModel):  # intermediate predictions are compared as they are made, before resizing
        predictions, intermediate = model.with_auxiliary(images)
    else:
        output = model.forward_train(images)
        predictions, intermediate = output.predictions, output.intermediate
    sets = {"outputs/": predictions} | dict(zip(case.intermediate, intermediate, strict=True))
    return {prefix + key_of(task): map_ for prefix, maps in sets.items() for task, map_ in maps.items()}
