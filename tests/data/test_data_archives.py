"""Archives unpack whole or not at all and never outside; downloads resume."""

import io
import shutil
import stat
import tarfile
import urllib.error
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from harness.data import fetch as fetch_module
from harness.data.archive import unpack
from harness.data.card import load_card
from harness.data.fetch import download, fetch
from harness.errors import DataError, UsageError

CARD = load_card("nyud")
GOOD = {"NYUDv2/gt_sets/val.txt": b"0001\n", "NYUDv2/images/0001.png": b"png"}


def make_tar(path, members=GOOD, mode="w:gz", special=()):
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in special:
            tar.addfile(info)
    return path


def make_zip(path, members=GOOD):
    with zipfile.ZipFile(path, "w") as held:
        for name, content in members.items():
            held.writestr(name, content)
    return path


def left_behind(home):
    return sorted(path.name for path in home.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize(
    "make", [lambda p: make_tar(p / "a.tgz"), lambda p: make_tar(p / "a", mode="w"), lambda p: make_zip(p / "a.zip")]
)
def test_archives_unpack_to_the_data_set_s_folder(tmp_path, make):
    home = tmp_path / "home"
    assert unpack(make(tmp_path), home, CARD) == home / "NYUDv2"
    for name, content in GOOD.items():
        assert (home / name).read_bytes() == content
    assert left_behind(home) == ["NYUDv2"]


@pytest.mark.parametrize("prefix", ["", "./", "other/"])
def test_a_folder_of_another_name_gets_the_known_one(tmp_path, prefix):
    members = {name.replace("NYUDv2/", prefix): content for name, content in GOOD.items()}
    assert unpack(make_tar(tmp_path / "a.tgz", members), tmp_path / "home", CARD) == tmp_path / "home" / "NYUDv2"
    assert (tmp_path / "home/NYUDv2/images/0001.png").is_file()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("members", "links"),
    [
        ({"/tmp/evil": b"x"}, ()),
        ({"../evil": b"x"}, ()),
        ({"NYUDv2/../../evil": b"x"}, ()),
        ({"..\\evil": b"x"}, ()),
        ({"C:\\evil": b"x"}, ()),
        ({}, [special("NYUDv2/link", tarfile.SYMTYPE, "/etc/passwd")]),
        ({}, [special("NYUDv2/link", tarfile.SYMTYPE, "images")]),
        ({}, [special("NYUDv2/link", tarfile.LNKTYPE, "NYUDv2/images/0001.png")]),
        ({}, [special("NYUDv2/pipe", tarfile.FIFOTYPE)]),
        ({}, [special("NYUDv2/device", tarfile.CHRTYPE)]),
    ],
)
def test_dangerous_tars_are_refused(tmp_path, members, links):
    home = tmp_path / "a" / "home"
    archive = make_tar(tmp_path / "a.tgz", GOOD | members, special=links)
    with pytest.raises(DataError, match="not unpacked"):
        unpack(archive, home, CARD)
    assert left_behind(home) == []
    assert not list(tmp_path.rglob("evil"))


