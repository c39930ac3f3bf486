"""Rendered clips of furnished rooms with NYUD-v2's classes and tasks on every frame; nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.card import Card, load_card
from harness.data.clips import ClipFolder, VideoDataset
from harness.data.dataset import Split
from harness.datasets.nyud import nyud_input_size
from harness.datasets.synth.default import Plan, Rendered
from harness.datasets.synth.motion import KINDS, MORE_KINDS
from harness.datasets.synth.nyud_tree import SIZE
from harness.datasets.synth.video import FRAMES, film, write_clips


class NYUDSynthVideo(Rendered, VideoDataset):
    """Clips of eight kinds of motion, three rooms each for validation, labelled on every frame, with exact motion."""

    name = "nyud-synth-video"
    nominal_input_size = nyud_input_size(SIZE)
    tasks = load_card("nyud-synth-video").task_specs()
    plan = Plan(train=24, val=3)
    kinds = (*KINDS, *MORE_KINDS)

    def rendered(self, plan: Plan) -> int:
        """Return the clips of a plan: every kind of motion in each room of validation."""
        return plan.train + plan.val * len(KINDS)

    def default_size(self, longest: int) -> tuple[int, int]:
        """Return height and width of frames whose longest side is ``longest``: of NYUD-v2's shape."""
        return round(longest * SIZE[0] / SIZE[1]), longest

    @property
    def card(self) -> Card:
        """Classes, terms and layout."""
        return load_card(self.name)

    def clips(self, root: Path, split: Split) -> ClipFolder:
        """Return the clips of a split."""
        return ClipFolder(root, split)

    def render_clip(self, kind: str, room: int, frames: int | None) -> list[NDArray[np.uint8]]:
        """Return the frames of a clip: one of `kinds`, in a room that is in neither split."""
        return [frame.image for frame in film(kind, 30_000 + room, frames=frames or FRAMES).frames]

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
        """Render clips: ``train`` of them, and every kind of motion in ``val`` rooms; see `SyntheticDataset.write`.

        Raises:
            UsageError: ``root`` is not empty.
        """
        names = self.card.tasks["semseg"]
        write_clips(root, names, seed=seed, train=train, rooms=val, size=size or SIZE, progress=progress)
