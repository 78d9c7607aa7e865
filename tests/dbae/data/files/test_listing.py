"""What becomes of every file below a folder, or in a zip: each image once, and nothing without a word."""

from __future__ import annotations

import logging
import os
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_samples import celeba_members, picture, png, write_folder, write_zip

from dbae.data import open_data
from dbae.data.files import paths
from dbae.data.files.folder import FolderFiles, open_folder
from dbae.data.files.zip import open_zip
from dbae.support.errors import UserError


def images(*names: str) -> dict[str, bytes]:
    return {name: png(picture(i)) for i, name in enumerate(names)}


def test_links_that_cross_or_lead_back_give_every_image_once(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "crossed", images("a/1.png", "a/2.png", "b/3.png", "b/4.png"))
    for link, target in {"a/to_b": "b", "b/to_a": "a", "a/up": "", "again": "b", "0.png": "b/3.png"}.items():
        (root / link).symlink_to(root / target)
    data = open_folder(root)
    assert list(data.image_names) == ["a/1.png", "a/2.png", "b/3.png", "b/4.png"]
    assert data.unused == ("5 links to what is read already (first: 0.png)",)


def test_links_to_elsewhere_are_followed_once(tmp_path: Path) -> None:
    store = write_folder(tmp_path / "store", images("x", "in/1.png", "in/2.png"))
    root = write_folder(tmp_path / "farm", images("own.png"))
    for link, target in {"x.png": "x", "y.png": "x", "folder": "in", "twice": "in", "2.png": "in/2.png"}.items():
        (root / link).symlink_to(store / target)
    data = open_folder(root)
    assert list(data.image_names) == ["folder/1.png", "folder/2.png", "own.png", "x.png"]
    assert data.unused == ("3 links to what is read already (first: 2.png)",)


def test_an_image_whose_own_name_is_none_is_read_by_its_link(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "objects", images("objects/abc"))
    (root / "a.png").symlink_to("objects/abc")
    assert list(open_folder(root).image_names) == ["a.png"]


@pytest.mark.parametrize("target", ["nowhere.png", "itself.png"])
def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(tmp_path: Path, target: str) -> None:
    root = write_folder(tmp_path / "broken", images("a.png"))
    (root / "itself.png").symlink_to(target)
    data = open_folder(root, size=8)
    with pytest.raises(UserError, match=r"itself\.png: expected a readable file, found: (No such|Too many)"):
        data.image(1)


def test_pipes_and_sockets_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "special", images("a.png"))
    os.mkfifo(root / "b.png")
    os.mkfifo(root / "list_attr.txt")
    (root / "c.png").symlink_to("b.png")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("d.png")
        data = open_folder(root)
    assert list(data.image_names) == ["a.png"]
    assert data.unused == ("4 pipes, sockets or devices (first: b.png)",)
    for source in ("b.png", "zip:b.png", "lmdb:b.png", "folder:b.png", "celeba:b.png"):
        with pytest.raises(UserError, match=r"expected .*b\.png|b\.png: expected"):
            open_data(source)


def test_members_of_any_program_are_read_by_one_name(tmp_path: Path) -> None:
    members = celeba_members(4)
    plain = open_zip(write_zip(tmp_path / "plain.zip", members))
    spellings = {"dots": "./{}", "up": "../{}", "root": "/{}", "double": ".//{}"}
    for name, spelling in spellings.items():
        path = write_zip(tmp_path / f"{name}.zip", {spelling.format(m): data for m, data in members.items()})
        assert open_zip(path).fingerprint == plain.fingerprint
    windows = write_zip(tmp_path / "w.zip", {f"..\\{m}".replace("/", "\\"): data for m, data in members.items()})
    assert open_zip(windows).fingerprint == plain.fingerprint
    assert open_zip(windows).unused == ()
    both = write_zip(tmp_path / "both.zip", {"a.png": png(picture(0)), ".\\a.png": png(picture(1))})
    with pytest.raises(UserError, match=r"expected distinct members, found 'a\.png' twice"):
        open_zip(both)


def test_labels_that_name_images_as_windows_does(tmp_path: Path) -> None:
    labels = {"list_attr.txt": b"2\nBald\nin\\1.png 1\n./in/0.png -1\n"}
    data = open_zip(write_zip(tmp_path / "a.zip", images("in/0.png", "in/1.png") | labels))
    assert data.attributes is not None
    assert data.attributes.binary.tolist() == [[0], [1]]


