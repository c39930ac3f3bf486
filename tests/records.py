"""Builds records for tests."""

from datetime import UTC, datetime
from typing import Any

from harness.records import DatasetInfo, MethodInfo, Record, Reported, Software
from harness.records.costs import Parameters, Storage
from harness.records.metric import Metric, Unit

NYUD = {
    "semseg": ("fraction", True),
    "depth": ("m", False),
    "normals": ("deg", False),
    "boundary": ("fraction", True),
}


def metric(value: float | None, unit: Unit, higher: bool, reason: str | None = None) -> Metric:
    return Metric(value=value, unit=unit, higher_is_better=higher, n=10, protocol="p", reason=reason)


def origin(**changes: Any) -> Reported:
    """Return what a reported record says of its source."""
    content: dict[str, Any] = {
        "source": "a paper",
        "locator": "Table 1",
        "tier": "own",
        "note": None,
        "differs": None,
        "delta_m_percent": None,
        "gflops": None,
        "parameters_m": None,
        "latency_ms": None,
    }
    return Reported(**(content | changes))


def record(method: str = "multi-task", values: tuple[float | None, ...] = (), **changes: Any) -> Record:
    """Return a complete NYUD record whose headline figures are ``values`` (semseg, depth, normals, boundary)."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    metrics = {
        task: {"headline": metric(value, unit, higher, None if value is not None else "not measured")}
        for value, (task, (unit, higher)) in zip(values, NYUD.items(), strict=False)
    }
    seed = changes.get("seed", 0)
    content: dict[str, Any] = {
        "run_id": f"nyud-synth/{method}.seed{seed}",
        "source": "measured",
        "status": "complete",
        "created_at": now,
        "updated_at": now,
        "harness": Software(version="1", git_commit=None, git_dirty=None),
        "command": ["harness", "run"],
        "config": {},
        "config_hash": "0",
        "method": MethodInfo(
            name=method,
            summary="s",
            paper=None,
            is_reference=method == "single-task",
            backbone="vit-micro",
            init="random",
            checkpoint=None,
            options={},
            plugin="m",
        ),
        "dataset": DatasetInfo(
            name="nyud-synth",
            synthetic=True,
            build="png-106x140",
            split="val",
            fingerprint="f",
            n_expected=32,
            n_evaluated=32,
            train_fingerprint=None,
            n_train=None,
        ),
        "protocol_name": "invpt",
        "protocol": {},
        "budget": "quick",
        "input_size": (112, 144),
        "precision": "fp32",
        "seed": seed,
        "metrics": metrics,
        "parameters": Parameters(total=1_500_000, per_part={}),
        "storage": Storage(artifact_bytes=6_000_000, per_file={}),
        "system_id": "s",
        "environment": {},
        "reported": origin() if changes.get("source") == "reported" else None,
    }
    return Record(**(content | changes))
