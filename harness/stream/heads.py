"""Gated ConvNeXt head: the projection of tokens and the pointwise MLPs of cells, computed where they changed."""

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional as F

from harness.heads.convnext import ConvNeXtBlock, ConvNeXtHead, unfold_tokens
from harness.stream.gates import Gate, mean_square_change
from harness.stream.state import HeadState, allocate_like


class GatedHead:
    """A head whose three large products are gated like the MLP of a block.

    The 7 x 7 depthwise convolutions, the norms and the last 1 x 1 convolution stay dense, so that no halo is needed:
    a gate sees what a cell's surroundings did to it.

    Args:
        head: A head of the sharing method.
        gate: Chooses rows.

    Attributes:
        state: Rows of the last frame; None before the first.
        macs: MACs of the last frame, by formula.
        active: Mean fraction of active rows of its gates.
    """

    def __init__(self, head: ConvNeXtHead, gate: Gate) -> None:
        self.head, self.gate = head, gate
        self.state: HeadState | None = None
        self.macs, self.active = 0, 1.0

    def __call__(self, features: Tensor, time: int, *, full: bool) -> Tensor:
        """Predict.

        Args:
            features: Normed map of the encoder, [B, D, h, w].
            time: Number of the frame.
            full: Compute every row.

        Returns:
            Raw map [B, C, H, W].
        """
        head = self.head
        rows = features.flatten(2).transpose(1, 2).contiguous()  # [B, h w, D]
        full = full or self.state is None
        if self.state is None:
            self.state = self._allocate(rows)
        state = self.state
        fractions: list[float] = []
        self.macs = 0
        # 1. Projection of tokens to E channels.
        active = self._update(rows, state.features, state.projected, head.project, rows.shape[2], time, full)
        fractions.append(active)
        if not active and self._nothing_is_due:
            self.active = 0.0
            assert state.prediction is not None
            return self._enlarged(state.prediction)  # every gate behind would see what it saw before
        x = unfold_tokens(state.projected.view(len(rows), *features.shape[-2:], -1), head.cells)  # [B, n h, n w, C]
        # 2. ConvNeXt blocks: x + W2 gelu(W1 norm(spatial(x))), the pointwise half for active cells.
        for block, inputs, outputs in zip(head.blocks, state.inputs, state.outputs, strict=True):
            assert isinstance(block, ConvNeXtBlock)
            spatial = block.spatial(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            y = block.norm(spatial).flatten(1, 2)  # [B, cells, C]
            self.macs += y.numel() * block.spatial.kernel_size[0] ** 2
            # C x 4 C x 2 products per cell
            active = self._update(y, inputs, outputs, partial(_pointwise, block), 8 * y.shape[2], time, full)
            fractions.append(active)
            x = x + outputs.view_as(x)
        # 3. The dense 1 x 1 convolution.
        prediction = head.predict(x.permute(0, 3, 1, 2))
        self.macs += prediction.numel() * x.shape[-1]
        # In the memory format of the prediction: enlarged from another one it would differ in the last bit.
        state.prediction = prediction.clone() if state.prediction is None else state.prediction.copy_(prediction)
        self.active = sum(fractions) / len(fractions)
        return self._enlarged(prediction)

    @property
    def _nothing_is_due(self) -> bool:
        """Whether rows that rest are near their references; rows that were cut off by a number are not."""
        return self.gate.policy.select == "threshold" and self.gate.policy.roll is None

    def _update(
        self,
        rows: Tensor,
        reference: Tensor,
        results: Tensor,
        compute: Callable[[Tensor], Tensor],
        per_output: int,
        time: int,
        full: bool,
    ) -> float:
        """Compute the active rows [B, N, C], write them, count ``per_output`` MACs for each; return their fraction."""
        active = None if full else self.gate.choose(mean_square_change(rows, reference), time)
        count = rows.shape[1] if active is None else active.count
        self.macs += len(rows) * count * results.shape[2] * per_output
        if active is None:
            reference.copy_(rows)
            results.copy_(compute(rows))
        elif count:
            taken = active.take(rows)
            active.put(taken, reference)
            active.put(compute(taken), results)
        return count / rows.shape[1]

    def _allocate(self, rows: Tensor) -> HeadState:
        """Return an unwritten state for tokens [B, N, D]."""
        head, (_, tokens, width) = self.head, rows.shape
        channels = head.project.out_features // head.cells**2
        cells = tokens * head.cells**2
        return HeadState(
            features=allocate_like(rows, width, tokens),
            projected=allocate_like(rows, head.project.out_features, tokens),
            inputs=[allocate_like(rows, channels, cells) for _ in head.blocks],
            outputs=[allocate_like(rows, channels, cells) for _ in head.blocks],
            prediction=None,
        )

    def _enlarged(self, prediction: Tensor) -> Tensor:
        return F.interpolate(prediction, size=self.head.output_size, mode="bilinear", align_corners=False)


def _pointwise(block: ConvNeXtBlock, rows: Tensor) -> Tensor:
    reduced: Tensor = block.reduce(F.gelu(block.expand(rows)))
    return reduced


def head_state_bytes(head: ConvNeXtHead, tokens: int, element: int = 4) -> int:
    """Return the bytes of a gated head's state for one image.

    D + 5 E per token for the gates, and the last prediction before it is enlarged.
    """
    wide = head.project.in_features + (1 + 2 * len(head.blocks)) * head.project.out_features
    return tokens * element * (wide + head.cells**2 * head.predict.out_channels)