@pytest.mark.parametrize("ending", [".avif", ".jp2", ".jpe", ".tga", ".JPE"])
def test_kinds_of_images_that_are_read(tmp_path: Path, ending: str) -> None:
    from PIL import Image

    formats = {".avif": "AVIF", ".jp2": "JPEG2000", ".jpe": "JPEG", ".tga": "TGA"}
    Image.fromarray(picture(0)).save(tmp_path / f"a{ending}", formats[ending.lower()])
    assert open_folder(tmp_path).image(0).shape == (16, 16, 3)


def test_what_is_not_used_is_said_for_published_sets_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_folder(tmp_path / "ffhq", images("images1024x1024/0.png", "other/1.png") | {"LICENSE.txt": b""})
    with caplog.at_level(logging.WARNING):
        data = open_data(f"ffhq:{root}")
    assert data.unused == ("1 images that are not read (first: other/1.png)", "1 other files (first: LICENSE.txt)")
    assert "seen and not used: 1 images that are not read" in caplog.text


def test_a_member_that_inflates_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MAX_FILE", 1 << 20)
    path = write_zip(tmp_path / "bomb.zip", {"a.png": bytes(2 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"bomb\.zip:a\.png: expected an image or label file of at most 1 MiB, found 2"):
        open_zip(path, size=8).image(0)
    # a directory that says less than what is stored: nothing beyond it is inflated
    small = path.read_bytes().replace((2 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    path.write_bytes(small)
    with pytest.raises(UserError, match="the zip is damaged"):
        open_zip(path, size=8).image(0)
    (tmp_path / "big.png").write_bytes(bytes(2 << 20))
    with pytest.raises(UserError, match=r"big\.png: expected an image or label file of at most 1 MiB"):
        open_folder(tmp_path, size=8).image(0)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "x" * 300,
            r"^x{120}\.\.\. \(300 characters\): expected a path .* found: File name too long",
        ),
        ("a\0b", r"^a\\x00b: expected a path, found one with embedded null byte"),
        ("~nobody-of-that-name/x", "^~nobody-of-that-name/x: expected '~' or '~NAME' of a user of this machine"),
        ("round/a", "^round/a: expected a path that can be looked up, found: Too many levels of symbolic links"),
    ],
)
@pytest.mark.parametrize("kind", ["", "folder:", "zip:", "lmdb:", "celeba:", "lfw:"])
def test_paths_that_cannot_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("round").symlink_to("round")
    with pytest.raises(UserError, match=message):
        open_data(kind + path)


def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user than the administrator, for whom permissions do not count."""

    def denied(path: str | Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    root = write_folder(tmp_path / "closed", images("a.png"))
    files = FolderFiles(root)
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError, match=r"closed: expected a readable folder, found: Permission denied"):
        files.names()
    monkeypatch.setattr(os, "stat", denied)
    with pytest.raises(UserError, match=r"closed: expected a path that can be looked up, found: Permission denied"):
        FolderFiles(root)


def test_names_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dbae.data.__main__ import main

    root = os.fsencode(write_folder(tmp_path / "bytes", images("a.png")))
    for name in (b"\xff.png", b"\xfe.txt"):
        Path(os.fsdecode(root + b"/" + name)).write_bytes(b"")
    assert main(["check", f"folder:{os.fsdecode(root)}", "--workers", "0"]) == 2
    out = capsys.readouterr().out
    assert "1 other files (first: \\udcfe.txt)" in out
    assert "\\udcff.png: expected an image, found a file of 0 bytes" in out


def test_a_name_with_a_line_break_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x\ny.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"/x\\ny\.png: expected an image") as caught:
        open_folder(tmp_path, size=8).image(0)
    assert len(str(caught.value).splitlines()) == 1


def test_zips_with_a_damaged_directory_raise_nothing_else(tmp_path: Path) -> None:
    """From a few bytes that were cut out, a directory speaks of places before the file, or far behind it."""
    whole = write_zip(tmp_path / "a.zip", celeba_members(4), zipfile.ZIP_DEFLATED).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for case in range(80):
        damaged = bytearray(whole)
        if case % 2:
            at = int(rng.integers(len(damaged) - 20))
            del damaged[at : at + int(rng.integers(1, 10))]
        else:
            damaged[len(damaged) - int(rng.integers(1, 500))] = int(rng.integers(256))
        (tmp_path / "b.zip").write_bytes(damaged)
        try:
            data = open_zip(tmp_path / "b.zip", size=8)
            data.batch(range(len(data)))
        except UserError:
            refused += 1
    assert refused > 20
