"""Problems and methods for the tests of the baselines on ResNets."""

import torch
from torch import nn

from harness.method import Method, MultiTaskModel
from harness.problem import Problem, TaskSpec
from harness.registry import load_method

SIZE = (32, 48)
NYUD = (TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary"))
PASCAL = (TaskSpec("semseg", 21), TaskSpec("parts", 7), TaskSpec("saliency"), TaskSpec("normals"), TaskSpec("boundary"))
SIX = (*PASCAL, TaskSpec("depth"))
METHODS = ("cross-stitch", "nddr-cnn", "mtan")
PARALLEL = ("cross-stitch", "nddr-cnn")


def method(name: str, backbone: str = "resnet-micro", **options: object) -> Method:
    cls = load_method(name)
    return cls(cls.Options.model_validate(options), backbone)


def built(name: str, tasks: tuple[TaskSpec, ...], size: tuple[int, int] = SIZE) -> MultiTaskModel:
    """Return a model in evaluation mode in which no norm is an identity and no two units are alike."""
    torch.manual_seed(0)
    model = method(name).build(Problem(tasks, size))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
        if isinstance(layer, nn.ParameterDict):
            nn.init.uniform_(layer["param"], -1, 1)
    return model.eval()
