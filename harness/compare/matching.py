"""Pairs of a record of HEAD and one of BASE."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.compare.rows import setting, subject
from harness.errors import UsageError
from harness.records.groups import frozen
from harness.records.load import Stored

_Key = Callable[[Stored], object]


@dataclass(frozen=True)
class Matched:
    """Records of BASE and HEAD, sorted out.

    Attributes:
        pairs: Records of one row, BASE's and HEAD's.
        removed: Those of BASE alone.
        added: Those of HEAD alone.
    """

    pairs: list[tuple[Stored, Stored]]
    removed: list[Stored]
    added: list[Stored]


def match(base: Sequence[Stored], head: Sequence[Stored]) -> Matched:
    """Pair the records of one row.

    A folder may hold one row under several protocols, on several machines, or with several checkpoints. So what
    agrees in most is paired first; what is left of a row is paired if there is no doubt which belongs to which.

    Raises:
        UsageError: two records of one folder are of the same row in every respect.
    """
    for name, side in (("BASE", base), ("HEAD", head)):
        _refuse_twins(name, side)
    pairs: list[tuple[Stored, Stored]] = []
    removed, added = list(base), list(head)
    for key in (*_KEYS, _row_by_known_options(base, head)):
        ours, theirs = _grouped(removed, key), _grouped(added, key)
        new = [(ours[k][0], theirs[k][0]) for k in ours if len(ours[k]) == 1 == len(theirs.get(k, ()))]
        pairs += new
        paired = {id(entry) for pair in new for entry in pair}
        removed = [entry for entry in removed if id(entry) not in paired]
        added = [entry for entry in added if id(entry) not in paired]
    return Matched(pairs, removed, added)


def _row(entry: Stored) -> object:
    return frozen(subject(entry.record))


def _comparable(entry: Stored) -> object:
    return _row(entry), frozen(setting(entry.record))


def _on_machine(entry: Stored) -> object:
    return _comparable(entry), entry.record.system_id, entry.record.device


def _of_weights(entry: Stored) -> object:
    return _on_machine(entry), entry.record.method.checkpoint


_KEYS: tuple[_Key, ...] = (_of_weights, _on_machine, _comparable, _row)
"""From all that can agree to what must."""


def _row_by_known_options(base: Sequence[Stored], head: Sequence[Stored]) -> _Key:
    """Return a key of rows without the options that some record of the method lacks.

    An option that a method has gained since would else part all its records from those before it.
    """
    known: dict[str, set[str]] = {}
    for entry in (*base, *head):
        method = entry.record.method
        known[method.name] = known.get(method.name, set(method.options)) & set(method.options)

    def key(entry: Stored) -> object:
        facts, method = subject(entry.record), entry.record.method
        return frozen(facts | {"options": {name: method.options[name] for name in known[method.name]}})

    return key


def _grouped(entries: Sequence[Stored], key: _Key) -> dict[object, list[Stored]]:
    groups: dict[object, list[Stored]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    return groups


def _refuse_twins(name: str, side: Sequence[Stored]) -> None:
    for first, *others in _grouped(side, _of_weights).values():
        if others:
            raise UsageError(f"{name}: {first.path} and {others[0].path} are of the same row; keep one of them")
