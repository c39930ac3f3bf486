"""Rows of a comparison: their keys, conditions and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.records import Record
from harness.records.groups import Varied
from harness.report.cells import size
from harness.report.text import printable

Facts = dict[str, Any]

_SERVED = ("runtime", "quantise")
"""Runtime that serves the model; absent where PyTorch does."""

_EXECUTION = ("batch_size", "compile", "cuda_graph", "channels_last", *_SERVED)
"""What ``harness bench`` measures in rows of their own."""

_TRAINING = ("iterations", "extend", "accumulate", "ema", "balance", *_SERVED)
"""What ``harness run`` trains in rows of their own."""


def subject(record: Record) -> Facts:
    """Return what a row is: records of BASE and HEAD with the same are held against each other."""
    config, method = record.config, record.method
    return {
        "dataset": record.dataset.name,
        "method": method.name,
        "backbone": method.backbone,
        "kind": "costs" if record.costs_only else "run",
        "options": method.options,
        "init": method.init,
        "tasks": _tasks(config),
        "precision": record.precision,
        "budget": record.budget,
        "seed": record.seed,
        **{key: config.get(key) for key in (_EXECUTION if record.costs_only else _TRAINING)},
    }


def setting(record: Record) -> Facts:
    """Return what the values of two rows must share to be compared at all."""
    dataset = record.dataset
    return {
        "source": record.source,
        "kind": "costs" if record.costs_only else "run",
        "data set": dataset.name,
        "synthetic": dataset.synthetic,
        "build": dataset.build,
        "split": dataset.split,
        "data fingerprint": dataset.fingerprint,
        "training data": dataset.train_fingerprint,
        "images scored": dataset.n_evaluated,
        **{f"protocol {key}": value for key, value in sorted(record.protocol.items())},
        "tasks": _tasks(record.config),
        "input size": size(record),
        "budget": record.budget,
        "precision": record.precision,
    }


def _tasks(config: Mapping[str, Any]) -> object:
    """Return the tasks that were asked for; a record of other hands may hold anything there."""
    tasks = config.get("task")
    return (sorted(map(str, tasks)) if isinstance(tasks, list | tuple) else tasks) or "all"


def differences(base: Facts, head: Facts) -> list[str]:
    """Return what differs between two sets of facts, each as ``what: BASE's → HEAD's``."""
    keys = dict.fromkeys([*base, *head])
    return [
        printable(f"{key}: {_short(base.get(key))} → {_short(head.get(key))}")
        for key in keys
        if base.get(key) != head.get(key)
    ]


class RowLabels:
    """Names rows by the settings in which those of BASE differ, or those of HEAD.

    Args:
        sides: The records of BASE and those of HEAD.
    """

    def __init__(self, *sides: Sequence[Record]) -> None:
        self._varied = Varied(sides, _details)

    def of(self, record: Record) -> str:
        """Return the label of a row."""
        names = ", ".join(filter(None, [record.dataset.name, record.method.backbone]))
        return printable(" ".join([record.method.name, *self._varied.label(record), f"({names})"]))


def _details(record: Record) -> Facts:
    facts = subject(record)
    main = ("dataset", "method", "backbone", "options")
    return {
        **facts["options"],
        **{key: value for key, value in facts.items() if key not in main},
        "input": setting(record)["input size"],
        "protocol": record.protocol_name,
        "device": record.device,
        "system": record.system_id,
    }


def _short(value: object) -> str:
    """Return a value as text; of a hash, its first digits."""
    text = str(value)
    return f"{text[:12]}…" if len(text) > 40 else text
