"""Keys and shapes of the references' state dicts, written out by formula from the descriptions of the networks.

Nothing here imports a network: tasks are given as ``{reference's name: channels}`` in the reference's order, and the
result maps every key, without counters of batches, to its shape.
"""

from collections.abc import Iterable, Mapping

Shapes = dict[str, tuple[int, ...]]
Tasks = Mapping[str, int]


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{key}": shape for key, shape in shapes.items()}


def joined(*parts: Shapes) -> Shapes:
    whole: Shapes = {}
    for part in parts:
        assert not whole.keys() & part.keys()
        whole |= part
    return whole


def conv(key: str, out: int, inputs: int, side: int = 1, bias: bool = True) -> Shapes:
    return {f"{key}.weight": (out, inputs, side, side)} | ({f"{key}.bias": (out,)} if bias else {})


def linear(key: str, out: int, inputs: int) -> Shapes:
    return {f"{key}.weight": (out, inputs), f"{key}.bias": (out,)}


def norm(key: str, channels: int) -> Shapes:
    return {f"{key}.{name}": (channels,) for name in ("weight", "bias")}


def batch_norm(key: str, channels: int) -> Shapes:
    return {f"{key}.{name}": (channels,) for name in ("weight", "bias", "running_mean", "running_var")}


def mlp(key: str, out: int, hidden: int, inputs: int) -> Shapes:
    return linear(f"{key}.fc1", hidden, inputs) | linear(f"{key}.fc2", out, hidden)


def vit(width: int, depth: int, tokens: int, patch: int = 16) -> Shapes:
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, 1 + tokens, width)}
    shapes |= conv("patch_embed.proj", width, 3, patch) | norm("norm", width)
    for block in (f"blocks.{number}" for number in range(depth)):
        shapes |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        shapes |= linear(f"{block}.attn.qkv", 3 * width, width) | linear(f"{block}.attn.proj", width, width)
        shapes |= mlp(f"{block}.mlp", width, 4 * width, width)
    return shapes


