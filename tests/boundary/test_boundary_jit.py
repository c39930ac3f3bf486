"""The compiler of the pixel loops."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.caching import FunctionCache

from harness.jit import kernel

COUNT = (
    "import numpy as np; from harness.boundary import count_image, BoundaryRule; "
    "print(count_image(np.full((40, 40), 100, np.uint8), np.eye(40, dtype=bool), BoundaryRule(0.01)).sum_r.sum())"
)


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    monkeypatch.setattr(FunctionCache._impl_class, "_locator_classes", [])
    assert kernel(lambda x: x + 1)(41) == 42


def count(home: Path) -> subprocess.CompletedProcess[str]:
    """Count the boundaries of an image in a process of its own, with its compiled loops kept in ``home``."""
    variables = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment = {**variables, "HARNESS_CACHE": str(home)}
    return subprocess.run([sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    home = tmp_path_factory.mktemp("compiled")
    first = count(home)
    assert first.returncode == 0, first.stderr
    return home, first.stdout


@pytest.mark.xdist_group("compiled")
@pytest.mark.parametrize(
    "damage", [b"", b"\x80\x04", b"\0" * 100 + b".", b"not a pickle."], ids=["empty", "cut off", "zeros", "text"]
)
def test_a_damaged_cache_is_compiled_again(damage: bytes, compiled: tuple[Path, str], tmp_path: Path) -> None:
    home = Path(shutil.copytree(compiled[0], tmp_path / "cache"))
    assert stat.S_IMODE((home / "numba").stat().st_mode) == 0o700
    files = list(home.rglob("*.nb[ic]"))
    assert files
    for path in files:
        if path.suffix == ".nbi" or not damage.endswith(b"."):  # code is not read in full: a whole pickle may be any
            path.write_bytes(damage)
    again = count(home)
    assert (again.returncode, again.stdout) == (0, compiled[1]), again.stderr
