"""From files on disk to batches: the data set contract, transforms, cache and archives."""

from typing import Literal

Split = Literal["train", "val"]
