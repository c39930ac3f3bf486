"""Every key and shape of every baseline, the dead ones too, for one to six tasks in any order and on every encoder."""

from collections.abc import Callable, Iterator
from itertools import combinations

import formulas
import pytest
import torch
from formulas import Shapes, Tasks

from harness.backbones import build_backbone
from harness.backbones.hrnet import HRNetEncoder
from harness.backbones.resnet import ResNetEncoder
from harness.backbones.shapes import SWINS
from harness.baselines.atrc.genotype import default_genotype
from harness.baselines.common.tasks import key_of
from harness.problem import Problem, TaskSpec
from harness.registry import load_method

SIZE = (64, 96)
SIX = (
    TaskSpec("depth"),
    TaskSpec("boundary", tolerance=0.01),
    TaskSpec("normals"),
    TaskSpec("saliency"),
    TaskSpec("parts", 7),
    TaskSpec("semseg", 21),
)
MATERIAL = TaskSpec("material", 5)
"""A task that no published code knows: its place is behind those that they do."""

INVPT = ("semseg", "depth", "parts", "saliency", "normals", "boundary")
MTFORMER = ("semseg", "parts", "saliency", "depth", "normals", "boundary")
SAK = ("semseg", "parts", "normals", "boundary", "saliency", "depth")
OTHERS = ("semseg", "parts", "saliency", "normals", "boundary", "depth")

Formula = Callable[[tuple[TaskSpec, ...]], Shapes]


def of_model(method: str, backbone: str, tasks: tuple[TaskSpec, ...], **options: object) -> Shapes:
    cls = load_method(method)
    with torch.device("meta"):
        model = cls(cls.Options(**options), backbone).build(Problem(tasks, SIZE))
    return {key: tuple(entry.shape) for key, entry in model.state_dict().items() if "num_batches" not in key}


def of_encoder(backbone: str) -> Shapes:
    with torch.device("meta"):
        state = build_backbone(backbone, SIZE).state_dict()
    return {key: tuple(entry.shape) for key, entry in state.items() if "num_batches" not in key}


def named(tasks: tuple[TaskSpec, ...], order: tuple[str, ...], saliency: int = 1) -> Tasks:
    """Return channels by the reference's name in the reference's order; strangers come last."""
    channels = {task.name: saliency if task.name == "saliency" else task.channels for task in tasks}
    strangers = sorted(channels.keys() - set(order))
    return {key_of(name): channels[name] for name in (*order, *strangers) if name in channels}


def sets() -> Iterator[tuple[TaskSpec, ...]]:
    """The published sets, a task alone, and others of every size up to six, in the problem's order and reversed."""
    yield from ((SIX[0], SIX[5]), (SIX[5], SIX[4], SIX[3]), (SIX[5], *SIX[:3]), SIX[:0:-1], SIX)
    for count, step in ((1, 3), (2, 8), (3, 11), (4, 8), (5, 4)):
        for number, tasks in enumerate(list(combinations(SIX, count))[::step]):
            yield tasks if number % 2 else tasks[::-1]
    yield (*SIX[1:], MATERIAL)
    yield (MATERIAL, SIX[3], SIX[5])


SETS = list(sets())


LARGE = ("vit-b16", "vit-l16", "swin-t", "swin-s", "swin-b", "swin-l", "hrnet18-small", "hrnet48", "resnet50")
"""Encoders that take long to build: they see the published sets, and a few others."""


def check(method: str, backbone: str, expected: Formula, **options: object) -> None:
    for tasks in (*SETS[:6], SETS[-2]) if backbone in LARGE else SETS:
        assert of_model(method, backbone, tasks, **options) == expected(tasks), [task.name for task in tasks]


VITS = {"vit-t16": (192, 12, 48, 64), "vit-b16": (768, 12, 512, 576), "vit-l16": (1024, 24, 512, 576)}


@pytest.mark.parametrize("backbone", VITS)
def test_invpt_on_a_vit(backbone: str) -> None:
    channels, depth, features, wide = VITS[backbone]
    encoder = formulas.vit(channels, depth, tokens=4 * 6)
    check(
        "invpt",
        backbone,
        lambda tasks: formulas.invpt_on_vit(named(tasks, INVPT, 2), encoder, channels, features, wide),
    )


@pytest.mark.parametrize("prompts", ["deep", "shallow"])
@pytest.mark.parametrize("backbone", VITS)
def test_tsp(backbone: str, prompts: str) -> None:
    channels, depth, features, wide = VITS[backbone]
    encoder, layers = formulas.vit(channels, depth, tokens=4 * 6), depth // 2
    check(
        "tsp",
        backbone,
        lambda tasks: formulas.tsp(named(tasks, INVPT, 2), encoder, channels, features, wide, layers),
        prompts=prompts,
    )


def of_pascal(tasks: tuple[TaskSpec, ...]) -> bool:
    return not {"parts", "saliency"}.isdisjoint(task.name for task in tasks)


