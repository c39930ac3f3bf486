"""Writes a site in one step, over an older one of its own and over nothing else."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.errors import UsageError

MANIFEST = "site.json"
"""Lists the files of a site, so that a later build knows what it may replace."""

_GENERATOR = "harness leaderboard"


def write_site(files: Iterable[tuple[str, bytes]], output: Path) -> int:
    """Write files into a folder beside ``output`` and swap the two; return the number of files.

    Args:
        files: Path below the site and content of each.
        output: Folder of the site: new, empty, or an older site of which nothing was added to by others.

    Raises:
        UsageError: ``output`` holds files that are not a site's.
    """
    check_output(output)
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (output.with_name(f".{output.name}.{os.getpid()}.{state}") for state in ("new", "old"))
    try:
        names = _write(files, fresh)
        if output.exists():
            output.replace(old)
        fresh.replace(output)
    except BaseException:
        if old.exists() and not output.exists():
            old.replace(output)
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return len(names)


def check_output(output: Path) -> None:
    """Refuse a folder that a site must not replace.

    Raises:
        UsageError: it holds files that are not a site's.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise UsageError(f"-o {output}: it is a file; give a folder")
    present = {path.relative_to(output).as_posix() for path in output.rglob("*") if not path.is_dir()}
    strangers = sorted(present - {MANIFEST, *_listed(output)})
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        raise UsageError(f"-o {output}: holds {strangers[0]}{more}, no file of a site; give an empty or new folder")


def _listed(output: Path) -> list[str]:
    try:
        manifest = json.loads((output / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(manifest, dict) or manifest.get("generator") != _GENERATOR:
        return []
    return [name for name in manifest.get("files", []) if isinstance(name, str)]


def _write(files: Iterable[tuple[str, bytes]], folder: Path) -> list[str]:
    names = []
    for name, content in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        names.append(name)
    manifest = {"generator": _GENERATOR, "files": sorted(names)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return names
