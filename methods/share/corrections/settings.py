"""Static settings of a sub-task: correction or none, and how many tokens go through how many own blocks."""

import math
from dataclasses import dataclass

from harness.errors import UsageError
from harness.methods.share.options import ShareOptions

_DEAREST = 0.75
"""Probability that a training step draws the dearest setting, which is the one most likely kept; the cheaper ones share
the rest, so that each is a network that was trained."""


@dataclass(frozen=True)
class Setting:
    """Parts of a sub-task that run. It is fixed per artifact, so that shapes depend on no image.

    Attributes:
        corrected: Whether the low-rank correction of all tokens runs.
        first_block: First of the sub-task's own blocks that runs; None for none of them.
        fraction: Fraction of the patch tokens that go through these blocks; 1 sends all of them, with keys and values
            of their own.
    """

    corrected: bool
    first_block: int | None = None
    fraction: float = 0.0

    @property
    def title(self) -> str:
        """The setting in a few words, for tables and pictures."""
        parts = ["correction"] if self.corrected else []
        if self.first_block is not None:
            parts.append(f"{self.fraction:.3g} of the tokens from block {self.first_block}")
        return ", ".join(parts) or "head alone"

    def tokens(self, patches: int) -> int:
        """Return the number of active tokens of ``patches``, rounded up."""
        # 0.3 * 10 is 3.0000000000000004 in floating point and must not become 4.
        return min(patches, math.ceil(self.fraction * patches - 1e-9))


@dataclass(frozen=True)
class Step:
    """Cost and loss of a setting, as calibration found them.

    Attributes:
        setting: The setting.
        macs: Multiply-accumulates of the sub-task per image, without its head.
        loss: Points of relative accuracy that it lost against the dearest setting on held-out training images; None
            where the accuracy has no value.
    """

    setting: Setting
    macs: int
    loss: float | None


def settings_of(options: ShareOptions, task: str, depth: int) -> tuple[Setting, ...]:
    """Return the settings that a sub-task is trained for, from cheap to dear.

    They are: its head alone, which reads the base's map and the detail where it has one; the correction; half of its
    active tokens through its last block; all of them; and all of them through all of its own blocks.

    Args:
        options: Options of the method.
        task: The sub-task.
        depth: Blocks of the encoder.

    Raises:
        UsageError: the encoder has fewer blocks than ``first_block``.
    """
    corrected = options.rank != 0
    # Each setting adds to the one before, so that costs rise along the ladder.
    ladder = [Setting(False)] if corrected else []
    ladder.append(Setting(corrected))
    first = first_block_of(options, task)
    if first is None or options.rows == 0:
        return tuple(ladder)
    if first >= depth:
        raise UsageError(f"--set first_block={first}: the encoder has blocks 0 to {depth - 1}")
    if options.rows < 1:  # all tokens have keys and values of their own: another network, not a part of this one
        ladder.append(Setting(corrected, depth - 1, options.rows / 2))
        ladder.append(Setting(corrected, depth - 1, options.rows))
    if first < depth - 1 or options.rows == 1:
        ladder.append(Setting(corrected, first, options.rows))
    return tuple(ladder)


def first_block_of(options: ShareOptions, task: str) -> int | None:
    """Return the first block of which a sub-task has its own copy; None where it has none."""
    first = options.first_block
    return first.get(task) if isinstance(first, dict) else first


def drawn(settings: tuple[Setting, ...], uniform: float) -> Setting:
    """Return the setting of one training step.

    Args:
        settings: From cheap to dear.
        uniform: Draw between 0 and 1.
    """
    cheaper = settings[:-1]
    if not cheaper or uniform < _DEAREST:
        return settings[-1]
    # The rest of the interval in equal parts
    return cheaper[min(int((uniform - _DEAREST) / (1 - _DEAREST) * len(cheaper)), len(cheaper) - 1)]
