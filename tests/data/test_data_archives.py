"""Archives unpack whole or not at all and never outside; downloads resume."""

import gzip
import hashlib
import io
import json
import resource
import shutil
import stat
import tarfile
import urllib.error
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from harness.data import fetch as fetch_module
from harness.data.archive import read_note, unpack
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


@pytest.mark.parametrize("kind", ["tgz", "zip", "junk"])
def test_broken_archives_leave_nothing(tmp_path, kind):
    members = {"NYUDv2/gt_sets/val.txt": b"x", "NYUDv2/big": bytes(range(256)) * 4000}
    archive = make_zip(tmp_path / "a") if kind == "zip" else make_tar(tmp_path / "a", members)
    whole = archive.read_bytes()
    archive.write_bytes(b"\0\1junk" * 500 if kind == "junk" else whole[: len(whole) // 2])
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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>this file is too large to be scanned for viruses</html>", "web page"),
        (b"\xef\xbb\xbf\n <HTML>", "web page"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "web page"),
        ("\ufeff<html>".encode("utf-16-le"), "web page"),
        (gzip.compress(b"<html>" + b"x" * 5000, mtime=0), "web page"),
        (b'{"error": "gone"}', "text.*error"),
        (b"", "empty"),
        (b"7z\xbc\xaf\x27\x1c" + b"\0" * 99, "7-Zip.*--data-root"),
        (b"Rar!\x1a\x07\x01\0", "RAR.*--data-root"),
        (b"\x28\xb5\x2f\xfd\0\0", "Zstandard.*--data-root"),
    ],
)
def test_what_is_no_archive_is_named_for_what_it_is(tmp_path, content, words):
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(DataError, match=words):
        unpack(tmp_path / "a.tgz", tmp_path / "home", CARD)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("method", [9, 97])
def test_compressions_that_python_lacks_are_named(tmp_path, method):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as held:
        held.writestr("NYUDv2/gt_sets/val.txt", "0001\n" * 99)
    data = bytearray(archive.read_bytes())
    data[8:10] = data[data.index(b"PK\1\2") + 10 : data.index(b"PK\1\2") + 12] = bytes([method, 0])
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"compression.*--data-root"):
        unpack(archive, tmp_path / "home", CARD)
    assert left_behind(tmp_path / "home") == []


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds nothing"),
        (["."], "cannot be unpacked"),
        (["a", "a/b"], "cannot be unpacked"),
        (["a/", "a"], "cannot be unpacked"),
        (["a/b", "a"], "cannot be unpacked"),
        (["n" * 300], "nnn.*cannot be unpacked"),
        (["\udcff/x"], "no archive of"),
    ],
)
def test_odd_members_are_named_and_leave_nothing_in_the_way(tmp_path, names, words):
    home = tmp_path / "home"
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(member, io.BytesIO())
    with pytest.raises(DataError, match=words):
        unpack(tmp_path / "a.tar", home, CARD)
    assert left_behind(home) == []
    assert (unpack(make_tar(tmp_path / "b.tgz"), home, CARD) / "images/0001.png").is_file()


def test_a_file_in_the_place_of_the_temporary_folder_is_cleared(tmp_path):
    (tmp_path / ".nyud.partial").write_bytes(b"left by an earlier version")
    assert unpack(make_tar(tmp_path / "a.tgz"), tmp_path, CARD) == tmp_path / "NYUDv2"


@pytest.mark.parametrize("prefix", ["data/datasets/NYUDv2/", "deep/er/still/any/"])
def test_the_data_set_is_found_at_any_depth(tmp_path, prefix):
    members = {name.replace("NYUDv2/", prefix): content for name, content in GOOD.items()}
    home = tmp_path / "home"
    assert unpack(make_tar(tmp_path / "a.tgz", members), home, CARD) == home / "NYUDv2"
    assert (home / "NYUDv2/images/0001.png").is_file()
    assert left_behind(home) == ["NYUDv2"]


