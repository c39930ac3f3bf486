"""Mixtures of low-rank experts, in the form that is trained and, for inference, as one convolution a task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.baselines.common.tasks import task_of
from harness.baselines.mlore.routing import Router
from harness.counting import attributed_to


class LowRank(nn.Module):
    """Weights of a 3 x 3 convolution to few channels and a 1 x 1 convolution back, linear together.

    Args:
        channels: Channels F of the map.
        rank: Channels in between.
    """

    def __init__(self, channels: int, rank: int) -> None:
        super().__init__()
        self.W = nn.Conv2d(channels, rank, 3, padding=1)
        self.M = nn.Conv2d(rank, channels, 1)

    def forward(self, map_: Tensor) -> Tensor:
        """Map [B, F, h, w] to the same shape."""
        mapped: Tensor = self.M(self.W(map_))
        return mapped

    def merged(self) -> tuple[Tensor, Tensor]:
        """Return the one 3 x 3 convolution that both make: its kernel [F, F, 3, 3] and its bias [F]."""
        back = self.M.weight[:, :, 0, 0]  # [F, r]
        assert self.W.bias is not None
        assert self.M.bias is not None
        kernel = back @ self.W.weight.flatten(1)
        return kernel.view(len(kernel), *self.W.weight.shape[1:]), back @ self.W.bias + self.M.bias


@dataclass(frozen=True)
class Widths:
    """Shape of a mixture, by the names of the published configurations.

    Attributes:
        final_embed_dim: Channels F.
        rank_list: Ranks of the experts.
        spe_rank: Rank of a task's own convolution.
        topk: Experts that are active for an image and a task.
        pre_softmax: Whether the softmax is over the active experts alone.
    """

    final_embed_dim: int
    rank_list: tuple[int, ...]
    spe_rank: int
    topk: int
    pre_softmax: bool


@dataclass(frozen=True)
class Merged:
    """Convolutions of a mixture as single kernels, for as long as its weights stay as they are.

    Attributes:
        version: State of the weights that they were made of.
        kernels: Of the experts, then of what all images share, [E + 1, F F 9].
        biases: Likewise, [E + 1, F].
        own: Kernel [F F 9] and bias [F] of every task's own convolution.
    """

    version: tuple[tuple[int, int], ...]
    kernels: Tensor
    biases: Tensor
    own: Mapping[str, tuple[Tensor, Tensor]]


_eagerly: Callable[[Callable[..., Merged]], Callable[..., Merged]] = torch.compiler.disable
"""Keeps kernels that outlive a pass out of compiled code, whose CUDA graphs would write over them."""


class Mixture(nn.Module):
    """Maps of tasks through experts that they share, a convolution of their own and one for all (section 3).

    Args:
        keys: The tasks by the reference's names, in its order.
        widths: The shape.
        patches: Cells of a map.

    Attributes:
        routes: Weights of the experts in the last forward pass of training, [T, B, E].
    """

    def __init__(self, keys: Sequence[str], widths: Widths, patches: int) -> None:
        super().__init__()
        self.widths = widths
        f, ranks = widths.final_embed_dim, widths.rank_list
        self.lora_list_1 = nn.ModuleList(LowRank(f, rank) for rank in ranks)
        for expert in self.lora_list_1:
            for layer in expert.children():
                assert isinstance(layer, nn.Conv2d)
                assert layer.bias is not None
                nn.init.kaiming_uniform_(layer.weight, a=sqrt(5))
                nn.init.zeros_(layer.bias)
        self.share_conv = nn.Conv2d(f, f, 3, padding=1)
        self.conv1 = nn.ModuleDict({key: nn.Conv2d(f, f, 1) for key in keys})
        self.conv2 = nn.ModuleDict({key: LowRank(f, widths.spe_rank) for key in keys})
        self.conv3 = nn.ModuleDict({key: nn.Conv2d(f, f, 1) for key in keys})
        self.bn = nn.ModuleDict({key: nn.BatchNorm2d(f) for key in keys})
        self.bn_all = nn.ModuleDict({key: nn.BatchNorm2d(f) for key in keys})
        self.router_1 = nn.ModuleDict({key: Router(f, patches, len(ranks)) for key in keys})
        self.activation = nn.GELU()
        self.routes: Tensor | None = None
        self._merged: Merged | None = None

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map the maps of some tasks, [B, F, h, w], to the same shape.

        With gradients or in training the experts run as they are; else each task's convolutions run as one, whose
        kernel is the sum of theirs, weighted for the image.
        """
        entered = {key: self.conv1[key](map_) for key, map_ in maps.items()}
        topk, early = self.widths.topk, self.widths.pre_softmax
        routes = {key: self.router_1[key](map_, topk, early) for key, map_ in entered.items()}
        if self.training or torch.is_grad_enabled():
            mixed = self._trained(entered, routes)
        else:
            mixed = {key: self._merged_for(key, map_, *routes[key]) for key, map_ in entered.items()}
        return {key: self.conv3[key](self.activation(self.bn[key](map_))) for key, map_ in mixed.items()}

    def _trained(self, entered: Mapping[str, Tensor], routes: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Run the experts side by side: all first convolutions as one, weighted, and all second ones as one."""
        stacked = torch.cat(list(entered.values()))  # [T B, F, h, w]: experts are the same for all tasks
        weights = torch.cat([weights for weights, _ in routes.values()])  # [T B, E]
        self.routes = weights.view(len(entered), -1, weights.shape[1]) if self.training else None
        experts = [expert for expert in self.lora_list_1 if isinstance(expert, LowRank)]
        kernels, inner, back, biases = (
            [expert.W.weight for expert in experts],
            [_bias(expert.W) for expert in experts],
            [expert.M.weight for expert in experts],
            torch.stack([_bias(expert.M) for expert in experts]),
        )
        # [T B, sum of ranks, 1, 1]: the weight of an expert for each of its channels
        gates = torch.cat(
            [weights[:, number, None].expand(-1, rank) for number, rank in enumerate(self.widths.rank_list)], dim=1
        )[..., None, None]
        # sum_i r_i (M_i (W_i o + b_i) + c_i) = [M_1 ... M_E] (r * ([W_1; ...; W_E] o + b)) + sum_i r_i c_i
        hidden = F.conv2d(stacked, torch.cat(kernels), torch.cat(inner), padding=1) * gates
        summed = F.conv2d(hidden, torch.cat(back, dim=1)) + (weights @ biases)[..., None, None]
        shared = self.share_conv(stacked.detach())  # it does not train what comes before
        mixed = {}
        apart = (len(entered), -1)
        parts = zip(entered, torch.unflatten(summed, 0, apart), torch.unflatten(shared, 0, apart), strict=True)
        for key, of_experts, of_all in parts:
            mix = routes[key][1][..., None, None]
            mixed[key] = self.bn_all[key](of_experts) + mix * self.conv2[key](entered[key]) + of_all
        return mixed

    def _merged_for(self, key: str, map_: Tensor, weights: Tensor, mix: Tensor) -> Tensor:
        """Run all convolutions of a task as one by image: batch norm s y + t of the experts' sum is part of it."""
        merged = self.merge()
        norm = self.bn_all[key]
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        own_kernel, own_bias = merged.own[key]
        b, f, h, w = map_.shape
        with attributed_to(f"mixture/{task_of(key)}"):
            # kernel = s sum_i r_i K_i + K_shared + mix K_own, and the bias likewise
            kernels = (weights @ merged.kernels[:-1]).view(b, f, -1) * scale[:, None]
            kernels = kernels + (merged.kernels[-1] + mix * own_kernel).view(b, f, -1)
            biases = (weights @ merged.biases[:-1]) * scale + shift + merged.biases[-1] + mix * own_bias
            # Every image with its kernel: groups of one convolution
            convolved = F.conv2d(
                map_.reshape(1, b * f, h, w), kernels.reshape(b * f, f, 3, 3), biases.flatten(), padding=1, groups=b
            )
        return convolved.view(b, f, h, w)

    @_eagerly
    def merge(self) -> Merged:
        """Return the convolutions as single kernels, made again only if their weights have changed since."""
        layers = [self.lora_list_1, self.share_conv, self.conv2]
        weights = [weight for layer in layers for weight in layer.parameters()]
        # Where they lie and how often they were written to; weights made in inference mode do not count that
        version = tuple((weight.data_ptr(), -1 if weight.is_inference() else weight._version) for weight in weights)
        if self._merged is None or self._merged.version != version:
            with torch.no_grad():
                pairs = [expert.merged() for expert in self.lora_list_1 if isinstance(expert, LowRank)]
                pairs.append((self.share_conv.weight, _bias(self.share_conv)))
                kernels, biases = (torch.stack(each) for each in zip(*pairs, strict=True))
                own = {key: pair.merged() for key, pair in self.conv2.items() if isinstance(pair, LowRank)}
                flat = {key: (kernel.flatten(), bias) for key, (kernel, bias) in own.items()}
                self._merged = Merged(version, kernels.flatten(1), biases, flat)
        return self._merged


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
