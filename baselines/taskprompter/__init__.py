"""TaskPrompter: prompts of tasks beside the tokens of an image (Ye and Xu, ICLR 2023)."""

from harness.baselines.taskprompter.method import TaskPrompter

__all__ = ["TaskPrompter"]
