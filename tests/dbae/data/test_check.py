"""`python -m dbae.data`: what it says about data that is whole, and about data that is not."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import pytest
from image_samples import celeba_members, coded, picture, png, write_folder, write_lmdb, write_zip
from published_sets import celeba, lfw

from dbae.data.__main__ import main
from dbae.data.check import SHOWN, check, format_report
from dbae.data.kinds import KINDS
from dbae.data.kinds.published import published


@pytest.fixture
def five_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes 5 images for the whole of CelebA."""
    whole = dataclasses.replace(KINDS["celeba"].layout, images=5)
    monkeypatch.setitem(KINDS, "celeba", published(whole))


@pytest.mark.usefixtures("five_images")
def test_whole_celeba(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"celeba:{write_folder(tmp_path / 'a', celeba())}", "--workers", "0"]) == 0
    text = capsys.readouterr().out
    assert "img_align_celeba/*.jpg             aligned images                       5 found" in text
    assert "identity_CelebA.txt" in text
    assert "images: all 5, train 3, val 1, test 1" in text
    assert "people: 2" in text
    assert "  5_o_Clock_Shadow                    60.00%" in text
    assert text.endswith("no problems found\n")


@pytest.mark.usefixtures("five_images")
def test_an_lmdb_of_celeba(tmp_path: Path) -> None:
    images = {f"None-{i:07d}": coded(picture(i, 178, 218), "WEBP") for i in range(5)} | {"length": b"5"}
    beside = {Path(name).name: data for name, data in celeba().items() if "list_" in name and "bbox" not in name}
    report = check(f"celeba:{write_lmdb(tmp_path / 'a.lmdb', images | beside)}", progress=False)
    assert report.problems == ()
    assert [(part.pattern, count) for part, count in report.parts] == [
        ("data.mdb", 5),
        ("list_attr_celeba.txt", 1),
        ("list_eval_partition.txt", 1),
        ("identity_CelebA.txt", 0),
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_counted_and_named(tmp_path: Path, workers: int) -> None:
    members = celeba_members(SHOWN + 8)
    broken = [name for name in members if name.endswith(".png")][2 : SHOWN + 4]
    source = f"folder:{write_folder(tmp_path / 'a', members | dict.fromkeys(broken, b'no image'))}"
    report = check(source, workers=workers, progress=False)
    assert len(report.unreadable) == SHOWN + 2
    assert all(name in message for name, message in zip(broken, report.unreadable, strict=True))
    assert report.problems == (f"{SHOWN + 2} images cannot be read",)
    text = format_report(report)
    assert text.count("unreadable: ") == SHOWN + 1
    assert "unreadable: 2 more" in text
    assert check(source, images=False).problems == ()


def test_what_is_missing_and_where_users_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = lfw()
    del members["lfw-py/lfw_attributes.txt"]
    assert main(["check", f"lfw:{write_folder(tmp_path / 'a', members)}", "--workers", "0"]) == 2
    out, err = capsys.readouterr()
    line = next(line for line in out.splitlines() if line.startswith("  lfw_attributes.txt"))
    assert "missing (needed); get it: https://www.cs.columbia.edu" in line
    assert "problem: missing: lfw_attributes.txt (73 attribute scores)" in out
    assert "2 problem(s), see above" in err


def test_counts_other_than_published(tmp_path: Path) -> None:
    report = check(f"lfw:{write_folder(tmp_path / 'a', lfw())}", progress=False)
    assert report.problems == ("expected the 13,233 images of lfw, found 4",)
    assert "Mouth Slightly Open" in format_report(report)
    assert "people: 3" in format_report(report)
    part = check(f"lfw:{tmp_path / 'a'}?split=test", progress=False)
    assert part.problems == ()
    assert part.data is not None
    assert len(part.data) == 1


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"celeba:{tmp_path / 'none'}"]) == 2
    assert "expected a folder, found nothing" in capsys.readouterr().out
    assert main(["check", "nothing:/a"]) == 2
    assert "unknown kind of data 'nothing'" in capsys.readouterr().err


def test_without_labels(tmp_path: Path) -> None:
    source = f"zip:{write_zip(tmp_path / 'a.zip', {'a.jpg': coded(picture(0), 'JPEG')})}"
    assert "labels: none" in format_report(check(source, progress=False))


def test_prepare_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = f"celeba:{write_folder(tmp_path / 'a', celeba())}", tmp_path / "celeba16.zip"
    command = ["prepare", source, "--size", "16", "--out", str(out), "--workers", "0"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{out}\n"
    names = zipfile.ZipFile(out).namelist()
    assert names[:3] == ["list_attr.txt", "list_eval_partition.txt", "identity.txt"]
    assert names[3:] == [f"images/{i:07d}.png" for i in range(5)]
    assert main(command) == 2
    assert "found an earlier result" in capsys.readouterr().err
    assert main(["prepare", f"{source}?size=8", "--size", "16", "--out", str(tmp_path / "b.zip")]) == 2
    assert "Leave out size=" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "python -m dbae.data check" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "python -m dbae.data prepare" in capsys.readouterr().out


def test_a_remark_on_labels_is_made_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="dbae")
    members = {"a.png": png(picture(0)), "b.png": png(picture(1))}
    table = b"# not targets: id\nfile,id,age\na.png,1,2\nb.png,2,3\n"
    folder = write_folder(tmp_path / "a", members | {"labels.csv": table, "other.txt": b"x"})
    assert main(["check", f"folder:{folder}", "--workers", "0"]) == 0
    out = capsys.readouterr().out
    for remark in ("'id' is no target", "seen and not used"):
        assert (out.count(remark), caplog.text.count(remark)) == (1, 0)
