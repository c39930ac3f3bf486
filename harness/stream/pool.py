"""Pool of streams: one state per camera through one model, within a budget of memory."""

from collections.abc import Sequence

from torch import Tensor

from harness.errors import UsageError
from harness.model import MultiTaskModel
from harness.stream.contract import Frame, Stream, open_stream
from harness.stream.policy import StreamPolicy


class StreamPool:
    """Streams by name; each is opened at its first frame.

    Args:
        model: Shared by all streams, and only read.
        policy: Of every stream.
        budget: Most bytes that all streams together may carry; None for no limit.
    """

    def __init__(self, model: MultiTaskModel, policy: StreamPolicy, budget: int | None = None) -> None:
        self.model, self.policy, self.budget = model, policy, budget
        self.streams: dict[str, Stream] = {}

    @property
    def state_bytes(self) -> int:
        """Bytes that all streams carry."""
        return sum(stream.state_bytes for stream in self.streams.values())

    def step(self, name: str, image: Tensor, pts: float | None = None, tasks: Sequence[str] | None = None) -> Frame:
        """Predict one frame of one stream; see `Stream.step`.

        Raises:
            UsageError: a new stream would carry more than the budget allows.
        """
        if name not in self.streams:
            # Streams of one model and size carry the same, whatever they show.
            carried = max((stream.state_bytes for stream in self.streams.values()), default=0)
            self._check(name, self.state_bytes + carried)
            self.streams[name] = open_stream(self.model, self.policy)
        frame = self.streams[name].step(image, pts, tasks)
        try:
            self._check(name, self.state_bytes)  # the first stream of all was not foreseen
        except UsageError:
            self.close(name)
            raise
        return frame

    def close(self, name: str) -> None:
        """Close a stream and free its state; one that is not open stays so."""
        self.streams.pop(name, None)

    def _check(self, name: str, carried: int) -> None:
        if self.budget is not None and carried > self.budget:
            count = len({*self.streams, name})
            raise UsageError(
                f"stream {name}: {count} streams carry {carried / 1e6:.1f} MB, the budget is "
                f"{self.budget / 1e6:.1f} MB; close one, or give a larger --state-budget"
            )
