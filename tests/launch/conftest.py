"""A registry of its own for every test: plug-ins of several tests have one name."""

import pytest

from harness import registry


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_given", {kind: {} for kind in registry._given})
