"""Rendered rooms in the layout of NYUD-v2; nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path

from harness.data.card import load_card
from harness.datasets.nyud import NYUD, nyud_input_size
from harness.datasets.synth.default import Rendered
from harness.datasets.synth.nyud_tree import SIZE, write_nyud


class NYUDSynth(Rendered, NYUD):
    """Rooms with furniture in NYUD-v2's layout, classes and tasks."""

    name = "nyud-synth"
    nominal_input_size = nyud_input_size(SIZE)
    tasks = load_card("nyud-synth").task_specs()

    def default_size(self, longest: int) -> tuple[int, int]:
        """Return height and width of rooms whose longest side is ``longest``: of NYUD-v2's shape."""
        return round(longest * SIZE[0] / SIZE[1]), longest

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
        """Render rooms and write them to ``root``; see `SyntheticDataset.write`.

        Clips go to ``video/`` in the layout of `harness.datasets.synth.clips`.

        Raises:
            UsageError: ``root`` is not empty.
        """
        names = self.card.tasks["semseg"]
        write_nyud(root, names, seed=seed, train=train, val=val, size=size or SIZE, clips=clips, progress=progress)