def invpt_decoder(tasks: Tasks, channels: int, features: int, wide: int) -> Shapes:
    """All but encoder and ``scale_embed``: features are 512 wide and the first stage 576 as published."""
    count, stages = len(tasks), (wide, wide // 2, wide // 4)
    shapes: Shapes = {}
    for key, out in tasks.items():
        preliminary = f"multi_task_decoder.preliminary_decoder.{key}"
        for number, width in enumerate((channels, features)):
            shapes |= conv(f"{preliminary}.{number}.conv", width, channels, 3, bias=False)
            shapes |= batch_norm(f"{preliminary}.{number}.bn1", width)
        shapes |= conv(f"multi_task_decoder.intermediate_head.{key}", out, features)
        shapes |= conv(f"multi_task_decoder.invpt.mix_proj.{key}.0", wide, features + out)
        shapes |= conv(f"multi_task_decoder.invpt.mt_proj.{key}.0", wide, wide, 3)
        shapes |= batch_norm(f"multi_task_decoder.invpt.mt_proj.{key}.1", wide)
        shapes |= conv(f"heads.{key}.linear_pred", out, wide)
    pyramid: Shapes = norm("norm_mt", count * stages[-1])
    for level, width in enumerate(stages):
        pyramid |= norm(f"norm_mts.{level}", count * width)
        block = f"invpt_stages.{level}.blocks.0"
        pyramid |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        pyramid |= mlp(f"{block}.mlp", width, 4 * width, width)
        for name in ("proj_q", "proj_k", "proj_v", "proj"):
            pyramid |= linear(f"{block}.attn.{name}", width, width)
        pyramid |= conv(f"{block}.attn.fuse_attn", 2, 4)
        for index in range(count):
            pyramid |= conv(f"redu_chan.{level}.{index}", wide, width)
            query = f"{block}.attn.conv_proj_q.{index}"
            pyramid |= {f"{query}.conv.weight": (width, 1, 3, 3)} | batch_norm(f"{query}.bn", width)
            if level:
                embed = f"invpt_stages.{level}.patch_embed.{index}.proj"
                pyramid |= conv(f"{embed}.1", width, stages[level - 1], 3, bias=False) | batch_norm(f"{embed}.2", width)
                pyramid |= conv(f"{embed}.4", width, width, 3, bias=False) | batch_norm(f"{embed}.5", width)
    return joined(shapes, under("multi_task_decoder.invpt", pyramid))


def invpt_on_vit(tasks: Tasks, encoder: Shapes, channels: int, features: int, wide: int) -> Shapes:
    embed = "multi_task_decoder.scale_embed"
    skips = {f"{embed}.0.weight": (channels, wide // 4, 3, 3), f"{embed}.0.bias": (wide // 4,)}  # transposed
    skips |= conv(f"{embed}.1", wide // 2, channels, 3) | conv(f"{embed}.2", wide, channels, 3)
    return joined(under("backbone", encoder), skips, invpt_decoder(tasks, channels, features, wide))


def invpt_on_swin(tasks: Tasks, encoder: Shapes, channels: int, features: int, wide: int) -> Shapes:
    embed = "multi_task_decoder.scale_embed"
    skips = conv(f"{embed}.0", wide // 4, channels // 4, 3) | conv(f"{embed}.1", wide // 2, channels // 2, 3)
    return joined(under("backbone", encoder), skips, invpt_decoder(tasks, channels, features, wide))


def tsp(tasks: Tasks, encoder: Shapes, channels: int, features: int, wide: int, layers: int) -> Shapes:
    """InvPT with five prompts of every task for ``layers`` blocks of the encoder."""
    initials = {"semseg": "S", "depth": "D", "human_parts": "P", "sal": "Sa", "normals": "N", "edge": "E"}
    prompts = {f"backbone.{initials.get(key, key)}Prompt_Tokens": (layers, 5, channels) for key in tasks}
    return joined(invpt_on_vit(tasks, encoder, channels, features, wide), prompts)


def swin_stack(channels: int, heads: int = 4) -> Shapes:
    shapes = conv("patch_embed.proj", channels, channels, 4) | norm("patch_embed.norm", channels)
    shapes |= norm("norm0", channels)
    for block in ("layers.0.blocks.0", "layers.0.blocks.1"):
        shapes |= norm(f"{block}.norm1", channels) | norm(f"{block}.norm2", channels)
        shapes |= {f"{block}.attn.relative_position_bias_table": (13 * 13, heads)}
        shapes |= {f"{block}.attn.relative_position_index": (49, 49)}
        shapes |= linear(f"{block}.attn.qkv", 3 * channels, channels)
        shapes |= linear(f"{block}.attn.proj", channels, channels)
        shapes |= mlp(f"{block}.mlp", channels, 4 * channels, channels)
    return shapes


def cross_task_stack(channels: int, count: int, heads: int = 4) -> Shapes:
    shapes = norm("norm0", channels)
    widths = [channels, *[channels // max(count - 1, 1)] * (count - 1)]
    for block in ("layers.0.blocks.0", "layers.0.blocks.1"):
        shapes |= norm(f"{block}.norm1", channels) | norm(f"{block}.norm2", channels)
        shapes |= {f"{block}.attn1.relative_position_bias_table": (13 * 13, heads)}
        shapes |= {f"{block}.attn1.relative_position_index": (49, 49)}
        shapes |= linear(f"{block}.attn1.qkv", 2 * channels, channels)
        shapes |= linear(f"{block}.attn1.qkv2", channels, channels) | linear(f"{block}.attn1.proj", channels, channels)
        for number, width in enumerate(widths, 1):
            shapes |= mlp(f"{block}.mlp3{number}", width, count * channels, channels)
        shapes |= mlp(f"{block}.mlp3", channels, count * channels, sum(widths))
        shapes |= mlp(f"{block}.mlp2", channels, 4 * channels, channels)
    return shapes


def mtformer(tasks: Tasks, encoder: Shapes, encoder_channels: int, channels: int) -> Shapes:
    count, keys = len(tasks), tuple(tasks)
    banks = {("semseg", "depth"): 795, ("semseg", "human_parts", "sal"): 4998}.get(keys)
    names = [(f"transformer4_{n}", f"transformer5_{n}") for n in range(1, count + 1)]
    if keys == ("semseg", "depth"):
        names = [("transformer4", "transformer6"), ("transformer5", "transformer7")]
    shapes: Shapes = {"log_var_list": (count,)} | conv("decoder", channels, encoder_channels)
    shapes |= under("transformer1", swin_stack(channels))
    for number, (key, (private, cross)) in enumerate(zip(keys, names, strict=True), 1):
        shapes |= under(private, swin_stack(channels)) | under(cross, cross_task_stack(channels, count))
        project = f"project{number}"
        if key == "depth":
            shapes |= conv(f"{project}.0", channels // 2, channels) | conv(f"{project}.4", 1, channels // 8)
            shapes |= conv(f"{project}.2", channels // 8, channels // 2)
        else:
            shapes |= conv(f"{project}.0", channels, channels, bias=False) | batch_norm(f"{project}.1", channels)
            shapes |= conv(f"{project}.3", tasks[key], channels)
        if banks is not None:
            shapes |= linear(f"mapping{number}.0", 128, channels) | linear(f"mapping{number}.2", 128, 128)
            for other in range(number + 1, count + 1):
                bank = f"contrast{number}{other}"
                shapes |= {f"{bank}.params": (5,), f"{bank}.memory_l": (banks, 128), f"{bank}.memory_ab": (banks, 128)}
    return joined(shapes, under("backbone", encoder))


def mtlora(
    tasks: Tasks, depths: tuple[int, ...], heads: tuple[int, ...], size: tuple[int, int], width: int, patch: Shapes,
    channels: tuple[int, ...], ranks: tuple[int, int], plus: bool,
) -> Shapes:  # fmt: skip
    """An adapted Swin without norms of its levels, whose last blocks have factors of every task, and the decoders."""
    shared, own = ranks
    rows, columns = (-(-side // 4) for side in size)
    shapes = under("backbone.patch_embed", patch)

    def adapted(key: str, out: int, inputs: int, of_tasks: bool, bias: bool = True) -> Shapes:
        layer = {f"{key}.linear.weight": (out, inputs)} | ({f"{key}.linear.bias": (out,)} if bias else {})
        layer |= {f"{key}.lora_shared_A": (shared, inputs), f"{key}.lora_shared_B": (out, shared)}
        for task in tasks if of_tasks else ():
            layer |= {f"{key}.lora_tasks_A.{task}": (own, inputs), f"{key}.lora_tasks_B.{task}": (out, own)}
        return layer

    for level, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        c = width << level
        for number in range(depth):
            block, last = f"backbone.layers.{level}.blocks.{number}", number == depth - 1
            shapes |= norm(f"{block}.norm1", c) | norm(f"{block}.norm2", c)
            shapes |= {f"{block}.attn.relative_position_bias_table": (13 * 13, count)}
            shapes |= {f"{block}.attn.relative_position_index": (49, 49)}
            shapes |= adapted(f"{block}.attn.qkv", 3 * c, c, of_tasks=False)
            shapes |= adapted(f"{block}.attn.proj", c, c, last)
            shapes |= adapted(f"{block}.mlp.fc1", 4 * c, c, last) | adapted(f"{block}.mlp.fc2", c, 4 * c, last)
            if number % 2 and min(rows, columns) > 7:
                shapes |= {f"{block}.attn_mask": (-(-rows // 7) * -(-columns // 7), 49, 49)}
        if level < 3:
            merging = f"backbone.layers.{level}.downsample"
            shapes |= norm(f"{merging}.norm", 4 * c)
            if plus:
                shapes |= adapted(f"{merging}.reduction", 2 * c, 4 * c, of_tasks=False, bias=False)
            else:
                shapes |= {f"{merging}.reduction.weight": (2 * c, 4 * c)}
        rows, columns = -(-rows // 2), -(-columns // 2)
    total = sum(channels)
    for task, out in tasks.items():
        for level, (narrow, times) in enumerate(zip(channels, (2, 4, 8, 8), strict=True)):
            shapes |= {f"downsampler.{task}.downsample_{level}.weight": (narrow, times * width, 1, 1)}
        layers = f"decoders.decoders.{task}.last_layer"
        shapes |= conv(f"{layers}.0", 4 * total, total) | batch_norm(f"{layers}.1", 4 * total)
        shapes |= conv(f"{layers}.3", out, 4 * total)
    return shapes


def conv_norm(key: str, out: int, inputs: int, side: int = 1) -> Shapes:
    return conv(f"{key}.conv", out, inputs, side, bias=False) | batch_norm(f"{key}.bn", out)


def atrc(tasks: Tasks, encoder: Shapes, channels: int, kinds: Mapping[str, Mapping[str, int]]) -> Shapes:
    """Contexts are 0 none, 1 global, 3 and 4 regions of the target's and of the source's labels."""
    shapes, narrow = under("backbone", encoder), channels // 4
    inner = narrow // 2
    coarse = {"depth": 40, "normals": 40, "edge": 2}
    labelled = {
        target if kind == 3 else source for target in tasks for source, kind in kinds[target].items() if kind in (3, 4)
    }
    for target, out in tasks.items():
        shapes |= conv_norm(f"head.bottleneck.{target}", narrow, channels, 3)
        shapes |= conv(f"head.final_logits.{target}", out, narrow)
        if target in labelled:
            shapes |= conv_norm(f"head.aux_conv.{target}", channels, channels)
            shapes |= conv(f"head.aux_logits.{target}", coarse.get(target, out), channels)
        sources = [source for source, kind in kinds[target].items() if kind]
        for source in sources:
            block = f"head.atrc_module.cp_blocks.{target}.{source}"
            for name in ("query_project", "key_project"):
                shapes |= conv_norm(f"{block}.{name}.0", inner, narrow) | conv_norm(f"{block}.{name}.1", inner, inner)
            shapes |= conv_norm(f"{block}.value_project", inner, narrow)
        if sources:
            shapes |= conv_norm(f"head.atrc_module.out_proj.{target}", narrow, inner * len(sources))
        width = 2 * narrow if sources else narrow
        shapes |= conv_norm(f"head.atrc_module.bottleneck.{target}.0", narrow, width)
    return shapes


def basic_block(key: str, out: int, inputs: int, project: bool = False) -> Shapes:
    shapes = conv(f"{key}.conv1", out, inputs, 3, bias=False) | batch_norm(f"{key}.bn1", out)
    shapes |= conv(f"{key}.conv2", out, out, 3, bias=False) | batch_norm(f"{key}.bn2", out)
    return shapes | shortcut(key, out, inputs, project)


def bottleneck(key: str, out: int, inputs: int) -> Shapes:
    inner = out // 4
    shapes = conv(f"{key}.conv1", inner, inputs, bias=False) | batch_norm(f"{key}.bn1", inner)
    shapes |= conv(f"{key}.conv2", inner, inner, 3, bias=False) | batch_norm(f"{key}.bn2", inner)
    shapes |= conv(f"{key}.conv3", out, inner, bias=False) | batch_norm(f"{key}.bn3", out)
    return shapes | shortcut(key, out, inputs)


def shortcut(key: str, out: int, inputs: int, project: bool = False) -> Shapes:
    if out == inputs and not project:
        return {}
    return conv(f"{key}.downsample.0", out, inputs, bias=False) | batch_norm(f"{key}.downsample.1", out)


def distillation(targets: Iterable[str], sources: Iterable[str], channels: int) -> Shapes:
    senders = tuple(sources)
    shapes: Shapes = {}
    for target in targets:
        for source in senders:
            if source != target:
                pair = f"self_attention.{target}.{source}"
                shapes |= conv(f"{pair}.attention.0", channels, channels, 3, bias=False)
                shapes |= conv(f"{pair}.conv", channels, channels, 3, bias=False)
    return shapes


def high_resolution_head(key: str, out: int, channels: int) -> Shapes:
    shapes = conv(f"{key}.last_layer.0", channels, channels) | batch_norm(f"{key}.last_layer.1", channels)
    return shapes | conv(f"{key}.last_layer.3", out, channels)


def mti_net(tasks: Tasks, auxiliary: Tasks, encoder: Shapes, widths: tuple[int, int, int, int]) -> Shapes:
    count = len(auxiliary)
    shapes = under("backbone", encoder)
    for scale, width in enumerate(widths):
        inputs = width + widths[scale + 1] if scale < 3 else width
        for key, out in auxiliary.items():
            refinement = f"scale_{scale}.refinement.{key}"
            shapes |= basic_block(f"{refinement}.0", width, inputs) | basic_block(f"{refinement}.1", width, width)
            shapes |= conv(f"scale_{scale}.decoders.{key}", out, width)
        shapes |= under(f"distillation_scale_{scale}", distillation(tasks, auxiliary, width))
        if scale:
            propagation, together = f"fpm_scale_{scale}", count * width
            narrow = together // 4
            shapes |= basic_block(f"{propagation}.non_linear.0", narrow, together, project=True)
            shapes |= basic_block(f"{propagation}.non_linear.1", narrow, narrow)
            shapes |= conv(f"{propagation}.non_linear.2", together, narrow)
            shapes |= basic_block(f"{propagation}.dimensionality_reduction", width, together, project=True)
            for key in auxiliary:
                squeeze = f"{propagation}.se.{key}.squeeze"
                shapes |= linear(f"{squeeze}.0", width // 16, width) | linear(f"{squeeze}.2", width, width // 16)
    for key, out in tasks.items():
        shapes |= high_resolution_head(f"heads.{key}", out, sum(widths))
    return shapes


def pad_net(tasks: Tasks, auxiliary: Tasks, encoder: Shapes, channels: int, width: int) -> Shapes:
    shapes = under("backbone.0", encoder) | conv("backbone.1.last_layer.0", channels, channels)
    shapes |= batch_norm("backbone.1.last_layer.1", channels)
    for key, out in auxiliary.items():
        layers = f"initial_task_prediction_heads.layers.{key}"
        shapes |= bottleneck(f"{layers}.0", width, channels) | bottleneck(f"{layers}.1", width, width)
        shapes |= conv(f"initial_task_prediction_heads.conv_out.{key}", out, width)
    shapes |= under("multi_modal_distillation", distillation(tasks, auxiliary, width))
    for key, out in tasks.items():
        shapes |= bottleneck(f"heads.{key}.0", width, width) | bottleneck(f"heads.{key}.1", width, width)
        shapes |= conv(f"heads.{key}.2", out, width)
    return shapes


def deeplab_head(key: str, out: int, channels: int) -> Shapes:
    width = min(256, channels // 2)
    shapes = conv(f"{key}.0.convs.0.0", width, channels, bias=False) | batch_norm(f"{key}.0.convs.0.1", width)
    for branch in (1, 2, 3):
        shapes |= conv(f"{key}.0.convs.{branch}.0", width, channels, 3, bias=False)
        shapes |= batch_norm(f"{key}.0.convs.{branch}.1", width)
    shapes |= conv(f"{key}.0.convs.4.1", width, channels, bias=False) | batch_norm(f"{key}.0.convs.4.2", width)
    shapes |= conv(f"{key}.0.project.0", width, 5 * width, bias=False) | batch_norm(f"{key}.0.project.1", width)
    shapes |= conv(f"{key}.1", width, width, 3, bias=False) | batch_norm(f"{key}.2", width)
    return shapes | conv(f"{key}.4", out, width)


def parallel(tasks: Tasks, encoder: Shapes, channels: int) -> Shapes:
    """One encoder and head per task, which cross-stitch networks and NDDR-CNN have in common."""
    shapes: Shapes = {}
    for key, out in tasks.items():
        shapes |= under(f"backbone.{key}", encoder) | deeplab_head(f"heads.{key}", out, channels)
    return shapes


def cross_stitch(tasks: Tasks, encoder: Shapes, stages: tuple[int, ...]) -> Shapes:
    units = {
        f"cross_stitch.layer{stage}.cross_stitch_unit.{one}.{other}.param": (width,)
        for stage, width in enumerate(stages, 1)
        for one in tasks
        for other in tasks
    }
    return joined(parallel(tasks, encoder, stages[-1]), units)


def nddr_cnn(tasks: Tasks, encoder: Shapes, stem: int, stages: tuple[int, ...]) -> Shapes:
    shapes = parallel(tasks, encoder, stages[-1])
    names = ("conv", "layer1_without_conv", "layer2", "layer3", "layer4")
    for name, width in zip(names, (stem, *stages), strict=True):
        for key in tasks:
            layer = f"nddr.{name}.layer.{key}"
            shapes |= conv(f"{layer}.0", width, len(tasks) * width, bias=False) | batch_norm(f"{layer}.1", width)
    return shapes


def mtan(tasks: Tasks, encoder: Shapes, stages: tuple[int, ...]) -> Shapes:
    shapes = under("backbone", encoder)
    for stage, width in enumerate(stages, 1):
        for key in tasks:
            mask = f"attention_{stage}.{key}"
            shapes |= conv(f"{mask}.0", width // 4, width if stage == 1 else 2 * width)
            shapes |= batch_norm(f"{mask}.1", width // 4)
            shapes |= conv(f"{mask}.3", width, width // 4) | batch_norm(f"{mask}.4", width)
        if stage < len(stages):
            shapes |= bottleneck(f"refine_{stage}.0", stages[stage], width)
    for key, out in tasks.items():
        shapes |= deeplab_head(f"heads.{key}", out, stages[-1])
    return shapes


def conv_head(key: str, out: int, channels: int) -> Shapes:
    shapes = conv(f"{key}.mt_proj.0", channels, channels, 3) | batch_norm(f"{key}.mt_proj.1", channels)
    return shapes | conv(f"{key}.linear_pred", out, channels)


def patch_tokens(encoder: Shapes) -> Shapes:
    """A ViT without class token, whose position embeddings keep its slot."""
    return under("backbone", {key: shape for key, shape in encoder.items() if key != "cls_token"})


def taskprompter(tasks: Tasks, encoder: Shapes, heads: int, inner: int, wide: int, mixed: bool) -> Shapes:
    _, tokens, width = encoder["pos_embed"]
    blocks = {key.split(".")[1] for key in encoder if key.startswith("blocks.")}
    shapes: Shapes = {"backbone.task_prompts": (len(tasks), width)}
    for block in blocks:
        attention = f"backbone.blocks.{block}.attn"
        shapes |= linear(f"{attention}.token_trans", tokens - 1, width)
        shapes |= linear(f"{attention}.token_trans1", width, tokens - 1)
    for key, out in tasks.items():
        for level in range(4):
            for kind in ("spa", "chan"):
                shapes |= conv(f"backbone.fea_decode_{kind}.{level}.{key}.0", inner, width)
            fuse = f"backbone.fea_fuse.{level}.{key}"
            shapes |= conv(f"{fuse}.0", wide, 2 * inner) | conv(f"{fuse}.1", wide, wide, 3)
            shapes |= batch_norm(f"{fuse}.2", wide) | conv(f"{fuse}.4", wide, wide)
            if mixed:
                mixer = f"backbone.ctr_attn_conv.{level}.{key}"
                shapes |= conv(f"{mixer}.0", heads, heads) | conv(f"{mixer}.2", 1, heads)
        shapes |= conv_head(f"heads.{key}", out, wide)
    return joined(patch_tokens(encoder), shapes)


def low_rank(key: str, channels: int, rank: int) -> Shapes:
    return conv(f"{key}.W", rank, channels, 3) | conv(f"{key}.M", channels, rank)


def mlore(tasks: Tasks, encoder: Shapes, wide: int, ranks: Iterable[int], own_rank: int, dead: bool) -> Shapes:
    _, tokens, width = encoder["pos_embed"]
    quarter, ranks = wide // 4, tuple(ranks)
    shapes: Shapes = {}
    for level in range(4):
        shapes |= conv(f"backbone.fea_fuse.{level}", wide, width)
        for mixture in (f"backbone.MLoRE_1.{level}", f"backbone.MLoRE_2.{level}"):
            shapes |= conv(f"{mixture}.share_conv", wide, wide, 3)
            for number, rank in enumerate(ranks):
                shapes |= low_rank(f"{mixture}.lora_list_1.{number}", wide, rank)
            for key in tasks:
                shapes |= conv(f"{mixture}.conv1.{key}", wide, wide) | conv(f"{mixture}.conv3.{key}", wide, wide)
                shapes |= low_rank(f"{mixture}.conv2.{key}", wide, own_rank)
                shapes |= batch_norm(f"{mixture}.bn.{key}", wide) | batch_norm(f"{mixture}.bn_all.{key}", wide)
                router = f"{mixture}.router_1.{key}"
                shapes |= conv(f"{router}.0.conv1", quarter, wide) | norm(f"{router}.0.ln", quarter)
                shapes |= linear(f"{router}.0.convsp", 1, tokens - 1) | norm(f"{router}.0.ln_sp", wide)
                shapes |= conv(f"{router}.0.conv2", quarter, wide) | conv(f"{router}.0.conv3", quarter, quarter)
                shapes |= conv(f"{router}.1", 2 * len(ranks) + 1, wide // 2)
    for key, out in tasks.items():
        mask = f"backbone.task_mask.{key}"
        shapes |= conv(f"{mask}.0", wide, 4 * wide) | batch_norm(f"{mask}.1", wide) | conv(f"{mask}.3", 4, wide, 3)
        shapes |= conv_head(f"heads.{key}", out, wide)
        if dead:
            shapes |= conv(f"backbone.q_fuse.{key}", wide, 4 * wide) | conv_head(f"aux_heads.{key}", out, wide)
    if dead:
        for number in (1, 2):
            shapes |= conv(f"backbone.classify_route_{number}", len(tasks), wide // 2)
    return joined(patch_tokens(encoder), shapes)


def sak(tasks: Tasks, encoder: Shapes, teachers: Mapping[str, int], ratio: int, noisy: bool, aligner: bool) -> Shapes:
    *_, width = encoder["pos_embed"]
    depth = len({key.split(".")[1] for key in encoder if key.startswith("blocks.")})
    taps = [depth // 4 * number - 1 for number in (1, 2, 3, 4)]
    shapes = under("backbone.vit", {key: shape for key, shape in encoder.items() if not key.startswith("norm.")})
    for teacher, channels in teachers.items():
        for number in range(depth + 1):
            adapter = f"backbone.tsap.{teacher}.{number}"
            shapes |= {f"{adapter}.scale": (1,)}
            shapes |= linear(f"{adapter}.down", width // ratio, width) | linear(f"{adapter}.up", width, width // ratio)
        for tap in taps:
            shapes |= norm(f"backbone.out_norms.{tap}_{teacher}", width)
            if aligner:
                shapes |= linear(f"backbone.ts_aligners.{tap}_{teacher}", channels, width)
    sources = 1 + len(teachers)
    for key, out in tasks.items():
        for tap in taps:
            router = f"backbone.mor.{tap}_{key}.router.module"
            shapes |= linear(f"{router}.0", width // 2, width) | norm(f"{router}.1", width // 2)
            shapes |= linear(f"{router}.3", 2 * sources if noisy else sources, width // 2)
        for number in range(4):
            shapes |= linear(f"heads.{key}.linears.{number}", width // 4, width)
        fuse = f"heads.{key}.linear_fuse"
        shapes |= conv(f"{fuse}.0", width, width, 3) | batch_norm(f"{fuse}.1", width)
        shapes |= conv(f"heads.{key}.last_conv", out, width)
    return shapes
