"""Which of our models each case in ``tests/golden/parity`` is of: one line a case."""

from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from expectation import Expectation

from harness.backbones.shapes import SWINS, SwinConfig
from harness.baselines.common.tasks import key_of
from harness.baselines.mtlora.method import DECODER_CHANNELS
from harness.method import Method, MultiTaskModel
from harness.problem import Problem, TaskSpec
from harness.registry import load_method

CLASSIFIED = ("semseg", "parts")
TASKS = (*CLASSIFIED, "saliency", "normals", "depth", "boundary")
SCALES = tuple(f"outputs/scale_{scale}/" for scale in range(4))
AUXILIARY = {"auxiliary": ("normals", "boundary")}
MTFORMER_LEFT = ("contrast", "log_var_list")
CTR = {"embed_dim": 40, "final_embed_dim": 56, "chan_nheads": 1, "use_ctr": True}
POST = {"variant": "vitB", "final_embed_dim": 40, "pre_softmax": False}
ALIGNED = {"teachers": {"dinov2": 256, "clip": 160}, "down_ratio": 2, "noisy_gating": False, "aligner": True}
INTER = ("inter/",)
SMALL_SWINS = {"swin-24": SwinConfig(24, (2, 2, 2, 2), (1, 2, 4, 8), None)}
"""Encoders of cases alone."""
ATRC = 2e-4
"""Of ATRC: under these weights its depth is ill-conditioned, 8e-5 off float64 in the reference, too."""
MASKS = ("attn_mask",)
MTLORA = {"shared_scale": 0.25, "task_scale": 0.5}
"""Scales of the cases: with the published 4, random factors saturate the softmax of the attention."""


@dataclass(frozen=True)
class Case:
    """How to build the model of a case.

    Attributes:
        method: Name of the method.
        backbone: Name of the encoder.
        options: Options of the method.
        intermediate: What the outputs of each set of intermediate predictions are called, up to the task's name.
        left: Parts of the keys that stay as built, as the reference left them.
        not_compared: Beginnings of the names of outputs that our model does not return.
        slow: Whether a forward pass takes more than a few seconds.
        tolerance: Largest error as a fraction of the outputs' standard deviation.
    """

    method: str
    backbone: str
    options: dict[str, Any] = field(default_factory=dict)
    intermediate: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()
    slow: bool = False
    tolerance: float = 1e-4


CASES = {
    "baseline_nyud": Case("multi-task", "hrnet18-small"),
    "mti_net_nyud": Case("mti-net", "hrnet18-small", intermediate=SCALES),
    "mti_net_nyud4": Case("mti-net", "hrnet18-small", AUXILIARY, intermediate=SCALES),
    "pad_net_nyud": Case("pad-net", "hrnet18-small", intermediate=("outputs/initial_",)),
    "pad_net_nyud4": Case("pad-net", "hrnet18-small", AUXILIARY, intermediate=("outputs/initial_",), slow=True),
    "r_baseline_nyud": Case("multi-task", "resnet50", slow=True),
    "cross_stitch_nyud": Case("cross-stitch", "resnet50", slow=True),
    "nddr_cnn_nyud": Case("nddr-cnn", "resnet50", slow=True),
    "mtan_nyud": Case("mtan", "resnet50", slow=True),
    "invpt_nyud_tiny": Case("invpt", "vit-t16", intermediate=("inter/",)),
    "invpt_nyud_vitB": Case("invpt", "vit-b16", intermediate=("inter/",), slow=True),
    "tsp_nyud_tiny": Case("tsp", "vit-t16", intermediate=("inter/",)),
    "tsp_nyud_tiny_shallow": Case("tsp", "vit-t16", {"prompts": "shallow", "prompt_layers": 5}, ("inter/",)),
    "atrc_nyud_tiny": Case("atrc", "hrnet18-small", not_compared=("inter/",), tolerance=ATRC),
    "atrc_nyud_tiny_mixed": Case(
        "atrc", "hrnet18-small", {"genotype": "1304,4110,0000,3013"}, not_compared=("inter/",), tolerance=ATRC
    ),
    "atrc_nyud_hrnet18": Case("atrc", "hrnet18-small", not_compared=("inter/",), slow=True, tolerance=ATRC),
    "mtlora_nyud_tiny": Case("mtlora", "swin-24", MTLORA | {"shared_rank": 8}, left=MASKS, not_compared=("inter/",)),
    "mtlora_plus_nyud_tiny": Case(
        "mtlora",
        "swin-24",
        MTLORA | {"shared_rank": 8, "task_rank": 3, "plus": True},
        left=MASKS,
        not_compared=("inter/",),
    ),
    "mtlora_nyud_swinT": Case("mtlora", "swin-t", MTLORA, left=MASKS, not_compared=("inter/",), slow=True),
    "mtformer_nyud_tiny": Case("mtformer", "swin-24", left=MTFORMER_LEFT),
    "mtformer_nyud_swinS": Case("mtformer", "swin-s", left=MTFORMER_LEFT, slow=True),
    "taskprompter_nyud_tiny": Case("taskprompter", "vit-t16", not_compared=INTER),
    "taskprompter_nyud_tiny_ctr": Case("taskprompter", "vit-t16", CTR, not_compared=INTER),
    "mlore_nyud_tiny": Case("mlore", "vit-t16", not_compared=INTER),
    "mlore_nyud_tiny_post": Case("mlore", "vit-t16", POST, not_compared=INTER),
    "sak_nyud_tiny": Case("sak", "vit-t16", not_compared=INTER),
    "sak_nyud_tiny_aligner": Case("sak", "vit-t16", ALIGNED, not_compared=INTER),
    "sak_nyud_vitB": Case("sak", "vit-b16", not_compared=INTER, slow=True),
}


def problem_of(expectation: Expectation) -> Problem:
    """Return the problem of a case, its tasks in our own order."""
    names = [name for name in TASKS if key_of(name) in expectation.tasks]
    specs = (TaskSpec(name, expectation.tasks[key_of(name)] if name in CLASSIFIED else None) for name in names)
    return Problem(tuple(specs), expectation.input[2:])


def method_of(case: Case) -> Method:
    """Return the method of a case, set up."""
    cls = load_method(case.method)
    return cls(cls.Options(**case.options), case.backbone)


def build(case: Case, expectation: Expectation) -> MultiTaskModel:
    """Return the model of a case in evaluation mode."""
    with mock.patch.dict(SWINS, SMALL_SWINS), mock.patch.dict(DECODER_CHANNELS, {"swin-24": (6, 8, 10, 12)}):
        return method_of(case).build(problem_of(expectation)).eval()
