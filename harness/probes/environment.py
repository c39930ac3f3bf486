"""Machine and software of a measurement, and a stable id for them."""

import functools
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import harness
from harness.files import digest, sha256_of
from harness.probes.nvml import NvmlUnavailableError, open_gpu
from harness.records import Provenance, Software

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "scikit-image",
    "datasets",
    "pillow",
    "fvcore",
    "ptflops",
    "psutil",
    "nvidia-ml-py",
)

_PRESENTATION = ("cli", "report", "leaderboard", "gallery", "compare", "bench", "launch")
"""Rooms that show results or start runs and compute no result of a run."""

_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "LD_PRELOAD",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "OMP_WAIT_POLICY",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_NUM_THREADS",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""What is set of these changes which kernels run, on how many threads, or where memory comes from."""


def software() -> Software:
    """Return the version of the harness and the state of its source checkout."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    dirty = None if changes is None else bool(changes)
    return Software(version=harness.__version__, git_commit=commit, git_dirty=dirty, source=_source())


@functools.cache
def _source() -> str:
    """Return the sha256 over the files of the harness that may change a result of a run."""
    root = Path(__file__).resolve().parent.parent
    files = [path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in _PRESENTATION]
    return digest({path.relative_to(root).as_posix(): sha256_of(path) for path in files})


def command_line() -> list[str]:
    """Return the command that this process was started with; of the console script and ``python -m``, as one types it.

    Records hold it. In a process of the Python API it names the script.
    """
    program, *arguments = sys.argv or [""]
    return ["harness" if Path(program).name in ("harness", "harness.exe", "__main__.py") else program, *arguments]


def environment(device: torch.device | None = None) -> dict[str, Any]:
    """Return hardware, versions and settings as plain JSON values; unknown things are null.

    Args:
        device: The GPU to name; the first visible one where it is None or no GPU.
    """
    return {
        "os": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "cpu_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "memory_bytes": _memory_bytes(),
        **_gpu(device),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        # Settings of torch that change its speed or its arithmetic.
        "torch_threads": torch.get_num_threads(),
        "torch_interop_threads": torch.get_num_interop_threads(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def system_id(environment: dict[str, Any]) -> str:
    """Return a short id of the hardware; it is the same for every run on the same kind of machine."""
    hardware = {key: environment[key] for key in ("cpu", "cpu_count", "memory_bytes", "gpu", "gpu_memory_bytes")}
    hardware["memory_bytes"] = round((hardware["memory_bytes"] or 0) / 2**30)  # the kernel's share varies
    name = hardware["gpu"] or hardware["cpu"] or "unknown"
    slug = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
    return f"{slug[:40]}-{digest(hardware)[:8]}"


def provenance(device: torch.device | None = None) -> Provenance:
    """Return what a record that begins now says of its origin, on a device if one is used."""
    system = environment(device)
    return Provenance(datetime.now(UTC), software(), command_line(), system_id(system), system)


def _gpu(device: torch.device | None) -> dict[str, Any]:
    """Return the facts of a GPU; all is null without one, and the driver's view of it without NVML."""
    facts = dict.fromkeys(("gpu", "gpu_memory_bytes", "gpu_capability"))
    view = dict.fromkeys(("gpu_driver", "gpu_power_limit_watts", "gpu_persistence"))
    if not torch.cuda.is_available():
        return facts | view
    if device is None or device.type != "cuda":
        device = torch.device("cuda", 0)
    found = torch.cuda.get_device_properties(device)
    facts = {
        "gpu": found.name,
        "gpu_memory_bytes": found.total_memory,
        "gpu_capability": f"{found.major}.{found.minor}",
    }
    try:
        gpu = open_gpu(device)
    except NvmlUnavailableError:
        return facts | view
    limit, persistence = gpu.power_limit_watts(), gpu.persistence()
    return {**facts, "gpu_driver": gpu.driver(), "gpu_power_limit_watts": limit, "gpu_persistence": persistence}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    """Return the processor's name; Python alone knows the architecture on Linux, and no model."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or None
    lines = (line.partition(":") for line in info.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == "model name"), None)


def _memory_bytes() -> int | None:
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _git(*arguments: str) -> str | None:
    """Return what git answers about the checkout of the harness; None for an installed package, or without git."""
    root = Path(harness.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(root), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
