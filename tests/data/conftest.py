"""Folders and readers of the tiny data sets, and a private cache for every test."""

import shutil
from pathlib import Path

import pytest

from harness.data.dataset import Dataset
from harness.datasets.nyud import NYUD
from harness.datasets.pascal_context import PascalContext

GOLDEN = Path(__file__).parent.parent / "golden"
MINI = {"nyud": GOLDEN / "mini_NYUDv2", "pascal-context": GOLDEN / "mini_PASCALContext"}


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("HARNESS_CACHE", str(cache))
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    return cache


@pytest.fixture
def nyud_root(tmp_path):
    return Path(shutil.copytree(MINI["nyud"], tmp_path / "NYUDv2"))


@pytest.fixture
def pascal_root(tmp_path):
    return Path(shutil.copytree(MINI["pascal-context"], tmp_path / "PASCALContext"))


@pytest.fixture(params=["nyud", "pascal-context"])
def mini(request) -> tuple[Dataset, Path]:
    dataset = {"nyud": NYUD, "pascal-context": PascalContext}[request.param]()
    return dataset, MINI[request.param]
