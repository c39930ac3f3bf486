"""Encoder weights from files and from the hub: read, put under the encoder's keys, and checked key by key.

Published files hold more than an encoder (classifiers, decoders, optimisers). What a family of encoders leaves out is
listed by that family and reported; anything else that is missing, left over or of another shape is refused.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import timm
import torch
from torch import nn

from harness.errors import MethodError, UsageError
from harness.weights import WeightFile, load_exactly
from harness.weights.state import Adapted, State, read_state


def load_weights(
    module: nn.Module,
    weights: Literal["pretrained"] | WeightFile,
    adapt: Callable[[State], Adapted],
    backbone: str,
    published: str | None,
) -> tuple[str, ...]:
    """Load starting weights into ``module``.

    Args:
        module: The network of an encoder.
        weights: Where to take them from.
        adapt: Puts a file's weights under the keys of ``module``.
        backbone: Name of the encoder, for messages.
        published: timm name of its published weights; None where there are none.

    Returns:
        What a reader of the figures should know of a file: what of it was ignored, what it lacked.

    Raises:
        UsageError: there are no published weights, or the file is unreadable or does not fit.
        MethodError: the published weights could not be fetched.
    """
    if not isinstance(weights, WeightFile):
        load_exactly(module, adapt(_fetch(backbone, published)).state, str(published), backbone)
        return ()
    found = read_state(weights.path)
    adapted = adapt(found.state)
    load_exactly(module, adapted.state, f"weights {weights.path}", backbone)
    return tuple(f"weights {weights.path.name}: {note}" for note in (*found.notes, *adapted.notes))


def leave_out(state: State, prefixes: tuple[str, ...]) -> Adapted:
    """Split off the entries whose keys start with one of ``prefixes``, and say so."""
    ignored = [key for key in state if key.startswith(prefixes)]
    if not ignored:
        return Adapted(dict(state))
    rest = {key: value for key, value in state.items() if not key.startswith(prefixes)}
    groups = sorted({_group(key) for key in ignored})
    return Adapted(rest, (f"ignored, as no part of the encoder: {', '.join(groups)}",))


def adapt_convolutional(state: State, keys: Iterable[str], classifier: tuple[str, ...]) -> Adapted:
    """Adapt the weights of a convolutional network whose keys are those of its encoder.

    Args:
        state: The weights as stored.
        keys: Keys of the encoder. Batch counters that are missing become zero: files from before torch 0.4.1 have
            none, and batch norms with a momentum never read them.
        classifier: Prefixes of the classification head, which is left out.
    """
    rest = leave_out(state, classifier)
    counters = {key: torch.tensor(0) for key in keys if key.endswith(".num_batches_tracked")}
    return Adapted(counters | rest.state, rest.notes)


def _group(key: str) -> str:
    """Return the module an ignored entry is of: two levels for adapters (``output_adapters.depth``), else one."""
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0].endswith("_adapters") else parts[0]


def _fetch(backbone: str, published: str | None) -> State:
    if published is None:
        raise UsageError(f"backbone {backbone} has no published weights; use --init random")
    try:
        return dict(timm.create_model(published, pretrained=True, num_classes=0).state_dict())
    except Exception as error:  # the hub client raises errors of many libraries
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MethodError(
            f"backbone {backbone}: the weights {published} could not be fetched ({reason}); "
            f"go online once, or use --init random"
        ) from error
