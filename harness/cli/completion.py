"""Names for shell completion."""

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def names(kind: str) -> Iterable[str]:
    """Return all names of a kind: ``methods``, ``datasets``, ``tasks``, ``probes``, ``protocols`` or ``backbones``."""
    if kind == "tasks":
        from harness.tasks import TASK_FACTS  # imports are here so that completion pays only for what it lists

        return TASK_FACTS
    if kind == "protocols":
        from harness.protocol import PROFILES

        return PROFILES
    if kind == "probes":
        from harness.probes.catalog import known

        return known()
    if kind == "backbones":
        from harness.backbones import NAMES

        return NAMES
    from harness import registry

    return registry.names("methods" if kind == "methods" else "datasets")


def complete(*kinds: str) -> Completer:
    """Return the completion callback for names of some kinds."""

    def items(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for kind in kinds for name in names(kind) if name.startswith(incomplete)]

    return items


def complete_init(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the start of the encoders: a word, or else a file."""
    words = [CompletionItem(word) for word in ("random", "pretrained") if word.startswith(incomplete)]
    return words or [CompletionItem(incomplete, type="file")]
