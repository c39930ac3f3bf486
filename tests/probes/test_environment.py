"""The environment: plain JSON, everything that decides whether figures compare, and an id of the hardware alone."""

import json
from itertools import count

import torch

from harness.data.sample import Batch
from harness.probes.conditions import OtherWork, conditions
from harness.probes.end_to_end import IMAGES, measure_end_to_end
from harness.probes.environment import environment, system_id


def test_it_is_json_and_tells_what_decides_whether_figures_compare(monkeypatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("SECRET_TOKEN", "never stored")
    found = environment()
    assert json.loads(json.dumps(found)) == found
    for key in ("cpu", "cpu_capability", "gpu", "gpu_driver", "cuda", "torch_threads", "tf32_matmul", "packages"):
        assert key in found
    assert found["variables"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "never stored" not in json.dumps(found)
    assert found["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]


def test_the_id_is_of_the_hardware_alone() -> None:
    here = environment()
    other = here | {"packages": {}, "torch_threads": 1, "python": "3.99", "gpu_driver": "1", "variables": {"A": "b"}}
    assert system_id(other) == system_id(here)
    assert system_id(here | {"gpu": "Another GPU"}) != system_id(here)
    assert system_id(here | {"memory_bytes": here["memory_bytes"] * 2}) != system_id(here)


def test_conditions_are_read_where_they_can_be() -> None:
    found = conditions(torch.device("cpu"))
    assert found.load_average is not None
    assert found.gpu_sm_mhz is None
    assert found.gpu_throttle == []
    assert OtherWork().cores() >= 0


def batch(size: int) -> Batch:
    return Batch([str(n) for n in range(size)], torch.zeros(size, 3, 4, 4), {}, [(4, 4)] * size, [(0, 0)] * size)


def test_throughput_leaves_the_first_batch_out_and_stops_in_time() -> None:
    ticks = count()
    found = measure_end_to_end(
        [batch(8), batch(8), batch(4)], lambda images: {"depth": images}, torch.device("cpu"), now=lambda: next(ticks)
    )
    assert found.images == 12
    assert found.images_per_second == 12 / 2, "two batches, a second each"
    endless = (batch(16) for _ in count())
    assert measure_end_to_end(endless, lambda images: {"depth": images}, torch.device("cpu")).images == IMAGES - 16
    nothing = measure_end_to_end([], lambda images: {}, torch.device("cpu"))
    assert nothing.images_per_second is None
    assert nothing.reason
