"""Schedule of full passes: at the first frame, at scene cuts, periodically, by age, and when the past is void."""

from dataclasses import dataclass, field

from torch import Tensor

from harness.errors import MethodError
from harness.stream.policy import StreamPolicy


@dataclass
class Schedule:
    """Decides for each frame and network whether everything is computed.

    Attributes:
        policy: Of the stream.
        networks: Names, in the order they run in.
        index: Number of the next frame.
        pts: Time of the last frame; None where it had none.
        last_full: Network to the number and the time of its last full pass; networks without one have no state.
    """

    policy: StreamPolicy
    networks: tuple[str, ...]
    index: int = 0
    pts: float | None = None
    last_full: dict[str, tuple[int, float | None]] = field(default_factory=dict)
    _shape: object = None
    _weights: object = None

    def void(self, image: Tensor, pts: float | None, weights: object) -> str | None:
        """Return why the past is of no use for a frame; None where it is.

        Args:
            image: The frame.
            pts: Its time in seconds.
            weights: Any value that changes with the weights of the model.

        Raises:
            MethodError: the stream is strict, and size or weights changed.
        """
        shape = (image.shape, image.dtype, image.device)
        changed = {"resize": self._shape not in (None, shape), "weights": self._weights not in (None, weights)}
        self._shape, self._weights = shape, weights
        for reason, found in changed.items():
            if found and self.policy.strict and self.last_full:
                what = "size, type or place of the frame" if reason == "resize" else "weights of the model"
                raise MethodError(f"the {what} changed at frame {self.index}, which a strict stream refuses")
            if found:
                return reason
        if pts is not None and self.pts is not None and not self.pts < pts <= self.pts + self.policy.max_gap:
            return "seek"
        return None

    def reason(self, network: str, pts: float | None, change: float | None) -> str | None:
        """Return why a network is computed in full on this frame; None where it is not.

        Args:
            network: Its name.
            pts: Time of the frame.
            change: Relative change of the embedding, ||E_t - E_t-1|| / ||E_t||.
        """
        if network not in self.last_full:
            return "first"
        policy, (last, at) = self.policy, self.last_full[network]
        if policy.period is not None:
            # Staggered, network q of T is due at t = floor(q K / T) (mod K).
            place, count = self.networks.index(network), len(self.networks)
            turn = place * policy.period // count if policy.staggered else 0
            return "period" if self.index % policy.period == turn else None
        if policy.keyframes == "adaptive":
            if change is not None and change > policy.cut:
                return "cut"
            if self.index - last >= policy.max_age or (None not in (pts, at) and pts - at >= policy.max_age_s):  # type: ignore[operator]
                return "age"
        return None

    def note(self, network: str, pts: float | None) -> None:
        """Remember a full pass of a network on this frame."""
        self.last_full[network] = (self.index, pts)

    def advance(self, pts: float | None) -> None:
        """Go on to the next frame."""
        self.index += 1
        self.pts = pts

    def forget(self) -> None:
        """Forget all full passes; frames are counted on."""
        self.last_full.clear()
        self.pts = None
