"""Problems and methods for the tests of the baselines on HRNets."""

from harness.method import Method
from harness.problem import TaskSpec
from harness.registry import load_method

SIZE = (64, 96)
NYUD = (TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary"))
PASCAL = (TaskSpec("semseg", 21), TaskSpec("parts", 7), TaskSpec("saliency"), TaskSpec("normals"), TaskSpec("boundary"))
EDGES_AND_NORMALS = {"auxiliary": ("normals", "boundary")}
METHODS = ("mti-net", "pad-net")


def method(name: str, backbone: str = "hrnet-micro", **options: object) -> Method:
    cls = load_method(name)
    return cls(cls.Options.model_validate(options), backbone)
