"""Pretrain the small encoders of this project on rendered scenes that no benchmark holds.

One encoder, a head for every task it is taught, batches of rooms and of snapshots by turns. The tasks `parts` and
`saliency` are left out, so that what the start gives to tasks it was not taught can be measured.

    python benchmarks/pretrain_encoders.py vit-micro --out harness/backbones/own
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from harness.backbones import build_backbone
from harness.baselines.common.tasks import head_for, key_of
from harness.data.augment import Augmentation, TrainTransform
from harness.data.loading import train_batches
from harness.data.open import open_data
from harness.data.sample import Batch
from harness.protocol import Protocol
from harness.registry import load_dataset
from harness.tasks import build_task
from harness.training.loop import task_losses

SEED = 700_001
"""Of the scenes; the default sets have seed 0, and no scene depends on any other."""

SCENES = {"nyud-synth": 3200, "pascal-synth": 2000}
TAUGHT = {"nyud-synth": ("semseg", "depth", "normals", "boundary"), "pascal-synth": ("semseg", "normals", "boundary")}
SIZE = (112, 144)
BATCH, WARMUP, DECAY, CLIP = 8, 60, 0.05, 5.0
ENCODER_LR, HEAD_LR = 1.5e-3, 4e-3
LARGEST = 5_000_000
"""Bytes of a file; weights that are larger in float32 are stored in float16."""


def main() -> None:
    """Train one encoder and write its weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--scenes", type=Path, help="Folder of rendered scenes; made when it is missing.")
    parser.add_argument("--out", type=Path, default=Path("harness/backbones/own"))
    given = parser.parse_args()
    torch.set_num_threads(1)  # sums in a fixed order
    torch.manual_seed(1)
    # 1. The encoder and its heads.
    encoder = build_backbone(given.backbone, SIZE)
    scenes = given.scenes or Path(tempfile.mkdtemp())
    streams: dict[str, Iterator[Batch]] = {}
    subjects, heads = {}, nn.ModuleDict()
    for name, taught in TAUGHT.items():
        dataset = load_dataset(name)
        if not (scenes / name).is_dir():
            dataset.write(scenes / name, seed=SEED, train=SCENES[name], val=1)
        data = open_data(dataset, scenes / name, taught, Protocol.profile("invpt", {}), None, training=True)
        heads[name] = nn.ModuleDict({key_of(spec.name): head_for(spec, encoder, SIZE) for spec in data.problem})
        subjects[name] = {spec.name: build_task(spec) for spec in data.problem}
        transform = TrainTransform(SIZE, Augmentation.light(), taught)
        streams[name] = train_batches(data.train, transform, BATCH, seed=1, start=0, stop=given.steps // 2)
    # 2. Training, the sets by turns.
    model = nn.ModuleDict({"encoder": encoder, "heads": heads})
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = HEAD_LR if name.startswith("heads.") else ENCODER_LR
        groups.setdefault((rate, DECAY if parameter.ndim > 1 else 0.0), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": held, "peak": rate, "weight_decay": decay} for (rate, decay), held in groups.items()], fused=True
    )
    begun = time.process_time()
    for step in range(given.steps // 2 * 2):
        name = list(TAUGHT)[step % 2]
        batch = next(streams[name])
        features = encoder(batch.images)
        predictions = {task: heads[name][key_of(task)](features) for task in subjects[name]}
        losses = task_losses(predictions, batch, subjects[name])
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _factor(step, given.steps)
        optimizer.zero_grad(set_to_none=True)
        torch.stack([subjects[name][task].weight * loss for task, loss in losses.items()]).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if step % 200 < 2:
            print(step, name, {task: round(loss.item(), 3) for task, loss in losses.items()}, flush=True)
    # 3. The file.
    save(encoder, given.out / f"{given.backbone}.safetensors")
    print(f"{(time.process_time() - begun) / 60:.1f} minutes of CPU")


def _factor(step: int, steps: int) -> float:
    """Return the learning rate of a step as a factor of the peak: a warm-up, then half a cosine."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP))) / 2


def save(encoder: nn.Module, path: Path) -> None:
    """Write the weights of an encoder, without the buffers that it makes itself."""
    made = ("attn_mask", "relative_position_index")
    network = getattr(encoder, "vit", encoder)
    state = {key: value.contiguous() for key, value in network.state_dict().items() if not key.endswith(made)}
    if sum(value.numel() * value.element_size() for value in state.values()) > LARGEST:
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_file(state, path, {"format": "pt"})
    path.chmod(0o644)


if __name__ == "__main__":
    main()
