"""Probes by name."""

import pytest

from harness.errors import UsageError
from harness.probes.catalog import INTERLEAVED, PROBES, select
from harness.records import Record


def test_all_probes_run_unless_some_are_named_and_always_in_the_same_order() -> None:
    assert select([]) == tuple(PROBES)
    assert select(["latency", "macs"]) == ("macs", "latency")
    assert select(["none"]) == ()


def test_what_latency_is_related_to_is_measured_before_it() -> None:
    order = list(PROBES)
    assert order.index("latency") > max(order.index("macs"), order.index("ceilings"))


def test_every_probe_has_its_place_in_the_record() -> None:
    assert set(PROBES) <= set(Record.model_fields)


def test_every_probe_has_its_function_or_is_measured_interleaved() -> None:
    assert {name for name, probe in PROBES.items() if not callable(probe.load())} == {*INTERLEAVED}
    assert set(INTERLEAVED) == {"ceilings", "latency"}


@pytest.mark.parametrize(
    ("names", "message"), [(["mac"], "did you mean macs"), (["none", "macs"], "do not name others")]
)
def test_a_wrong_choice_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select(names)
