"""Rendered snapshots in the layout of PASCAL-Context; nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path

from harness.data.card import load_card
from harness.datasets.pascal_context import PascalContext, padded_square
from harness.datasets.synth.default import Rendered
from harness.datasets.synth.pascal_tree import LONGEST, write_pascal
from harness.errors import UsageError


class PascalSynth(Rendered, PascalContext):
    """People and things in PASCAL-Context's layout, classes and tasks."""

    name = "pascal-synth"
    nominal_input_size = padded_square(LONGEST)
    tasks = load_card("pascal-synth").task_specs()

    def default_size(self, longest: int) -> tuple[int, int]:
        """Return the square that snapshots of any shape fit whose longest side is ``longest``."""
        return longest, longest

    def write(
        self,
        root: Path,
        *,
        seed: int,
        train: int,
        val: int,
        size: tuple[int, int] | None = None,
        clips: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Render snapshots and write them to ``root``; see `SyntheticDataset.write`.

        The pictures vary in shape; none has a side longer than the longer one of ``size``.

        Raises:
            UsageError: clips were asked for, a side exceeds 512, or ``root`` is not empty.
        """
        if clips:
            raise UsageError("pascal-synth has no video; ask nyud-synth for clips")
        longest = max(size) if size else LONGEST
        names = self.card.tasks["semseg"]
        write_pascal(root, names, seed=seed, train=train, val=val, longest=longest, progress=progress)
