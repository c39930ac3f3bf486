"""Small matrices, and what two runs of one have in common."""

from pathlib import Path

from harness.config import RunConfig
from harness.records import Record, find_records

MOODY = """
import os
import time
import torch
from harness.baselines.multi_task import MultiTask
from harness.compute import seed_everything

class Moody(MultiTask):
    name = "moody"

    def build(self, problem):
        state = torch.get_rng_state()
        seed_everything(2)
        if torch.equal(torch.get_rng_state(), state):
            raise RuntimeError("never works")
        torch.set_rng_state(state)
        model = super().build(problem)
        wait = float(os.environ.get("STEP_SECONDS", 0))
        first = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
        first.register_forward_pre_hook(lambda *_: time.sleep(wait))
        return model
"""
"""A method that fails with seed 2 and is the multi-task one with all others, as slow as the environment says."""


def config(golden: Path, out: Path, **changes: object) -> RunConfig:
    fields = {"method": ["multi-task"], "dataset": ["nyud"], "data_root": golden / "mini_NYUDv2", "task": ["depth"]}
    fields |= {"iterations": 3, "probe": ["none"], "output": out, "quiet": True, "seed": [0, 1], "device": "cpu"}
    return RunConfig(**(fields | changes))


NO_RESULTS = {"created_at", "updated_at", "harness", "command", "environment", "phases"}


def comparable(record: Record) -> dict[str, object]:
    """Return what a record says but for times, hosts, the commit and the command."""
    fields = record.model_dump(mode="json", exclude=NO_RESULTS)
    fields["config"] = {
        key: value for key, value in fields["config"].items() if key not in ("output", "seed", "method")
    }
    return fields


def results(out: Path) -> dict[str, tuple[object, bytes]]:
    found = {}
    for record in find_records(out):
        if record.status == "complete":
            weights = (out / record.run_id / "artifact" / "model.safetensors").read_bytes()
            found[record.run_id] = (comparable(record), weights)
    return found
