"""Label tasks: semantic segmentation and human parts, with their common base."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from harness.errors import UsageError
from harness.problem import TaskSpec
from harness.protocol import Protocol
from harness.tasks.base import IGNORE, Task, Total, alone
from harness.tasks.confusion import ConfusionMeter
from harness.tasks.facts import TASK_FACTS
from harness.tasks.pictures import WRONG, Scale, Swatch, label_picture


class LabelTask(Task):
    """A task that gives every pixel one of ``num_classes`` labels."""

    error_text: ClassVar[str] = "{:.1%} wrong"
    error_scale: ClassVar[Scale] = WRONG

    def __init__(self, spec: TaskSpec) -> None:
        """Take the label space.

        Raises:
            UsageError: ``spec`` does not say how many classes there are.
        """
        if spec.num_classes is None:
            raise UsageError(f"task {spec.name!r} needs num_classes in its TaskSpec")
        super().__init__(spec)
        self.num_classes = spec.num_classes

    @property
    def has_background(self) -> bool:
        """True if class 0 is the background, which is shown black; NYUD-v2 has no such class."""
        return self.spec.class_names[:1] == ("background",)

    def loss(self, prediction: Tensor, target: Tensor, total: Total = alone) -> Tensor:
        """Return the cross-entropy, mean over the valid pixels; 0 if there is none."""
        label = target[:, 0].long()
        entropy = F.cross_entropy(prediction, label, ignore_index=IGNORE, reduction="sum")
        return total(entropy) / total((label != IGNORE).sum()).clamp(min=1)

    def decode(self, prediction: Tensor) -> Tensor:
        """Return the most likely classes, [B, 1, H, W]."""
        return prediction.argmax(1, keepdim=True).float()

    def picture(self, prediction: Tensor) -> NDArray[np.uint8]:
        """Return the most likely classes of one prediction [C, H, W] in VOC colours."""
        return label_picture(prediction.argmax(0).cpu().numpy(), self.has_background)

    def target_picture(self, target: Tensor) -> NDArray[np.uint8]:
        """Return one label [1, H, W] in VOC colours; ignored pixels are black."""
        label = target[0].to(torch.int64).cpu().numpy()
        return label_picture(label, self.has_background, label == IGNORE)

    def legend(self, prediction: Tensor, target: Tensor | None = None) -> list[Swatch]:
        """Return the classes in the pictures of one prediction and its label with their colours, largest area first."""
        shown = [prediction.argmax(0).flatten()]
        if target is not None:
            label = target.flatten().long()
            shown.append(label[label != IGNORE])
        areas = torch.cat(shown).bincount().cpu()
        present = [index for index in areas.argsort(descending=True, stable=True).tolist() if areas[index]]
        colours = label_picture(np.array([present]), self.has_background)[0].tolist()
        names = dict(enumerate(self.spec.class_names))
        return [
            (names.get(index, f"class {index}"), (red, green, blue))
            for index, (red, green, blue) in zip(present, colours, strict=True)
        ]

    def error(self, prediction: Tensor, target: Tensor) -> NDArray[np.float32]:
        """Return 1 where the most likely class is wrong and 0 where it is right, [H, W]; NaN where ignored."""
        wrong = (prediction.argmax(0, keepdim=True) != target).float()
        return torch.where(target != IGNORE, wrong, torch.nan)[0].cpu().numpy()


class Semseg(LabelTask):
    """Semantic segmentation: cross-entropy, scored by mIoU."""

    name: ClassVar[str] = "semseg"
    title, headline_title, higher_is_better, weight = TASK_FACTS[name]

    def meter(self, protocol: Protocol) -> ConfusionMeter:
        """Return an empty mIoU meter."""
        return ConfusionMeter(self.name, self.num_classes, protocol.semseg_absent)


class Parts(LabelTask):
    """Human part segmentation: cross-entropy, scored by mIoU over the parts and the background.

    Images without a person are skipped; in the others the background counts everywhere.
    """

    name: ClassVar[str] = "parts"
    title, headline_title, higher_is_better, weight = TASK_FACTS[name]

    def meter(self, protocol: Protocol) -> ConfusionMeter:
        """Return an empty mIoU meter; a part that never occurs counts as 0."""
        return ConfusionMeter(self.name, self.num_classes, "zero", protocol.parts_skip)