TASKPROMPTER = {
    "vit-t16": (3, {False: (48, 64), True: (40, 56)}),
    "vit-b16": (12, {False: (768, 768), True: (780, 1024)}),
    "vit-l16": (16, {False: (768, 768), True: (300, 350)}),
}
"""Heads, and by data set (PASCAL-Context or not) the widths of the decoder."""


@pytest.mark.parametrize("backbone", TASKPROMPTER)
def test_taskprompter(backbone: str) -> None:
    heads, widths = TASKPROMPTER[backbone]
    encoder = formulas.vit(*VITS[backbone][:2], tokens=4 * 6)

    def shapes(tasks: tuple[TaskSpec, ...]) -> Shapes:
        pascal = of_pascal(tasks)
        return formulas.taskprompter(named(tasks, INVPT, 2), encoder, heads, *widths[pascal], mixed=pascal)

    check("taskprompter", backbone, shapes)


MLORE = {
    "vit-t16": {False: (48, range(4, 61, 4), 8), True: (48, range(4, 61, 4), 8)},
    "vit-b16": {False: (640, range(16, 241, 16), 16), True: (640, range(16, 129, 8), 64)},
    "vit-l16": {False: (768, range(16, 241, 16), 16), True: (452, range(16, 129, 8), 72)},
}
"""By data set (PASCAL-Context or not): width, ranks of the experts, rank of the tasks' own convolutions."""


@pytest.mark.parametrize("backbone", MLORE)
def test_mlore(backbone: str) -> None:
    encoder = formulas.vit(*VITS[backbone][:2], tokens=4 * 6)

    def shapes(tasks: tuple[TaskSpec, ...]) -> Shapes:
        widths = MLORE[backbone][of_pascal(tasks)]
        return formulas.mlore(named(tasks, INVPT, 2), encoder, *widths, dead=backbone == "vit-b16")

    check("mlore", backbone, shapes)


@pytest.mark.parametrize("aligner", [False, True])
@pytest.mark.parametrize("backbone", ["vit-t16", "vit-b16", "vit-l16"])
def test_sak(backbone: str, aligner: bool) -> None:
    teachers = {"dinov2": 1024, "sam": 256} if aligner else {"dinov2": 0, "clip": 0, "sam": 0}
    options = {"teachers": teachers, "aligner": True, "noisy_gating": False, "down_ratio": 2} if aligner else {}
    encoder = formulas.vit(*VITS[backbone][:2], tokens=4 * 6)
    ratio = 2 if aligner else 4
    check(
        "sak",
        backbone,
        lambda tasks: formulas.sak(named(tasks, SAK, 2), encoder, teachers, ratio, not aligner, aligner),
        **options,
    )


@pytest.mark.parametrize(("backbone", "channels"), [("swin-t", 768), ("swin-b", 1024)])
def test_invpt_on_a_swin(backbone: str, channels: int) -> None:
    encoder = of_encoder(backbone)
    check("invpt", backbone, lambda tasks: formulas.invpt_on_swin(named(tasks, INVPT, 2), encoder, channels, 512, 576))


def test_the_unused_norm_of_invpt_is_as_wide_as_the_last_stage_for_all_tasks() -> None:
    """720 for the five tasks of PASCAL-Context; for the four of NYUD-v2 that is 576, the width of the first stage."""
    for tasks, width in ((SIX[2:], 576), (SIX[1:], 720), (SIX, 864)):
        shapes = of_model("invpt", "vit-l16", tasks)
        assert shapes["multi_task_decoder.invpt.norm_mt.weight"] == (width,)


@pytest.mark.parametrize(("backbone", "channels"), [("swin-micro", 48), ("swin-s", 256)])
def test_mtformer(backbone: str, channels: int) -> None:
    encoder = build_on_meta(backbone)
    state = of_encoder(backbone)
    check("mtformer", backbone, lambda tasks: formulas.mtformer(named(tasks, MTFORMER), state, encoder, channels))


@pytest.mark.parametrize("plus", [False, True], ids=["mtlora", "mtlora-plus"])
@pytest.mark.parametrize("backbone", ["swin-micro", "swin-t", "swin-s", "swin-b", "swin-l"])
def test_mtlora(backbone: str, plus: bool) -> None:
    config, micro = SWINS[backbone], backbone == "swin-micro"
    encoder = of_encoder(backbone)
    patch = {key.removeprefix("patch_embed."): shape for key, shape in encoder.items() if key.startswith("patch_embed")}
    channels = (8, 16, 24, 32) if micro else (18, 36, 72, 144)
    ranks = (8, 4) if micro else (64, 4)
    check(
        "mtlora",
        backbone,
        lambda tasks: formulas.mtlora(
            named(tasks, OTHERS), config.depths, config.heads, SIZE, config.width, patch, channels, ranks, plus
        ),
        plus=plus,
    )


def build_on_meta(backbone: str) -> int:
    with torch.device("meta"):
        return build_backbone(backbone, SIZE).channels