def test_dangerous_zips_are_refused(tmp_path):
    outside = make_zip(tmp_path / "outside.zip", GOOD | {"../evil": b"x"})
    link = make_zip(tmp_path / "link.zip")
    with zipfile.ZipFile(link, "a") as held:
        info = zipfile.ZipInfo("NYUDv2/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        held.writestr(info, "/etc/passwd")
    for archive in (outside, link):
        with pytest.raises(DataError, match="not unpacked"):
            unpack(archive, tmp_path / "home", CARD)
        assert left_behind(tmp_path / "home") == []


@pytest.mark.parametrize("kind", ["tgz", "zip", "text"])
def test_broken_archives_leave_nothing(tmp_path, kind):
    members = {"NYUDv2/gt_sets/val.txt": b"x", "NYUDv2/big": bytes(range(256)) * 4000}
    archive = make_zip(tmp_path / "a") if kind == "zip" else make_tar(tmp_path / "a", members)
    whole = archive.read_bytes()
    archive.write_bytes(b"<html>moved</html>" * 50 if kind == "text" else whole[: len(whole) // 2])
    with pytest.raises(DataError, match="broken or incomplete"):
        unpack(archive, tmp_path / "home", CARD)
    assert left_behind(tmp_path / "home") == []


def test_another_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="no archive of NYUD-v2"):
        unpack(make_tar(tmp_path / "a.tgz", {"x/y": b""}), tmp_path / "home", CARD)


def test_a_data_set_is_never_overwritten(tmp_path):
    (tmp_path / "NYUDv2").mkdir()
    with pytest.raises(DataError, match="exists already"):
        unpack(make_tar(tmp_path / "a.tgz"), tmp_path, CARD)


def test_what_a_killed_unpacking_left_is_cleared(tmp_path):
    (tmp_path / ".nyud.partial/gt_sets").mkdir(parents=True)
    assert (unpack(make_tar(tmp_path / "a.tgz"), tmp_path, CARD) / "images/0001.png").is_file()
    assert not (tmp_path / ".nyud.partial").exists()


class Server:
    """Stands in for `urllib.request.urlopen` and serves one file."""

    def __init__(self, content, *, ranges=True, breaks_after=None, kind="application/gzip", url=None):
        self.content, self.ranges, self.breaks_after = content, ranges, breaks_after
        self.kind, self.url, self.asked = kind, url, []

    def __call__(self, request, timeout):
        self.asked.append(request.get_header("Range"))
        first = int(self.asked[-1].removeprefix("bytes=").rstrip("-")) if self.asked[-1] and self.ranges else 0
        if first and first >= len(self.content):
            raise urllib.error.HTTPError(request.full_url, 416, "range", Message(), None)
        body = io.BytesIO(self.content[first : self.breaks_after])
        body.url = self.url or request.full_url
        body.status = 206 if first else 200
        body.headers = Message()
        body.headers["Content-Type"] = self.kind
        body.headers["Content-Length"] = str(len(self.content) - first)
        return body


@pytest.fixture
def serve(monkeypatch):
    def start(*arguments, **options):
        server = Server(*arguments, **options)
        monkeypatch.setattr(fetch_module.urllib.request, "urlopen", server)
        return server

    return start


URL = "https://example.org/a.tgz"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(tmp_path, serve, ranges):
    content, target = bytes(range(250)), tmp_path / "d" / "a.tgz"
    serve(content, breaks_after=100)
    with pytest.raises(DataError, match="broke off after 100 of 250 bytes"):
        download(URL, target)
    assert not target.exists()
    server = serve(content, ranges=ranges)
    download(URL, target)
    assert server.asked == ["bytes=100-"]
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["a.tgz"]


def test_a_file_that_shrank_on_the_server_starts_anew(tmp_path, serve):
    (tmp_path / "a.tgz.part").write_bytes(b"x" * 300)
    server = serve(b"y" * 250)
    with pytest.raises(DataError, match="416"):
        download(URL, tmp_path / "a.tgz")
    download(URL, tmp_path / "a.tgz")
    assert server.asked == ["bytes=300-", None]
    assert (tmp_path / "a.tgz").read_bytes() == b"y" * 250


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("http://example.org/a", {}, "only https"),
        ("file:///etc/passwd", {}, "only https"),
        (URL, {"kind": "text/html"}, "a page"),
        (URL, {"url": "http://example.org/a"}, "not https"),
    ],
)
def test_only_files_over_https_are_downloaded(tmp_path, serve, url, options, message):
    serve(b"content", **options)
    with pytest.raises(DataError, match=message):
        download(url, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_fetch_downloads_unpacks_and_clears_up(tmp_path, serve):
    server = serve(
        make_tar(tmp_path / "a.tgz", {f"PASCAL_MT/ImageSets/Context/{s}.txt": b"" for s in ("a",)}).read_bytes()
    )
    said = []
    home = tmp_path / "home"
    root = fetch(load_card("pascal-context"), home, build=None, archive=None, say=said.append)
    assert root == home / "PASCAL_MT"
    assert (root / "ImageSets/Context/a.txt").is_file()
    assert len(server.asked) == 1  # the dead link was not tried
    assert not list(home.rglob("*.tgz"))
    with pytest.raises(DataError, match="there already"):
        fetch(load_card("pascal-context"), home, build=None, archive=None, say=said.append)


def test_a_downloaded_archive_that_is_broken_is_not_kept(tmp_path, serve):
    serve(b"junk" * 500)
    with pytest.raises(DataError, match="broken or incomplete"):
        fetch(CARD, tmp_path, build="mat", archive=None, say=lambda _: None)
    assert not list(tmp_path.rglob("*.tgz*"))


def test_without_a_direct_link_the_pages_are_named(tmp_path):
    with pytest.raises(DataError, match=r"(?s)sharepoint.*--archive FILE"):
        fetch(CARD, tmp_path, build=None, archive=None, say=lambda _: None)


def test_an_unknown_build_names_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match="png-425x560, npy-480x640, mat"):
        fetch(CARD, tmp_path, build="webp", archive=None, say=lambda _: None)


def test_fetched_archives_are_found_by_default(tmp_path, monkeypatch):
    source = Path(__file__).parent.parent / "golden" / "mini_NYUDv2"
    archive = shutil.make_archive(str(tmp_path / "a"), "gztar", source.parent, source.name)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "home"))
    from harness.datasets.nyud import NYUD

    fetch(CARD, tmp_path / "home", build=None, archive=Path(archive), say=lambda _: None)
    assert NYUD().reader(NYUD().root(None), "val").ids == ("0002", "0009")
