"""Weights go through every published format and come out the same; what does not fit is refused in one line."""

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch.nn import functional as F

from harness.backbones import Encoder, build_backbone
from harness.backbones.vit import ViTEncoder
from harness.errors import MethodError, UsageError
from harness.weights import WeightFile

from checkpoint_styles import (  # isort: skip
    WRITERS,
    State,
    classifier,
    mae,
    multimae,
    multivit,
    plain,
    published_network,
    safetensors,
    scrambled,
    swin_of_timm,
    swin_of_torchvision,
    torchvision_swin,
)

SIZE = (48, 64)
GRID = (3, 4)


def load(name: str, path: Path, size: tuple[int, int] = SIZE) -> Encoder:
    return build_backbone(name, size, WeightFile(path)).eval()


def same_output(one: torch.nn.Module, other: torch.nn.Module, size: tuple[int, int] = SIZE) -> bool:
    images = torch.randn(1, 3, *size)
    with torch.inference_mode():
        return torch.equal(one(images), other(images))


@pytest.fixture(scope="module")
def vit() -> ViTEncoder:
    encoder = ViTEncoder("vit-t16", SIZE)
    scrambled(encoder)
    return encoder


@pytest.fixture
def unnormed(vit: ViTEncoder) -> ViTEncoder:
    """The same encoder with a final norm of weight 1 and bias 0."""
    encoder = ViTEncoder("vit-t16", SIZE).eval()
    encoder.load_state_dict(vit.state_dict())
    torch.nn.init.ones_(encoder.vit.norm.weight)
    torch.nn.init.zeros_(encoder.vit.norm.bias)
    return encoder


@pytest.mark.parametrize("file", WRITERS)
def test_a_vit_goes_through_every_container(file: str, vit: ViTEncoder, tmp_path: Path) -> None:
    path = tmp_path / file
    WRITERS[file](vit.vit.state_dict(), path)
    loaded = load("vit-t16", path)
    assert same_output(loaded, vit)
    beside = ("weights training.pt: ignored beside model: args, epoch, optimizer",)
    assert loaded.notes == (beside if file == "training.pt" else ())


def test_what_is_no_encoder_is_left_out_and_told(vit: ViTEncoder, tmp_path: Path) -> None:
    notes = {}
    for style in (mae, classifier):
        path = tmp_path / f"{style.__name__}.pth"
        plain(style(vit.vit.state_dict()), path)
        loaded = load("vit-t16", path)
        assert same_output(loaded, vit)
        [notes[style.__name__]] = loaded.notes
    assert notes == {
        "mae": "weights mae.pth: ignored, as no part of the encoder: decoder_blocks, decoder_embed, mask_token",
        "classifier": "weights classifier.pth: ignored, as no part of the encoder: head",
    }


@pytest.mark.parametrize("file", WRITERS)
@pytest.mark.parametrize("style", [multivit, multimae])
def test_multivits_become_vits(
    style: Callable[[State, tuple[int, int]], State], file: str, unnormed: ViTEncoder, tmp_path: Path
) -> None:
    path = tmp_path / file
    WRITERS[file](style(unnormed.vit.state_dict(), GRID), path)
    loaded = load("vit-t16", path)
    assert isinstance(loaded, ViTEncoder)
    assert same_output(loaded, unnormed)
    assert not loaded.vit.pos_embed[:, 0].any(), "the global token has no position"
    notes = " ".join(loaded.notes)
    assert "has no final norm, which starts with weight 1 and bias 0" in notes
    ignored = "input_adapters.depth, input_adapters.semseg, output_adapters.depth, output_adapters.rgb"
    assert (ignored in notes) == (style is multimae)


def test_a_multivit_puts_its_positions_where_its_tokens_are(tmp_path: Path) -> None:
    """Against the network as it is described: patches row by row, positions added, the global token last."""
    torch.manual_seed(0)
    state = multivit(ViTEncoder("vit-t16", SIZE).vit.state_dict(), GRID)
    state["input_adapters.rgb.pos_emb"] = torch.randn(1, 192, *GRID)
    plain(state, tmp_path / "m.pth")
    encoder = load("vit-t16", tmp_path / "m.pth")
    assert isinstance(encoder, ViTEncoder)
    images = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        weight, bias = state["input_adapters.rgb.proj.weight"], state["input_adapters.rgb.proj.bias"]
        patches = F.conv2d(images, weight, bias, stride=16) + state["input_adapters.rgb.pos_emb"]
        tokens = torch.cat([patches.flatten(2).transpose(1, 2), state["global_tokens"]], dim=1)
        expected = F.layer_norm(encoder.vit.blocks(tokens)[:, :-1], (192,), eps=1e-6)
        torch.testing.assert_close(encoder(images).flatten(2).transpose(1, 2), expected)


