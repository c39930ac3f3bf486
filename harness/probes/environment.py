"""The machine and software a figure was measured on, and a stable id for them."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import harness
from harness.config import digest
from harness.records import Software

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-image", "datasets", "pillow")


def software() -> Software:
    """Return the version of the harness and the state of its source checkout."""
    return Software(version=harness.__version__, git_commit=_git("rev-parse", "HEAD"), git_dirty=_dirty())


def environment() -> dict[str, Any]:
    """Return hardware, versions and settings as plain JSON values; unknown things are null."""
    return {
        "os": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "gpu_memory_bytes": (torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def system_id(environment: dict[str, Any]) -> str:
    """Return a short id of the hardware; it is the same for every run on the same kind of machine."""
    hardware = {key: environment[key] for key in ("cpu", "cpu_count", "memory_bytes", "gpu", "gpu_memory_bytes")}
    hardware["memory_bytes"] = round((hardware["memory_bytes"] or 0) / 2**30)  # the kernel's share varies
    name = hardware["gpu"] or hardware["cpu"] or "unknown"
    slug = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
    return f"{slug[:40]}-{digest(hardware)[:8]}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
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


def _dirty() -> bool | None:
    status = _git("status", "--porcelain", "--untracked-files=no")
    return None if status is None else bool(status)
