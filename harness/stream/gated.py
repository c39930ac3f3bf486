"""Gated stream: networks whose blocks and heads compute what changed since it was last computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from harness.backbones.vit import ViTEncoder
from harness.counting import attributed_to, count_macs
from harness.heads.convnext import ConvNeXtHead
from harness.model import MultiTaskModel
from harness.stream.contract import Frame, FrameReport, Laps, Stream, check_image, no_gates
from harness.stream.gates import Active, Gate
from harness.stream.heads import GatedHead
from harness.stream.policy import StreamPolicy
from harness.stream.schedule import Schedule
from harness.stream.state import BlockState, total_bytes
from harness.stream.vit import Pass, TemporalViT


@dataclass(eq=False)
class Network:
    """One encoder of a model, the heads that read it, and what is carried for both.

    Attributes:
        name: Of a task, or of the encoder where several tasks share it.
        vit: The encoder over time.
        heads: Task to its head.
        gated_heads: The same, those of them that can be gated.
        state: Block to its state; empty before the first frame.
        done: The last pass.
    """

    name: str
    vit: TemporalViT
    heads: Mapping[str, nn.Module]
    gated_heads: dict[str, GatedHead] = field(default_factory=dict)
    state: dict[int, BlockState] = field(default_factory=dict)
    done: Pass = field(default_factory=Pass)

    def forget(self) -> None:
        """Drop what is carried."""
        self.state = {}
        for head in self.gated_heads.values():
            head.state = None


class GatedStream(Stream):
    """A stream through independent networks, each gated against its own past.

    Args:
        model: In evaluation mode.
        networks: Its networks; the first one's embedding tells scene cuts.
        policy: How the stream is computed.

    Attributes:
        features: Network to the map [B, D, h, w] that heads read on the last frame.
    """

    def __init__(self, model: MultiTaskModel, networks: Sequence[Network], policy: StreamPolicy) -> None:
        self.model, self.networks, self.policy = model, list(networks), policy
        self.schedule = Schedule(policy, tuple(network.name for network in networks))
        self._embedding: Tensor | None = None
        self.features: dict[str, Tensor] = {}
        for network in networks:
            for task, head in network.heads.items():
                if isinstance(head, ConvNeXtHead) and policy.heads != "dense":
                    gate = Gate(policy, policy.head_rows, policy.head_threshold, first=False)
                    network.gated_heads[task] = GatedHead(head, gate)
        self._dense_macs = self._count_dense()

    # The contract

    def step(self, image: Tensor, pts: float | None = None, tasks: Sequence[str] | None = None) -> Frame:
        """Predict one frame; see `Stream.step`."""
        with torch.inference_mode():
            return self.advance(image, pts, tasks)

    def advance(self, image: Tensor, pts: float | None = None, tasks: Sequence[str] | None = None) -> Frame:
        """Predict one frame in the gradient mode that is in force: training runs through the gates, too."""
        check_image(image, self.model.problem.input_size)
        wanted = tuple(tasks or self.model.problem.names)
        laps = Laps()
        # 1. Is the past of any use?
        void = self.schedule.void(image, pts, self._weights())
        if void is not None:
            self._forget(rebuild=void == "weights")
        # 2. The embedding of the first network, and how far it moved.
        with laps.lap("embed"):
            tokens = self._embed(self.networks[0], image)
            change = self._change(tokens)
        kinds: dict[str, str] = {}
        predictions: dict[str, Tensor] = {}
        macs: dict[str, int] = {}
        broken = change is not None and not change < torch.inf
        # 3. Networks that some wanted task reads, then their heads.
        for network in self._needed(wanted):
            reason = (void if network.name not in self.schedule.last_full else None) or self.schedule.reason(
                network.name, pts, change
            )
            with laps.lap(f"blocks/{network.name}"), attributed_to(f"blocks/{network.name}"):
                x = self._run(network, image, tokens, reason)
                if reason is None and not bool(x.isfinite().all()):  # of a state that went wrong: once more, in full
                    reason = "nan"
                    x = self._run(network, image, tokens, reason)
                features = self.features[network.name] = network.vit.features(x)
            if reason is not None:
                self.schedule.note(network.name, pts)
                kinds[network.name] = reason
            broken = broken or (reason is not None and not bool(x.isfinite().all()))
            macs[f"blocks/{network.name}"] = network.vit.macs(network.done, len(image), tokens.shape[1])
            for task in network.heads:
                if task in wanted:
                    predictions[task] = self._decode(network, task, features, reason is not None, laps, macs)
        parts = [f"embed/{network.name}" for network in self._embedded(wanted)]
        macs |= {part: self._dense_macs[part] * len(image) for part in parts}
        # 4. The account; a frame that is not finite leaves no past.
        kind = f"full:{'nan' if broken else next(iter(kinds.values()))}" if kinds or broken else "partial"
        report = FrameReport(
            index=self.schedule.index,
            pts=pts,
            kind=kind,
            change=change,
            active={n.name: n.done.fractions(tokens.shape[1]) for n in self._needed(wanted)},
            macs=macs,
            ms=laps.ms,
            tokens=self._map(self.networks[0], len(image)),
        )
        self.schedule.advance(pts)
        if broken:
            self._forget()
        return Frame({task: predictions[task] for task in wanted}, report)

    def reset(self) -> None:
        """Forget the past: the next frame is computed in full, and is the first one."""
        self._forget()
        self.schedule.index = 0

    @property
    def state_bytes(self) -> int:
        """Bytes of the states of all blocks and gated heads, and of the last embedding."""
        held = [] if self._embedding is None else [self._embedding]
        for network in self.networks:
            for block in network.state.values():
                held += block.tensors()
            for head in network.gated_heads.values():
                held += head.state.tensors() if head.state is not None else ()
        return total_bytes(iter(held))

    # Steps of a frame, which a stream of related networks replaces

    def _needed(self, tasks: Sequence[str]) -> list[Network]:
        """Return the networks that some of ``tasks`` read, in the order they run in."""
        return [network for network in self.networks if not network.heads.keys().isdisjoint(tasks)]

    def _run(self, network: Network, image: Tensor, lead: Tensor, reason: str | None) -> Tensor:
        """Run the blocks of a network; return its last tokens [B, N, D].

        Args:
            network: The network.
            image: The frame.
            lead: Embedding of the first network.
            reason: Why everything is computed; None where only active tokens are.
        """
        tokens = lead if network is self.networks[0] else self._embed(network, image)
        network.done = Pass()
        if reason is not None:
            network.state = network.state or network.vit.state_for(tokens)
            return network.vit.dense(tokens, network.state, network.done)
        open_loop = self.policy.loop == "open"
        return network.vit.gated(tokens, network.state, self._gate(), network.done, open_loop=open_loop)

    def _gate(self) -> "_Chooser":
        """Return the chooser of one frame."""
        return _Chooser(Gate(self.policy, self.policy.rows, self.policy.threshold, first=True), self.schedule.index)

    def _forget(self, rebuild: bool = False) -> None:
        self.schedule.forget()
        self._embedding = None
        for network in self.networks:
            network.forget()
        if rebuild:
            self.rebuild()

    def rebuild(self) -> None:
        """Read the weights of the model again, after they changed."""
        for network in self.networks:
            vit = network.vit
            network.vit = TemporalViT(vit.encoder, vit.weights, vit.blocks, vit.all_queries)

    # Parts of a step

    def _embed(self, network: Network, image: Tensor) -> Tensor:
        with attributed_to(f"embed/{network.name}"):
            return network.vit.embed(image)

    def _change(self, tokens: Tensor) -> float | None:
        """Return the relative change of the embedding since the last frame, and keep the embedding."""
        held, change = self._embedding, None
        with torch.no_grad():
            if held is None:
                self._embedding = tokens.detach().clone()
                # NaN poisons the norm: one number says whether the frame is finite.
                return None if bool(tokens.isfinite().all()) else float("nan")
            change = float((tokens - held).norm() / tokens.norm())
            held.copy_(tokens)
        return change

    def _decode(
        self, network: Network, task: str, features: Tensor, full: bool, laps: Laps, macs: dict[str, int]
    ) -> Tensor:
        """Run a head, densely or gated."""
        part, policy = f"head/{task}", self.policy
        gated = network.gated_heads.get(task)
        with laps.lap(part), attributed_to(part):
            if gated is not None and policy.heads == "auto" and not full:
                last = network.done.active.get(network.vit.depth - 1, [None, None])[1]
                few = last is not None and last.count < policy.head_below * (features[0, 0].numel() + 1)
                full = not few
            if gated is not None:
                prediction = gated(features, self.schedule.index, full=full)
                macs[part] = gated.macs
                return prediction
            macs[part] = self._dense_macs[part] * len(features)
            decoded: Tensor = network.heads[task](features)
            return decoded

    def _count_dense(self) -> dict[str, int]:
        """Count the MACs of the parts that every frame runs densely: embeddings, and heads without gates."""
        found = {}
        with torch.inference_mode():
            for network in self.networks:
                vit = network.vit
                like = vit.weights["cls_token"]
                image = like.new_zeros((1, 3, *self.model.problem.input_size))
                found[f"embed/{network.name}"] = count_macs(partial(vit.embed, image)).macs
                features = like.new_zeros((1, vit.width, *vit.grid))
                for task in network.heads.keys() - network.gated_heads.keys():
                    found[f"head/{task}"] = count_macs(partial(network.heads[task], features)).macs
        return found

    def _embedded(self, tasks: Sequence[str]) -> list[Network]:
        """Return the networks whose embeddings are computed for some tasks; the first one's always is."""
        return list(dict.fromkeys([self.networks[0], *self._needed(tasks)]))

    def _map(self, network: Network, batch: int) -> Tensor | None:
        """Return the active tokens of the first sample in the first block as a map [h, w]; None where all are."""
        first = network.done.active.get(network.vit.blocks.start, [None])[0] if network.done.active else None
        if first is None:
            return None
        height, width = network.vit.grid
        flat = torch.zeros(1 + height * width, dtype=torch.bool, device=first.index.device)
        flat[first.index[first.index < len(flat)]] = True
        return flat[1:].view(height, width)

    def _weights(self) -> object:
        """Return a value that changes with the weights of the model and with its mode."""
        held = (*self.model.parameters(), *self.model.buffers())
        return self.model.training, tuple((id(tensor), _version(tensor)) for tensor in held)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # inference tensors count no changes


@dataclass
class _Chooser:
    """The gate of all blocks of one frame."""

    gate: Gate
    time: int

    def __call__(self, index: int, site: str, change: Tensor) -> Active | None:
        return self.gate.choose(change, self.time)


def gate_networks(
    model: MultiTaskModel, encoders: Mapping[str, tuple[nn.Module, Mapping[str, nn.Module]]], policy: StreamPolicy
) -> Stream:
    """Return a gated stream through the encoders of a model, each with its heads.

    Args:
        model: In evaluation mode.
        encoders: Name to a plain ViT encoder and its heads by task.
        policy: Of the stream.

    Raises:
        UsageError: an encoder is no plain ViT.
    """
    networks = []
    for name, (encoder, heads) in encoders.items():
        if not isinstance(encoder, ViTEncoder):
            raise no_gates(f"{type(model).__name__} on {type(encoder).__name__}")
        vit = TemporalViT(encoder, dict(encoder.vit.named_parameters()), queries=policy.queries == "all")
        networks.append(Network(name, vit, heads))
    return GatedStream(model, networks, policy)
