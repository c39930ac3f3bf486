"""Problems, models and checkpoint files for the tests of the methods that decode a ViT."""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from harness.counting import MacCount
from harness.method import Method, MultiTaskModel, accounting_of
from harness.problem import Problem, TaskSpec
from harness.registry import load_method

NYUD = Problem((TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary")), (448, 576))
PASCAL = Problem(
    (TaskSpec("semseg", 21), TaskSpec("parts", 7), TaskSpec("saliency"), TaskSpec("normals"), TaskSpec("boundary")),
    (512, 512),
)
SMALL = {
    "nyud": Problem((TaskSpec("depth"), TaskSpec("semseg", 5), TaskSpec("normals")), (32, 48)),
    "pascal": Problem((TaskSpec("boundary"), TaskSpec("parts", 7), TaskSpec("semseg", 5)), (32, 48)),
}
"""Problems that take the design of either data set, tasks not in the order of the code base."""


def method(name: str, backbone: str = "vit-micro", **options: object) -> Method:
    cls = load_method(name)
    return cls(cls.Options.model_validate(options), backbone)


def build(name: str, problem: Problem, backbone: str = "vit-micro", **options: object) -> MultiTaskModel:
    torch.manual_seed(0)
    return method(name, backbone, **options).build(problem)


@torch.no_grad()
def distinct(model: MultiTaskModel) -> MultiTaskModel:
    """Give every layer weights that keep the variance of what it reads, and norms none that are ones and zeros."""
    torch.manual_seed(1)
    for value in model.state_dict().values():
        if value.is_floating_point():
            spread = 0.1 if value.ndim < 2 else max(1, value[0].numel()) ** -0.5
            value.copy_((value.abs() if value.ndim < 2 else 0) + spread * torch.randn_like(value))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None:
            layer.running_var.abs_()
    return model.eval()


def counted(name: str, problem: Problem, backbone: str) -> tuple[MultiTaskModel, MacCount]:
    """Return a model without storage, and its count."""
    subject = method(name, backbone)
    with torch.device("meta"):
        model = subject.build(problem).eval()
        images = torch.empty(1, 3, *problem.input_size)
    with torch.inference_mode():
        return model, accounting_of(subject).macs(model, images).executed


def wrapped(model: nn.Module, path: Path) -> Path:
    """Save as the code base of InvPT saves: in parallel mode, beside the optimiser's state."""
    state = OrderedDict((f"module.{key}", value) for key, value in model.state_dict().items())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-5).state_dict()
    content = {"optimizer": optimizer, "scheduler": {"base_lrs": [2e-5]}, "model": state, "epoch": 7, "iter_count": 1}
    torch.save(content, path)
    return path
