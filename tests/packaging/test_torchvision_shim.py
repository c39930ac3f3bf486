"""The torchvision shim: needed beside a CPU build, idle where torch and torchvision match."""

import subprocess
import sys

import pytest
import torch

SCRIPT = """
import {first}
from harness._torchvision import ensure_importable
print(ensure_importable())
import timm
from torchvision.transforms.v2 import functional
timm.create_model("resnet18")
print(functional.resize.__name__)
"""


def run(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def imports_as_is() -> bool:
    return subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode == 0


def test_timm_and_the_transforms_work_after_the_shim() -> None:
    declared, function = run(SCRIPT.format(first="torch"))
    assert function == "resize"
    assert declared == str(not imports_as_is())


def test_it_does_nothing_where_torchvision_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import _torchvision

    monkeypatch.setattr(torch.library, "Library", lambda *_: pytest.fail("declared schemas without need"))
    assert _torchvision.ensure_importable() is False


def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import _torchvision

    def fail(name: str) -> None:
        raise RuntimeError("driver too old")

    monkeypatch.setattr(_torchvision.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="driver too old"):
        _torchvision.ensure_importable()
