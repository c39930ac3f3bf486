"""The compiler of the pixel loops."""

import os
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


@pytest.mark.parametrize("damage", [b"", b"\x80\x04", b"\0" * 100 + b".", b"not a pickle."])
def test_a_damaged_cache_is_compiled_again(damage: bytes, tmp_path: Path) -> None:
    home = tmp_path / "cache"

    def count() -> subprocess.CompletedProcess[str]:
        variables = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
        environment = {**variables, "HARNESS_CACHE": str(home)}
        return subprocess.run(
            [sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=False
        )

    first = count()
    assert first.returncode == 0, first.stderr
    assert stat.S_IMODE((home / "numba").stat().st_mode) == 0o700
    files = list(home.rglob("*.nb[ic]"))
    assert files
    for path in files:
        if path.suffix == ".nbi" or not damage.endswith(b"."):  # code is not read in full: a whole pickle may be any
            path.write_bytes(damage)
    again = count()
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
