"""Two synthetic sets, rendered once per session, and a private cache for every test."""

import pytest

from harness.datasets.nyud_synth import NYUDSynth
from harness.datasets.pascal_synth import PascalSynth

TRAIN, VAL = 75, 30


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("HARNESS_CACHE", str(cache))
    return cache


def _readers(dataset, folder):
    dataset.write(folder, seed=0, train=TRAIN, val=VAL)
    return dataset.reader(folder, "train"), dataset.reader(folder, "val")


@pytest.fixture(scope="session")
def rooms(tmp_path_factory):
    """Readers of train and val of the first images of the default set."""
    return _readers(NYUDSynth(), tmp_path_factory.mktemp("synth") / "rooms")


@pytest.fixture(scope="session")
def snapshots(tmp_path_factory):
    """Readers of train and val of the first images of the default set."""
    return _readers(PascalSynth(), tmp_path_factory.mktemp("synth") / "snapshots")
