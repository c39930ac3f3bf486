"""Attribution of a count to the parts of a model."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

_stacks: ContextVar[tuple[list[str], ...]] = ContextVar("parts at work, innermost last, by running count", default=())
"""One stack per running `follow`, as counts may nest."""


def attributed_to(part: str) -> AbstractContextManager[None]:
    """Attribute the MACs of the block to ``part``; costs next to nothing when nobody counts."""
    # Nothing is counted in compiled code, and a context variable would break its graph.
    return nullcontext() if torch.compiler.is_compiling() else _attributed_to(part)


@contextmanager
def _attributed_to(part: str) -> Iterator[None]:
    stacks = _stacks.get()
    for stack in stacks:
        stack.append(part)
    try:
        yield
    finally:
        for stack in stacks:
            stack.pop()


@contextmanager
def follow(parts: Mapping[str, nn.Module]) -> Iterator[list[str]]:
    """Follow the calls of ``parts``.

    A part that defines no forward, such as a `nn.ModuleDict` of heads, is followed through its children.

    Yields:
        The names of the parts at work, innermost last.
    """
    stack: list[str] = []
    handles: list[RemovableHandle] = []
    token = _stacks.set((*_stacks.get(), stack))
    try:
        for name, part in parts.items():
            # A `nn.ModuleDict` is never called itself, so its hooks would not run: hook the children that are.
            for module in _callable(part):
                handles += _follow(module, name, stack)
        yield stack
    finally:
        _stacks.reset(token)
        for handle in handles:
            handle.remove()


def _callable(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the module if it can be called, else those below it that can."""
    if type(module).forward is not nn.Module.forward:
        yield module
        return
    for child in module.children():
        yield from _callable(child)


def _follow(module: nn.Module, name: str, stack: list[str]) -> list[RemovableHandle]:
    """Hook a module, around all other hooks of it; it leaves the stack even when its forward raises."""

    def enter(*_: Any) -> None:
        stack.append(name)

    def leave(*_: Any) -> None:
        stack.pop()

    # First before and last after all other hooks. `leave` must return None, or it would replace the output.
    return [
        module.register_forward_pre_hook(enter, prepend=True),
        module.register_forward_hook(leave, always_call=True),
    ]
