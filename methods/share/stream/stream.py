"""Stream of shared networks: the base first, then sub-tasks against their own past or against the base."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from harness.backbones.vit import ViTEncoder
from harness.errors import UsageError
from harness.methods.share.block import Site
from harness.methods.share.model import SharedNets
from harness.stream.gated import GatedStream, Network
from harness.stream.gates import Active, Gate
from harness.stream.policy import StreamPolicy
from harness.stream.state import BlockState
from harness.stream.vit import Choose, Pass, TemporalViT

_SITES = {"attention": Site.QKV, "mlp": Site.MLP}


class SharedStream(GatedStream):
    """A stream through a base and its sub-tasks.

    Sub-tasks are compared with their own past in every block but the first ``cut_layer``, where they are compared with
    the base of the same frame. Blocks that a sub-task takes over unchanged are neither run nor kept for it: it begins
    with the base's tokens.

    Args:
        model: In evaluation mode.
        policy: How the stream is computed.

    Raises:
        UsageError: settings that exclude each other.
    """

    model: SharedNets

    def __init__(self, model: SharedNets, policy: StreamPolicy) -> None:
        if policy.rows_of == "base" and policy.start != "dense":
            raise UsageError(
                f"stream: rows_of=base and start={policy.start} exclude each other: at the start the base computes "
                f"every token; leave start at dense"
            )
        if policy.cut_layer > model.functional.depth:
            raise UsageError(f"stream: cut_layer={policy.cut_layer}: the encoder has {model.functional.depth} blocks")
        super().__init__(model, shared_networks(model, policy), policy)

    @property
    def base(self) -> Network:
        """The network of the base task."""
        return self.networks[0]

    def rebuild(self) -> None:
        """Read the weights of the base and of all differences again."""
        for network, fresh in zip(self.networks, shared_networks(self.model, self.policy), strict=True):
            network.vit = fresh.vit

    def _needed(self, tasks: Sequence[str]) -> list[Network]:
        """Return the base, which every task needs, and the sub-tasks asked for."""
        return [self.base, *(network for network in self.networks[1:] if network.name in tasks)]

    def _embedded(self, tasks: Sequence[str]) -> list[Network]:
        """Return the base and the sub-tasks that differ in their embedding."""
        needed = self._needed(tasks)
        return [network for network in needed if network is self.base or self._own_embedding(network)]

    def _own_embedding(self, network: Network) -> bool:
        return network is not self.base and self.model.own_part(network.name).embedding

    def _run(self, network: Network, image: Tensor, lead: Tensor, reason: str | None) -> Tensor:
        """Run the base, or a sub-task from where it begins to differ; see `GatedStream._run`."""
        policy, base = self.policy, self.base
        network.done = done = Pass()
        vit, open_loop = network.vit, policy.loop == "open"
        if network is base:
            keep = {sub.vit.blocks.start for sub in self.networks[1:]}
            network.state = network.state or vit.state_for(lead)
            if reason is not None:
                return vit.dense(lead, network.state, done, keep)
            return vit.gated(lead, network.state, self._gate(), done, keep, open_loop=open_loop)
        # 1. Tokens [B, N, D] before its first own block: its own embedding, or the base's tokens of this frame.
        own = self._own_embedding(network)
        x = self._embed(network, image) if own else base.done.entries[vit.blocks.start]
        # Tensors of its own: the base's would be overwritten.
        network.state = network.state or vit.state_for(x, lean=policy.rows_of == "base")
        # 2. Everything: densely, or as the image method does, from the base's inputs and results of this frame.
        if reason is not None:
            borrow = policy.start == "base-always" or (policy.start == "base" and reason in ("first", "cut"))
            if not borrow:
                return vit.dense(x, network.state, done)
            self._take_from_base(network.state, range(vit.depth))
            return vit.gated(x, network.state, self._image_gate(network.name), done)
        # 3. What changed: against the base before the cut layer, against its own past behind it.
        self._take_from_base(network.state, range(policy.cut_layer))
        choose = self._base_rows() if policy.rows_of == "base" else self._gate()
        return vit.gated(x, network.state, choose, done, open_loop=open_loop)

    def _take_from_base(self, state: Mapping[int, BlockState], blocks: range) -> None:
        """Take the base's rows over, with the inputs they were computed from: they stay the honest reference."""
        for index, held in state.items():
            if index in blocks:
                held.take_from(self.base.state[index])

    def _base_rows(self) -> Choose:
        """Return a chooser of the tokens that the base computed on this frame."""
        chosen = self.base.done.active

        def choose(index: int, site: str, change: Tensor) -> Active | None:
            return chosen[index][0 if site == "attention" else 1]

        return choose

    def _image_gate(self, task: str) -> Choose:
        """Return a chooser by the gates of the image method."""
        options, gates = self.model.options, self.model.gates[task]
        policy = StreamPolicy(select=options.policy, dense_above=1.0)

        def choose(index: int, site: str, change: Tensor) -> Active | None:
            threshold = gates[index].thresholds[list(Site).index(_SITES[site])]
            return Gate(policy, gates[index].fraction, threshold, first=False).choose(change, self.schedule.index)

        return choose


def shared_networks(model: SharedNets, policy: StreamPolicy) -> list[Network]:
    """Return the base and the sub-tasks of a model, with merged weights."""
    assert isinstance(model.base, ViTEncoder)  # `SharedNets.open` refuses others
    queries = policy.queries == "all"
    base_task = model.options.base_task
    heads = {base_task: model.heads[base_task]} if base_task in model.heads else {}
    networks = [Network(base_task, TemporalViT(model.base, model.base_weights, queries=queries), heads)]
    for task in model.deltas:
        vit = TemporalViT(model.base, model.weights_of(task), model.own_part(task).blocks, queries)
        networks.append(Network(task, vit, {task: model.heads[task]}))
    return networks