@pytest.mark.parametrize("auxiliary", [(), ("normals", "boundary")], ids=["none", "edges_normals"])
@pytest.mark.parametrize(("backbone", "width"), [("hrnet-micro", 32), ("hrnet18-small", 256)])
def test_networks_on_an_hrnet(backbone: str, width: int, auxiliary: tuple[str, ...]) -> None:
    with torch.device("meta"):
        encoder = build_backbone(backbone, SIZE)
    assert isinstance(encoder, HRNetEncoder)
    state, widths = of_encoder(backbone), encoder.scale_channels

    def on_the_way(tasks: tuple[TaskSpec, ...]) -> Tasks:
        names = {task.name for task in tasks}
        return named((*tasks, *(TaskSpec(name) for name in auxiliary if name not in names)), OTHERS)

    check(
        "mti-net",
        backbone,
        lambda tasks: formulas.mti_net(named(tasks, OTHERS), on_the_way(tasks), state, widths),
        auxiliary=auxiliary,
    )
    check(
        "pad-net",
        backbone,
        lambda tasks: formulas.pad_net(named(tasks, OTHERS), on_the_way(tasks), state, sum(widths), width),
        auxiliary=auxiliary,
    )


@pytest.mark.parametrize("given", [False, True], ids=["built-in", "given"])
@pytest.mark.parametrize("backbone", ["hrnet-micro", "hrnet18-small", "hrnet48"])
def test_atrc(backbone: str, given: bool) -> None:
    """The genotype is the one that is built in, or one with every kind, given as an option."""
    state, channels = of_encoder(backbone), build_on_meta(backbone)
    for tasks in (*SETS[:6], SETS[-2]) if backbone in LARGE or given else SETS:
        keys = named(tasks, INVPT, 2)
        if given:
            digits = [[(0, 1, 3, 4)[(row + 2 * column) % 4] for column in range(len(keys))] for row in range(len(keys))]
            kinds = {target: dict(zip(keys, row, strict=True)) for target, row in zip(keys, digits, strict=True)}
            options = {"genotype": ",".join("".join(map(str, row)) for row in digits)}
        else:
            kinds, options = default_genotype(list(keys)), {}
        expected = formulas.atrc(keys, state, channels, kinds)
        assert of_model("atrc", backbone, tasks, **options) == expected, [task.name for task in tasks]


@pytest.mark.parametrize("backbone", ["resnet-micro", "resnet18", "resnet50"])
def test_networks_on_a_resnet(backbone: str) -> None:
    with torch.device("meta"):
        encoder = build_backbone(backbone, SIZE)
    assert isinstance(encoder, ResNetEncoder)
    state, stages = of_encoder(backbone), tuple(encoder.stage_channels)
    check("cross-stitch", backbone, lambda tasks: formulas.cross_stitch(named(tasks, OTHERS), state, stages))
    check(
        "nddr-cnn",
        backbone,
        lambda tasks: formulas.nddr_cnn(named(tasks, OTHERS), state, encoder.stem_channels, stages),
    )
    check("mtan", backbone, lambda tasks: formulas.mtan(named(tasks, OTHERS), state, stages))


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("hrnet-micro", formulas.high_resolution_head),
        ("hrnet18-small", formulas.high_resolution_head),
        ("resnet18", formulas.deeplab_head),
        ("resnet50", formulas.deeplab_head),
    ],
)
def test_plain_baselines(backbone: str, head: Callable[[str, int, int], Shapes]) -> None:
    state, channels = of_encoder(backbone), build_on_meta(backbone)

    def shared(tasks: tuple[TaskSpec, ...]) -> Shapes:
        heads = [head(f"decoders.{key}", out, channels) for key, out in named(tasks, OTHERS).items()]
        return formulas.joined(formulas.under("backbone", state), *heads)

    def separate(tasks: tuple[TaskSpec, ...]) -> Shapes:
        return formulas.joined(
            *(formulas.under(f"nets.{task.name}.backbone", state) for task in tasks),
            *(head(f"nets.{task.name}.decoder", *named((task,), OTHERS).values(), channels) for task in tasks),
        )

    check("multi-task", backbone, shared)
    check("single-task", backbone, separate)


@pytest.mark.parametrize("backbone", ["vit-t16", "vit-b16"])
@pytest.mark.parametrize(("method", "prefix"), [("multi-task", "backbone.vit"), ("share", "base.vit")])
def test_plain_vits_hold_their_encoder_under_timms_names(method: str, prefix: str, backbone: str) -> None:
    channels, depth, *_ = VITS[backbone]
    encoder = formulas.under(prefix, formulas.vit(channels, depth, tokens=4 * 6))
    for tasks in SETS[::4]:
        options = {"base_task": tasks[0].name} if method == "share" else {}
        shapes = of_model(method, backbone, tasks, **options)
        assert {key: shape for key, shape in shapes.items() if key.startswith(prefix)} == encoder