def test_several_data_sets_in_one_archive_are_named(tmp_path):
    members = {"a/gt_sets/val.txt": b"", "b/gt_sets/val.txt": b""}
    with pytest.raises(DataError, match=r"several folders.*a, b"):
        unpack(make_tar(tmp_path / "a.tgz", members), tmp_path / "home", CARD)


def test_an_archive_in_an_archive_is_pointed_at(tmp_path):
    inner = make_tar(tmp_path / "NYUDv2.tar.gz").read_bytes()
    with pytest.raises(DataError, match=r"another archive, 'NYUDv2\.tar\.gz'"):
        unpack(make_zip(tmp_path / "a.zip", {"download/NYUDv2.tar.gz": inner}), tmp_path / "home", CARD)


def test_what_macos_adds_is_left_out(tmp_path):
    members = GOOD | {"NYUDv2/images/._0001.png": b"x", "__MACOSX/NYUDv2/gt_sets/x": b"x", "NYUDv2/.DS_Store": b"x"}
    root = unpack(make_zip(tmp_path / "a.zip", members), tmp_path / "home", CARD)
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["0001.png", "archive.json", "val.txt"]


@pytest.mark.parametrize("kind", ["tar", "zip", "sparse", "many"])
def test_bombs_are_refused_early(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("harness.data.archive._ALWAYS_FINE", 1 << 20)
    monkeypatch.setattr("harness.data.archive._MOST_MEMBERS", 1000)
    archive = tmp_path / "a"
    if kind == "sparse":
        member = tarfile.TarInfo("NYUDv2/gt_sets/x")
        member.size = 512
        member.pax_headers = {"GNU.sparse.map": "0,512", "GNU.sparse.size": str(3 << 30), "GNU.sparse.name": "x"}
        with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(member, io.BytesIO(b"x" * 512))
    elif kind == "many":
        make_tar(archive, {f"NYUDv2/gt_sets/{k}": b"" for k in range(1001)})
    elif kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as held:
            held.writestr("NYUDv2/gt_sets/x", bytes(30 << 20))
    else:
        make_tar(archive, {"NYUDv2/gt_sets/x": bytes(30 << 20)})
    with pytest.raises(DataError, match="--data-root"):
        unpack(archive, tmp_path / "home", CARD)
    assert left_behind(tmp_path / "home") == []


def test_an_archive_larger_than_the_disk_is_refused_before_it_fills_it(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    archive = make_tar(tmp_path / "a.tgz", GOOD | {"NYUDv2/images/big.png": bytes(200)})
    with pytest.raises(UsageError, match="100 bytes are free"):
        unpack(archive, tmp_path / "home", CARD)
    assert left_behind(tmp_path / "home") == []


def test_a_disk_that_fills_while_unpacking_is_not_the_archive_s_fault(tmp_path):
    archive = make_tar(tmp_path / "a.tgz", GOOD | {"NYUDv2/images/big.png": bytes(300_000)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # writing beyond fails as on a full disk
    try:
        with pytest.raises(UsageError, match="name another folder"):
            unpack(archive, tmp_path / "home", CARD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left_behind(tmp_path / "home") == []


def test_the_archive_is_noted_and_compared_with_a_known_digest(tmp_path):
    archive = make_tar(tmp_path / "NYUDv2.tar.gz")
    root = unpack(archive, tmp_path / "home", CARD)
    note = json.loads((root / "archive.json").read_text())
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert note == {"file": "NYUDv2.tar.gz", "bytes": archive.stat().st_size, "sha256": digest}
    assert read_note(root) == note
    (root / "archive.json").write_text("[")
    assert read_note(root) is None
    known = [held.model_copy(update={"sha256": "0" * 64}) for held in CARD.archives]
    card = CARD.model_copy(update={"archives": tuple(known)})
    with pytest.raises(DataError, match=f"not the published file.*{digest}"):
        unpack(archive, tmp_path / "other", card)
    card = CARD.model_copy(update={"archives": (known[0].model_copy(update={"sha256": digest}), *known[1:])})
    unpack(archive, tmp_path / "other", card)


def test_a_home_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        unpack(make_tar(tmp_path / "a.tgz"), tmp_path / "file", CARD)


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
    serve(b"\0junk" * 500)
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
