"""Fixtures shared by all rooms."""

import os
from pathlib import Path

import pytest
import torch

from harness._torchvision import ensure_importable

ensure_importable()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that writes the expected tables anew; look at the difference before you commit it."""
    parser.addoption("--update-golden", action="store_true", help="Write tests/report/golden from what is rendered.")


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores fairly when several workers run."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of expected values and of the two three-image data sets in the real layouts."""
    return Path(__file__).parent / "golden"
