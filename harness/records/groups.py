"""Configurations: the records that are one row of a table, one point of a plot, one row of the site, and their label.

A configuration is a method as it was set up and trained: everything that a user chose but the seed. Seeds of one
configuration are averaged; nothing else ever is.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from harness.records.schema import Record

_OVERRIDES = ("iterations", "limit", "init", "runtime", "quantise", "accumulate", "ema", "balance")
"""Settings of a command that stand over the recipe or the data set; a row always names them."""

_OF_ENCODER = "weights"
"""Setting that follows from the encoder, which has a column of its own: it tells rows on one encoder apart alone."""


@dataclass(frozen=True)
class Group:
    """The records of one configuration.

    Attributes:
        label: Name of the method, with the settings in which it differs from other rows of that name.
        records: One per seed.
        name: Its name in notes: the label, with the backbone where rows on several backbones have that label.
        variant: These settings alone, as ``key=value``.
    """

    label: str
    records: tuple[Record, ...]
    name: str
    variant: tuple[str, ...] = ()

    @property
    def first(self) -> Record:
        """The record that stands for what all of them share."""
        return self.records[0]


def configuration(record: Record) -> object:
    """Return the key that records of one configuration share, whatever their seeds.

    The checkpoint is part of it: two artifacts are two models, even if a seed tells their runs apart. A reported record
    is a configuration by itself.
    """
    method = record.method
    return frozen(
        {
            "method": (method.name, method.plugin, method.source, method.backbone),
            "start": (method.init, method.checkpoint),
            "options": method.options,
            "stages": [(stage.name, stage.iterations) for stage in record.training],
            "training data": record.dataset.train_fingerprint,
            "device": record.device,
            "overrides": overrides(record),
            "run": record.run_id if record.reported else None,
        }
    )


def frozen(value: Any) -> object:
    """Return a JSON-like value as one that can be a key."""
    if isinstance(value, Mapping):
        return tuple((str(key), frozen(value[key])) for key in sorted(value, key=str))
    if isinstance(value, list | tuple):
        return tuple(map(frozen, value))
    return type(value).__name__, value


def groups_of(records: Sequence[Record]) -> list[Group]:
    """Return the configurations of records, in the order of their first records; a record given twice counts once.

    Records of one configuration and one seed differ in something that no setting shows. They are not averaged: each
    is a group of its own then, labelled by the end of its run_id.
    """
    same: dict[object, list[Record]] = defaultdict(list)
    known: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record not in known[record.run_id]:
            known[record.run_id].append(record)
            same[configuration(record)].append(record)
    rows: list[list[Record]] = []
    repeated: set[str] = set()
    for found in same.values():
        if len({record.seed for record in found}) == len(found):
            rows.append(found)
        else:
            rows += [[record] for record in found]
            repeated |= {record.run_id for record in found}
    labels = Labels([row[0] for row in rows], repeated)
    names = [labels.of(row[0]) for row in rows]
    return [
        Group(
            label,
            tuple(row),
            label if names.count(label) == 1 else f"{label} ({row[0].method.backbone})",
            tuple(labels.variant(row[0])),
        )
        for label, row in zip(names, rows, strict=True)
    ]


class Varied:
    """Settings in which the records of one method differ; what is the same in all of them names none.

    Args:
        sides: Records that are shown together; more than one side where each is looked at by itself.
        settings: Gives the settings of a record.
    """

    def __init__(self, sides: Iterable[Sequence[Record]], settings: Callable[[Record], Mapping[str, Any]]) -> None:
        self._settings, self._places = settings, set[tuple[str, str]]()
        for side in sides:
            seen: dict[tuple[str, str, str | None], set[str]] = defaultdict(set)
            for record in side:
                for key, value in settings(record).items():
                    backbone = record.method.backbone if key == _OF_ENCODER else None
                    seen[record.method.name, key, backbone].add(str(value))
            self._places |= {(method, key) for (method, key, _), values in seen.items() if len(values) > 1}

    def label(self, record: Record, given: Mapping[str, Any] = MappingProxyType({})) -> list[str]:
        """Return the settings that name a record, and those that are ``given``, as ``key=value``."""
        return [
            f"{key}={value}"
            for key, value in {**self._settings(record), **given}.items()
            if key in given or (record.method.name, key) in self._places
        ]


class Labels:
    """Names configurations by the settings in which those of one method differ, and by what they override.

    Args:
        firsts: One record of every configuration that is shown together.
        repeated: run_ids of records that differ from another one in nothing that a setting shows.
    """

    def __init__(self, firsts: Sequence[Record], repeated: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self._repeated = repeated
        self._varied = Varied([firsts], _settings)

    def of(self, record: Record) -> str:
        """Return the label of a configuration: the method, and `variant`."""
        return " ".join([record.method.name, *self.variant(record)])

    def variant(self, record: Record) -> list[str]:
        """Return the settings that tell a configuration from others, as ``key=value``."""
        if record.reported:
            return []
        run = {"run": record.run_id.rpartition(".")[2]} if record.run_id in self._repeated else {}
        return self._varied.label(record, overrides(record) | run)


def overrides(record: Record) -> dict[str, Any]:
    """Return what a command put over the recipe: steps, images, start, and options of the method."""
    config = record.config
    found = {key: config[key] for key in _OVERRIDES if config.get(key) is not None}
    if "init" in found:
        found["init"] = _start(record)
    given = config.get("set")
    for key in given if isinstance(given, Mapping) else {}:
        owner, _, option = str(key).rpartition(".")
        if owner in ("", record.method.name) and option in record.method.options:
            found[option] = record.method.options[option]
    return found


def _settings(record: Record) -> dict[str, Any]:
    """Return the settings in which two configurations of one method may differ, beside what they override."""
    settings = record.method.options | {"init": _start(record), "images": record.dataset.n_train}
    if record.method.init == "pretrained" and record.method.checkpoint:
        settings[_OF_ENCODER] = _named(record.method.checkpoint)
    if record.config.get("iterations") is None:
        settings["steps"] = sum(stage.iterations for stage in record.training)
    return settings | {"device": record.device}


def _start(record: Record) -> str:
    """Return the start of the weights; of a file or an artifact its name and the first digits of its digest."""
    method = record.method
    return method.init if method.checkpoint is None or method.init == "pretrained" else _named(method.checkpoint)


def _named(source: str) -> str:
    """Return the name of a file and the first digits of its digest."""
    name, _, digest = source.partition(" sha256:")
    return f"{name}@{digest[:8]}" if digest else name
