"""Make torchvision importable beside a PyTorch build without its compiled operators.

torchvision's wheels link CUDA libraries. Beside a CPU build of PyTorch the operators fail to load, and the
import then stops at registering shape functions for operators that do not exist. Declaring those two schemas
is enough for everything this project uses (models, transforms); ``nms`` itself stays unusable, and unused.
Where torch and torchvision match, nothing is touched.
"""

import importlib
import sys

import torch

_SCHEMAS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept_alive: list[torch.library.Library] = []


def ensure_importable() -> bool:
    """Import torchvision, declaring its missing operator schemas first where needed.

    Returns:
        True when the schemas had to be declared, False when torchvision imported as it is.

    Raises:
        RuntimeError: torchvision fails for another reason than missing operators.
        ModuleNotFoundError: torchvision is not installed.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
    else:
        return False
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema + _SIGNATURE)  # type: ignore[no-untyped-call]
    _kept_alive.append(library)
    importlib.import_module("torchvision")
    return True
