"""Download of data sets where a direct link works; pages to visit where none does."""

import re
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from harness.data.archive import unpack
from harness.data.card import Card
from harness.data.locate import has_layout
from harness.errors import DataError, UsageError, described
from harness.progress import progress_bar

_TIMEOUT_S = 30
_CHUNK = 1 << 20
_DRIVE = re.compile(r"https://drive\.google\.com/(?:file/d/|open\?id=|uc\?(?:.*&)?id=)([\w-]+)")
"""Links to files on Google Drive, which answer with a page; their id is what `gdown` asks for."""


def fetch(card: Card, home: Path, *, build: str | None, archive: Path | None, say: Callable[[str], None]) -> Path:
    """Download and unpack a data set, or unpack an archive the user has downloaded.

    Args:
        card: The data set. Its terms must have been accepted by the user.
        home: Folder to contain the data set's folder.
        build: Which build to fetch; None for the card's first.
        archive: A downloaded archive; None to download.
        say: Receives lines on what is being done.

    Returns:
        The data set's folder.

    Raises:
        UsageError: there is no such build.
        DataError: nothing could be downloaded (the message names the pages to visit), or the archive is unusable.
    """
    for place in (home / name for name in card.roots):
        if has_layout(place, card):
            raise DataError(f"{place}: {card.title} is there already; check it with `harness data verify {card.name}`")
    if archive is not None:
        return unpack(archive, home, card)
    wanted = build or (card.archives[0].build if card.archives else None)
    offered = [candidate for candidate in card.archives if candidate.build == wanted]
    if not offered:
        builds = ", ".join(dict.fromkeys(held.build for held in card.archives)) or "none, it is rendered"
        raise UsageError(f"{card.name}: no archive of build {wanted!r}; published builds: {builds}")
    for candidate in offered:
        for link in candidate.links:
            drive = _DRIVE.match(link.url)
            if link.state == "dead" or not (link.direct or drive):
                continue
            target = home / "archives" / candidate.build / candidate.file
            try:
                say(f"downloading {link.url}")
                if drive:
                    download_from_drive(drive[1], target)
                else:
                    download(link.url, target)
            except DataError as error:
                say(str(error))
                continue
            try:
                root = unpack(target, home, card)
            except DataError:  # only a new download can mend that; a full disk, a UsageError, keeps the archive
                target.unlink()
                raise
            target.unlink()
            return root
    links = [(candidate.file, link) for candidate in offered for link in candidate.links]
    pages = "\n".join(f"  {file}: {link.url}" for file, link in links if link.state != "dead")
    dead = "".join(f"  dead: {link.url}\n" for _, link in links if link.state == "dead")
    raise DataError(
        f"{card.title}: no archive could be downloaded. Visit one of\n{pages}\n{dead}"
        f"and unpack what you get with `harness data fetch {card.name} --accept-terms --archive FILE`"
    )


def download_from_drive(number: str, target: Path) -> None:
    """Download a file from Google Drive with gdown; a broken download goes on where it stopped.

    Args:
        number: Id of the file on the drive.
        target: Where it goes; it appears when it is complete.

    Raises:
        DataError: gdown is not installed, or the drive does not give the file.
    """
    if target.is_file():
        return
    try:
        import gdown
    except ModuleNotFoundError as error:
        raise DataError("files on Google Drive need gdown: pip install 'mtl-harness[drive]'") from error
    partial = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        gdown.download(id=number, output=str(partial), quiet=True, resume=True)
    except Exception as error:  # it has kinds of its own, and passes on those of requests
        raise DataError(f"Google Drive, file {number}: {described(error)}; run again to go on") from error
    if not partial.is_file():
        raise DataError(f"Google Drive, file {number}: gave no file; try it in a browser")
    partial.replace(target)


def download(url: str, target: Path) -> None:
    """Download a file over https; a broken download goes on where it stopped.

    Args:
        url: Address of the file.
        target: Where it goes; it appears when it is complete.

    Raises:
        UsageError: the target's folder cannot be written.
        DataError: the server does not answer, answers with a page instead of a file, or breaks off.
    """
    if target.is_file():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{target.parent}: cannot be written ({error.strerror}); name another --data-root") from error
    partial = target.with_name(f"{target.name}.part")
    if partial.exists() and not partial.is_file():
        raise UsageError(f"{partial}: is in the way and no file; remove it")
    held = partial.stat().st_size if partial.is_file() else 0
    if not url.startswith("https://"):
        raise DataError(f"{url}: only https addresses are downloaded")
    # Ask for the rest of what an earlier try left; a server that cannot do that sends all of it.
    headers = {"Range": f"bytes={held}-"} if held else {}
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  # https was checked
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            if not response.url.startswith("https://"):
                raise DataError(f"{url}: redirects to {response.url}, which is not https")
            if response.headers.get_content_type() == "text/html":
                raise DataError(f"{url}: answers with a page, not with the archive")
            resumed = response.status == HTTPStatus.PARTIAL_CONTENT
            done = held if resumed else 0
            length = response.headers.get("Content-Length")
            total = done + int(length) if length else None
            with (
                partial.open("ab" if resumed else "wb") as file,
                progress_bar(target.name, total, done=done, unit="B") as report,
            ):
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    report(done)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the file on the server is another one now
            partial.unlink(missing_ok=True)
        raise DataError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise DataError(f"{url}: the download failed ({error}); run again to go on where it stopped") from error
    if total is not None and done != total:
        raise DataError(f"{url}: broke off after {done} of {total} bytes; run again to go on where it stopped")
    partial.replace(target)
