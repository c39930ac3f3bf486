"""A registry of its own for every test: plug-ins of several tests have one name."""

import pytest

from harness.registry.known import GIVEN


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in GIVEN:
        monkeypatch.setitem(GIVEN, kind, {})
