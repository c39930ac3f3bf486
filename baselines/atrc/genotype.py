"""Kind of context that every task reads of every other (paper, section 3.3)."""

from collections.abc import Mapping, Sequence
from enum import IntEnum

from harness.errors import UsageError


class Kind(IntEnum):
    """Kinds of context under the numbers of the authors' files; 2, attention in a neighbourhood, no network has."""

    NONE = 0
    GLOBAL = 1
    TARGET_LABEL = 3
    SOURCE_LABEL = 4


Genotype = Mapping[str, Mapping[str, Kind]]
"""Target to source to kind, by keys of the tasks in the order of the reference."""

ORDER = ("semseg", "depth", "parts", "saliency", "normals", "boundary")
"""Tasks in the order of the reference, in which contexts are joined."""

_NYUD = {
    "semseg": {"semseg": 3, "depth": 3, "normals": 4, "edge": 4},
    "depth": {"semseg": 4, "depth": 3, "normals": 4, "edge": 4},
    "normals": {"semseg": 4, "depth": 3, "normals": 3, "edge": 4},
    "edge": {"semseg": 3, "depth": 3, "normals": 1, "edge": 3},
}
"""Searched by the authors for HRNet-18 on NYUD-v2."""

_LABELLED = ("semseg", "depth", "human_parts", "sal", "normals", "edge")
"""Tasks with labels that regions can be made of."""


def default_genotype(tasks: Sequence[str]) -> Genotype:
    """Return the genotype of tasks, given their keys in `ORDER`.

    Pairs of NYUD-v2 have what was searched for them there. A task reads itself by its own regions and every other one
    by the other's, which is what most searched pairs do; tasks of plug-ins have no regions.
    """

    def kind(target: str, source: str) -> Kind:
        if source in _NYUD.get(target, {}):
            return Kind(_NYUD[target][source])
        if source not in _LABELLED:
            return Kind.GLOBAL
        return Kind.TARGET_LABEL if source == target else Kind.SOURCE_LABEL

    return {target: {source: kind(target, source) for source in tasks} for target in tasks}


def read_genotype(text: str, tasks: Sequence[str]) -> Genotype:
    """Return the genotype that an option gives: a row of digits per target, separated by commas.

    Raises:
        UsageError: there are more or fewer rows or digits than tasks, or other digits than there are kinds.
    """
    rows, wanted = text.split(","), len(tasks)
    if [len(row) for row in rows] != [wanted] * wanted or not set("".join(rows)) <= set("0134"):
        raise UsageError(
            f"method atrc: genotype {text} must be {wanted} rows of {wanted} digits 0, 1, 3 or 4, separated by commas, "
            f"for {', '.join(tasks)}"
        )
    return {
        target: {source: Kind(int(digit)) for source, digit in zip(tasks, row, strict=True)}
        for target, row in zip(tasks, rows, strict=True)
    }


def labelled_tasks(genotype: Genotype) -> set[str]:
    """Return the tasks whose regions some context is made of."""
    return {
        target if kind is Kind.TARGET_LABEL else source
        for target, row in genotype.items()
        for source, kind in row.items()
        if kind in (Kind.TARGET_LABEL, Kind.SOURCE_LABEL)
    }