@pytest.mark.parametrize("style", ["timm", "multivit"])
def test_positions_are_resampled_bicubically_without_antialias(style: str, tmp_path: Path) -> None:
    state = ViTEncoder("vit-t16", (64, 64)).vit.state_dict()
    state["pos_embed"] = torch.randn(1, 17, 192)
    plain(state if style == "timm" else multivit(state, (4, 4)), tmp_path / "w.pth")
    loaded = load("vit-t16", tmp_path / "w.pth", (32, 112))
    square = state["pos_embed"][:, 1:].transpose(1, 2).reshape(1, 192, 4, 4)
    expected = F.interpolate(square, size=(2, 7), mode="bicubic", align_corners=False)
    assert isinstance(loaded, ViTEncoder)
    torch.testing.assert_close(loaded.vit.pos_embed[:, 1:], expected.flatten(2).transpose(1, 2))
    token = loaded.vit.cls_token + loaded.vit.pos_embed[:, :1]
    torch.testing.assert_close(token, state["cls_token"] + state["pos_embed"][:, :1])


def test_half_precision_becomes_single(vit: ViTEncoder, tmp_path: Path) -> None:
    safetensors({key: value.half() for key, value in vit.vit.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = load("vit-t16", tmp_path / "w.safetensors")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    for ours, theirs in zip(loaded.parameters(), vit.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_convolutional_stem_is_part_of_the_encoder(tmp_path: Path) -> None:
    micro = ViTEncoder("vit-micro", SIZE)
    scrambled(micro)
    plain(micro.vit.state_dict(), tmp_path / "w.pth")
    assert same_output(load("vit-micro", tmp_path / "w.pth"), micro)


@pytest.mark.parametrize("file", ["old.pth", "weights.safetensors"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_resnets_load(name: str, file: str, tmp_path: Path) -> None:
    state = scrambled(getattr(torchvision.models, name)()).state_dict()
    if file == "old.pth":  # of a time when batch norms counted nothing
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    WRITERS[file](state, tmp_path / file)
    loaded = load(name, tmp_path / file)
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, state.get(key, torch.tensor(0))), key
    assert loaded.notes == (f"weights {file}: ignored, as no part of the encoder: fc",)


@pytest.mark.parametrize("file", ["state_dict.pth.tar", "parallel.pth"])
def test_the_original_hrnet_loads(file: str, tmp_path: Path) -> None:
    state = published_network("hrnet_w18_small_v2").state_dict()
    WRITERS[file](state, tmp_path / file)
    loaded = load("hrnet18-small", tmp_path / file)
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, state[key]), key
    [note] = loaded.notes
    assert note.endswith("as no part of the encoder: classifier, downsamp_modules, final_layer, incre_modules")


def without_made(state: State) -> State:
    """Leave out the buffers that timm does not store."""
    return {key: value for key, value in state.items() if not key.endswith("relative_position_index")}


SWIN_STYLES: dict[str, Callable[[State], State]] = {
    "authors": swin_of_torchvision,
    "torchvision": lambda state: state,
    "timm": lambda state: swin_of_timm(swin_of_torchvision(state)),
}


@pytest.mark.parametrize("file", ["model.pth", "weights.safetensors"])
@pytest.mark.parametrize("style", SWIN_STYLES)
def test_swins_of_three_code_bases_load(style: str, file: str, tmp_path: Path) -> None:
    net = torchvision_swin()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    state = net.state_dict()
    WRITERS[file](SWIN_STYLES[style](state), tmp_path / file)
    loaded = load("swin-t", tmp_path / file)
    expected = without_made(swin_of_torchvision(state))
    own = without_made(loaded.state_dict())
    for part in ("weight", "bias"):
        assert torch.equal(own.pop(f"norm3.{part}"), expected.pop(f"norm.{part}"))
        for level in range(3):
            assert (own.pop(f"norm{level}.{part}") == (part == "weight")).all()
    assert own.keys() == {key for key in expected if not key.startswith("head.") and "attn_mask" not in key}
    for key, value in own.items():
        assert torch.equal(value, expected[key]), key
    assert loaded.notes == (
        f"weights {file}: ignored, as no part of the encoder: head",
        f"weights {file}: its final norm is the last level's; those of the other levels start with weight 1 and bias 0",
    )


def test_a_swin_is_loaded_from_timms_own_file(tmp_path: Path) -> None:
    net = published_network("swin_tiny_patch4_window7_224")
    plain(net.state_dict(), tmp_path / "w.pth")
    loaded = load("swin-t", tmp_path / "w.pth")
    theirs = net.state_dict()
    for key in ("layers.0.downsample.reduction.weight", "layers.3.blocks.1.attn.qkv.bias"):
        assert torch.equal(loaded.state_dict()[key], theirs[key.replace("0.down", "1.down")])


def test_a_swin_with_the_norms_of_its_levels_loads_as_it_is(tmp_path: Path) -> None:
    donor = build_backbone("swin-micro", SIZE)
    scrambled(donor)
    plain(without_made(donor.state_dict()), tmp_path / "w.pth")
    loaded = load("swin-micro", tmp_path / "w.pth")
    assert same_output(loaded, donor)
    assert loaded.notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("style", ["timm", "multivit"])
def test_a_vit_b_of_full_size_loads(style: str, tmp_path: Path) -> None:
    donor = ViTEncoder("vit-b16", (224, 224)).eval()
    state = donor.vit.state_dict()
    torch.save({"model": mae(state) if style == "timm" else multimae(state, (14, 14))}, tmp_path / "b.pth")
    loaded = load("vit-b16", tmp_path / "b.pth", (448, 576))
    assert sum(parameter.numel() for parameter in loaded.parameters()) == 86_422_272
    same_size = load("vit-b16", tmp_path / "b.pth", (224, 224))
    assert same_output(same_size, donor, (224, 224))


class Smuggled:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {Path.cwd() / 'executed'}",)


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def without(state: State, *keys: str) -> State:
    return {key: value for key, value in state.items() if key not in keys}


MISFITS: dict[str, tuple[str, Callable[[], State], str]] = {
    "a resnet": ("vit-t16", lambda: timm.create_model("resnet18").state_dict(), r"148 missing .* 122 unexpected"),
    "another width": (
        "vit-t16",
        lambda: ViTEncoder("vit-s16", SIZE).vit.state_dict(),
        r"of another shape \(first: blocks.0.attn.proj.bias \[384\], not \[192\]\)",
    ),
    "a vit": ("resnet18", lambda: ViTEncoder("vit-t16", SIZE).vit.state_dict(), r"missing .* unexpected"),
    "a smaller resnet": ("resnet50", lambda: timm.create_model("resnet18").state_dict(), r"missing .* another shape"),
    "the large hrnet": (
        "hrnet18-small",
        lambda: timm.create_model("hrnet_w18").state_dict(),
        r": 966 unexpected \(first: layer1.2",
    ),
    "a lost layer": (
        "vit-t16",
        lambda: without(ViTEncoder("vit-t16", SIZE).vit.state_dict(), "blocks.3.mlp.fc1.bias"),
        r"1 missing \(first: blocks.3.mlp.fc1.bias\)",
    ),
    "half a norm": (
        "vit-t16",
        lambda: without(ViTEncoder("vit-t16", SIZE).vit.state_dict(), "norm.bias"),
        r"1 missing \(first: norm.bias\)",
    ),
    "a second token": (
        "vit-t16",
        lambda: ViTEncoder("vit-t16", SIZE).vit.state_dict() | {"dist_token": torch.ones(1, 1, 192)},
        r"1 unexpected \(first: dist_token\)",
    ),
    "another grid": (
        "vit-t16",
        lambda: ViTEncoder("vit-t16", (32, 48)).vit.state_dict(),
        r"1 of another shape \(first: pos_embed \[1, 7, 192\], not \[1, 13, 192\]\)",
    ),
    "flat positions": (
        "vit-t16",
        lambda: ViTEncoder("vit-t16", SIZE).vit.state_dict() | {"pos_embed": torch.ones(13, 192)},
        r"1 of another shape \(first: pos_embed",
    ),
    "a multivit of two tokens": (
        "vit-t16",
        lambda: multivit(ViTEncoder("vit-t16", SIZE).vit.state_dict(), GRID) | {"global_tokens": torch.ones(1, 2, 192)},
        r"1 of another shape \(first: cls_token",
    ),
    "a multivit without positions": (
        "vit-t16",
        lambda: without(multivit(ViTEncoder("vit-t16", SIZE).vit.state_dict(), GRID), "input_adapters.rgb.pos_emb"),
        r"1 missing \(first: pos_embed\)",
    ),
    "a deeper swin": (
        "swin-t",
        lambda: swin_of_torchvision(torchvision_swin(depth=8).state_dict()),
        r": 26 unexpected \(first: layers.2.blocks.6",
    ),
    "a lost norm": (
        "swin-t",
        lambda: without(build_backbone("swin-t", SIZE).state_dict(), "norm2.bias"),
        r"1 missing \(first: norm2.bias\)",
    ),
    "a vit for a swin": (
        "swin-t",
        lambda: ViTEncoder("vit-t16", SIZE).vit.state_dict(),
        r"missing .* unexpected",
    ),
    "a multivit for a convolutional stem": (
        "vit-micro",
        lambda: multivit(ViTEncoder("vit-t16", SIZE).vit.state_dict(), GRID),
        r"unexpected \(first: blocks.10",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_misfit_is_refused_and_told_apart(case: str, tmp_path: Path) -> None:
    name, make, message = MISFITS[case]
    plain(make(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match=message) as caught:
        load(name, tmp_path / "w.pth")
    assert str(caught.value).startswith(f"weights {tmp_path / 'w.pth'} does not fit {name}: ")
    assert "\n" not in str(caught.value)


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"cls_token": 1}))


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "damaged"),
    "text": (lambda path: path.write_text("hello world\n"), "damaged"),
    "pickle": (write_pickle, "damaged"),
    "object": (
        lambda path: torch.save({"model": {}, "x": Smuggled()}, path),
        r"a pickled posix.system, and only tensors",
    ),
    "module": (lambda path: torch.save(torch.nn.Linear(1, 1), path), r"a pickled torch\.nn\.modules\.linear\.Linear"),
    "half": (lambda path: (plain({"a": torch.ones(9)}, path), cut(path, 0.5)), "damaged"),
    "half.safetensors": (lambda path: (safetensors({"a": torch.ones(9)}, path), cut(path, 0.9)), "damaged"),
    "torch.safetensors": (lambda path: plain({"a": torch.ones(9)}, path), "damaged"),
    "list": (lambda path: torch.save([torch.ones(1)], path), "no state dict, neither at the top nor under model or"),
    "nothing": (lambda path: torch.save({}, path), "no state dict"),
    "nothing inside": (lambda path: torch.save({"model": {}}, path), "no state dict"),
    "numbers": (lambda path: torch.save({"a": 1}, path), "no state dict, 'a' is of type int"),
    "unnamed": (lambda path: torch.save({3: torch.ones(1)}, path), "no state dict, 3 is no name"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unreadable_file_is_refused_and_executes_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write, message = UNREADABLE[case]
    write(tmp_path / case)
    with pytest.raises(UsageError, match=message) as caught:
        load("vit-t16", tmp_path / case)
    assert re.match(rf"weights {tmp_path / case}( cannot be read)?: ", str(caught.value))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("vit-t16", "vit_tiny_patch16_384.augreg_in21k_ft_in1k"),
        ("resnet18", "resnet18.tv_in1k"),
        ("resnet50", "resnet50.tv_in1k"),
        ("hrnet18-small", "hrnet_w18_small_v2.ms_in1k"),
        ("swin-t", "swin_tiny_patch4_window7_224.ms_in1k"),
    ],
)
def test_published_weights_are_asked_for_by_name_and_loaded(
    name: str, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, published = timm.create_model, []

    def offline(model: str, pretrained: bool = False, **options: object) -> torch.nn.Module:
        net = create(model, **options)
        if pretrained:
            assert model == network
            published.append(scrambled(net))
        return net

    monkeypatch.setattr(timm, "create_model", offline)
    encoder = build_backbone(name, SIZE, "pretrained")
    [source] = published
    if name == "swin-t":
        theirs = swin_of_timm(encoder.state_dict())  # under timm's keys
        assert torch.equal(theirs.pop("norm3.weight"), source.norm.weight)
    else:
        theirs = {key.removeprefix("vit."): value for key, value in encoder.state_dict().items()}
    for key, value in theirs.items():
        if key != "pos_embed" and not re.match(r"norm\d", key):
            assert torch.equal(value, source.state_dict()[key]), key
    assert encoder.notes == ()


@pytest.mark.parametrize("name", ["vit-t16", "resnet18", "hrnet18-small", "swin-t"])
def test_published_weights_that_cannot_be_fetched_are_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def unreachable(model: str, pretrained: bool = False, **options: object) -> torch.nn.Module:
        if pretrained:
            raise OSError("no route to the hub\nand more")
        return create(model, **options)

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(MethodError, match=r"could not be fetched \(no route to the hub\); go online") as caught:
        build_backbone(name, SIZE, "pretrained")
    assert "\n" not in str(caught.value)
