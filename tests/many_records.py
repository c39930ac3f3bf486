"""Makes many different records, the same every time: for pages that must hold and sort them all."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from harness.records import DatasetInfo, Gain, MethodInfo, Record, Software
from harness.records.costs import Conditions, Latency, Macs, PairedRatio, Parameters, Sampling, Spread, Storage
from harness.records.metric import Metric, Unit

Task = tuple[str, str, Unit, bool, float, float]
"""Task, key and unit of its headline, direction, a middling figure and its spread."""

NYUD: list[Task] = [
    ("semseg", "miou", "fraction", True, 0.45, 0.05),
    ("depth", "rmse", "m", False, 0.58, 0.05),
    ("normals", "merr", "deg", False, 19.5, 1.0),
    ("boundary", "odsf", "fraction", True, 0.76, 0.02),
]
PASCAL: list[Task] = [
    ("semseg", "miou", "fraction", True, 0.72, 0.05),
    ("parts", "miou", "fraction", True, 0.62, 0.04),
    ("saliency", "maxf", "fraction", True, 0.84, 0.01),
    ("normals", "merr", "deg", False, 14.3, 0.6),
    ("boundary", "odsf", "fraction", True, 0.71, 0.03),
]
DATASETS = {
    "nyud": (NYUD, False, (448, 576)),
    "pascal-context": (PASCAL, False, (512, 512)),
    "nyud-synth": (NYUD, True, (112, 144)),
    "pascal-synth": (PASCAL, True, (128, 128)),
}
METHODS = ["single-task", "multi-task", "share", "invpt", "mtformer"]
BACKBONES = {"vit-micro": 0.4, "vit-t16": 5.0, "vit-s16": 19.0, "vit-b16": 75.0, "vit-l16": 260.0}
"""Encoder to the GMACs of one network."""
MACHINES = [("amd-epyc-00000001", "AMD EPYC", "cpu"), ("nvidia-h100-00000002", "NVIDIA H100 80GB HBM3", "cuda")]


def many_records(seeds: int = 3) -> list[Record]:
    """Return 100 records per seed: every method, backbone and data set."""
    source = random.Random(0)
    cells = product(DATASETS, METHODS, BACKBONES, range(seeds))
    return [_record(number, *cell, source) for number, cell in enumerate(cells)]


def _record(number: int, dataset: str, method: str, backbone: str, seed: int, source: random.Random) -> Record:
    tasks, synthetic, size = DATASETS[dataset]
    machine = MACHINES[METHODS.index(method) % 2]
    made = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=number)
    strength = 0.35 * list(BACKBONES).index(backbone) + 0.2 * METHODS.index(method)
    content: dict[str, Any] = {
        "run_id": f"{dataset}/{method}.{backbone}.full.seed{seed}",
        "source": "measured",
        "status": "complete",
        "created_at": made,
        "updated_at": made,
        "harness": Software(version="0.1.0", git_commit="0" * 40, git_dirty=bool(number % 2)),
        "command": ["harness", "run", "-m", method, "-d", dataset, "-b", backbone, "--seed", str(seed)],
        "config": {"method": [method], "seed": [seed]},
        "config_hash": f"{number:064x}",
        "method": MethodInfo(
            name=method,
            summary=f"the method called {method}",
            paper=None,
            is_reference=method == "single-task",
            backbone=backbone,
            init="pretrained",
            checkpoint=None,
            options={"density": 0.08} if method == "share" else {},
            plugin="harness.methods",
        ),
        "dataset": DatasetInfo(
            name=dataset,
            synthetic=synthetic,
            build="png",
            split="val",
            fingerprint="f" * 64,
            n_expected=654,
            n_evaluated=654,
            train_fingerprint=None,
            n_train=795,
        ),
        "protocol_name": "invpt",
        "protocol": {},
        "budget": "full",
        "input_size": size,
        "precision": "fp32",
        "device": machine[2],
        "seed": seed,
        "metrics": dict(_metrics(tasks, strength, number, source)),
        "delta_m": _gain(method, strength, source),
        **_costs(method, backbone, number, source),
        "system_id": machine[0],
        "environment": {"cpu": "AMD EPYC", "gpu": None if machine[2] == "cpu" else machine[1]},
    }
    return Record(**content)


def _metrics(
    tasks: list[Task], strength: float, number: int, source: random.Random
) -> Iterator[tuple[str, dict[str, Metric]]]:
    for task, key, unit, higher, middle, spread in tasks:
        sign = 1 if higher else -1
        value: float | None = middle + sign * spread * (strength - 1 + 0.1 * source.gauss(0, 1))
        if task == "boundary" and number % 15 < 3:
            value = None
        figure = Metric(
            value=value,
            unit=unit,
            higher_is_better=higher,
            n=654,
            protocol=f"{task}.{key}",
            reason="the boundary meter was left out" if value is None else None,
        )
        yield task, {key: figure}


def _gain(method: str, strength: float, source: random.Random) -> Gain:
    if method == "single-task":
        return Gain(value=0.0, reference="itself")
    if method == "mtformer":
        return Gain(value=None, reference=None, reason="no single-task record of this backbone")
    return Gain(value=strength - 2 + 0.3 * source.gauss(0, 1), reference="single-task")


def _costs(method: str, backbone: str, number: int, source: random.Random) -> dict[str, Any]:
    macs = (
        BACKBONES[backbone]
        * {"single-task": 4.0, "multi-task": 1.2, "share": 2.1, "invpt": 1.9, "mtformer": 1.5}[method]
    )
    parameters = Parameters(total=int(macs * 1.1e6), per_part={"encoder": int(macs * 1e6), "heads": int(macs * 1e5)})
    storage = Storage(artifact_bytes=int(macs * 4.4e6), per_file={})
    if number % 10 == 9:
        return {"parameters": parameters, "storage": storage, "unmeasured": {"macs": "the counter failed"}}
    spread = Spread(mean=macs * 1e9, p50=macs * 1e9, p95=macs * 1e9, n=654)
    counted = Macs(dense=spread, executed=spread, per_part={}, per_task={}, elementwise_outputs=0.0)
    costs = {"parameters": parameters, "storage": storage, "macs": counted}
    if backbone == "vit-l16":
        return costs | {"unmeasured": {"latency": "out of memory at batch size 1"}}
    return costs | {"latency": [_latency(macs * (1 + 0.02 * source.random()), source)]}


def _latency(milliseconds: float, source: random.Random) -> Latency:
    quiet = Conditions(load_average=0.1)
    return Latency.of(
        [milliseconds * (1 + 0.01 * source.random()) for _ in range(20)],
        batch_size=1,
        precision="fp32",
        threads=2,
        sampling=Sampling(warmup=5, clock="perf_counter", session="s", rounds=[20], other_cores=0.0),
        paired=PairedRatio(reference="single-task", ratio=0.5, low=0.49, high=0.51, rounds=9),
        before=quiet,
        after=quiet,
    )


ATTACK = "<script>window.hacked=1</script>\"'><img src=x onerror=window.hacked=1></script><!--{{7*7}}"
"""A name that breaks out of tags, attributes, scripts, comments and templates where it is not escaped."""


def hostile() -> Record:
    """Return a record that carries the attack in every text it can."""
    record = many_records(1)[0]
    content = record.model_dump()
    content |= {"run_id": f"../../{ATTACK}", "warnings": [ATTACK], "command": ["harness", ATTACK]}
    content |= {"system_id": ATTACK, "protocol_name": ATTACK, "protocol": {ATTACK: ATTACK}, "config": {ATTACK: ATTACK}}
    content["method"] |= dict.fromkeys(("name", "summary", "paper", "backbone", "checkpoint", "plugin"), ATTACK)
    content["method"]["options"] = {ATTACK: ATTACK}
    content["dataset"] |= {"name": f"z{ATTACK}", "build": ATTACK, "split": ATTACK}
    content["environment"] = {"cpu": ATTACK}
    content["metrics"] = {ATTACK: content["metrics"]["semseg"]}
    content["delta_m"] = {"value": None, "reference": ATTACK, "reason": ATTACK}
    content["unmeasured"] = {"memory": ATTACK}
    return Record.model_validate(content)
