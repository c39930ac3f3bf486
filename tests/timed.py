"""Builds records with latencies whose truth is known, and writes results folders."""

from pathlib import Path
from typing import Any

import numpy as np
from records import record

from harness.records import RECORD_NAME, DatasetInfo, Record, write_record
from harness.records.costs import Conditions, Latency, Macs, PairedRatio, Sampling, Spread
from harness.records.load import Stored

QUIET = Conditions(load_average=0.1)
NOTHING = DatasetInfo.without_images("nyud-synth", synthetic=True, images=0)


def macs(executed: float, ideal: float | None = None) -> Macs:
    spread = Spread.of([executed])
    found = None if ideal is None else Spread.of([ideal])
    return Macs(dense=spread, ideal=found, executed=spread, per_part={}, per_task={}, elementwise_outputs=0)


def latency(blocks: np.ndarray, session: str, reference: str | None = None, **changes: Any) -> Latency:
    """Return the latency of blocks of samples in ms, [rounds, calls]."""
    sampling = Sampling(
        warmup=3, clock="perf_counter", session=session, rounds=[blocks.shape[1]] * len(blocks), other_cores=0.0
    )
    paired = reference and PairedRatio(reference=reference, ratio=1.0, low=1.0, high=1.0, rounds=len(blocks))
    facts = {"precision": "fp32", "threads": 1, "batch_size": 1, "before": QUIET, "after": QUIET, **changes}
    return Latency.of(blocks.ravel().tolist(), sampling=sampling, paired=paired or None, **facts)


def noise(
    generator: np.random.Generator, rounds: int, spread: float = 0.03, shift: float = 0.0, tail: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return blocks of two subjects of 1 ms and 2 ms, as a busy machine gives them, [rounds, 5] each.

    Clocks drift and load comes in bursts that last for some rounds, for both alike; single samples have Student's
    heavy tails; and ``shift`` is what holds for one session alone.
    """
    drift = np.cumsum(generator.normal(0, 0.01, rounds))[:, None] + np.linspace(0, 0.2, rounds)[:, None]
    bursts = np.repeat(generator.exponential(0.2, -(-rounds // 5)), 5)[:rounds, None]
    both = drift + bursts
    one, other = (both + spread * np.abs(generator.standard_t(tail, (rounds, 5))) for _ in range(2))
    return np.exp(one + shift), 2 * np.exp(other)


def session(
    seed: int, factor: float = 1.0, rounds: int = 60, shift: float = 0.0, system: str = "s", **changes: Any
) -> list[Record]:
    """Return the costs of a method that takes ``factor`` ms, and of the reference beside it, from one session."""
    ours, reference = noise(np.random.default_rng(seed), rounds, shift=shift)
    costs: dict[str, Any] = {"dataset": NOTHING, "metrics": {}, "budget": None, "system_id": system, "device": "cpu"}
    names = {"single-task": f"nyud-synth/single-task.{system}", "multi-task": f"nyud-synth/multi-task.{system}"}
    times = {"single-task": reference, "multi-task": factor * ours}
    return [
        record(
            name,
            run_id=names[name],
            macs=macs(1e9),
            latency=[latency(times[name], f"session {seed}", names["single-task"], **changes)],
            **costs,
        )
        for name in names
    ]


def write(folder: Path, *records: Record) -> list[Stored]:
    """Write records as a results folder."""
    for one in records:
        write_record(one, folder / one.run_id)
    return [Stored(one, folder / one.run_id / RECORD_NAME) for one in records]
