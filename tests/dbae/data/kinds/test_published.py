"""Published data sets, built small in their official layouts: folders, zips and LMDBs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_samples import coded, picture, png, write_folder, write_lmdb, write_zip
from PIL import Image
from published_sets import (
    ATTRIBUTES,
    attribute_list,
    celeba,
    celebahq,
    expected_attributes,
    ffhq,
    lfw,
    lsun,
)

from dbae.data import open_data
from dbae.data.transforms import CELEBA, CENTRED, LFW, Transform
from dbae.support.errors import UserError


def pixels(data: bytes, transform: Transform, size: int, tmp_path: Path) -> np.ndarray:
    (tmp_path / "one").write_bytes(data)
    return np.asarray(transform.apply(Image.open(tmp_path / "one").convert("RGB"), size))


@pytest.mark.parametrize("zipped", [False, True])
def test_celeba(tmp_path: Path, zipped: bool) -> None:
    members = celeba()
    root = write_zip(tmp_path / "a.zip", members) if zipped else write_folder(tmp_path / "a", members)
    data = open_data(f"celeba:{root}", size=64)
    assert (data.name, len(data), data.size) == ("celeba", 5, 64)
    assert {k: v.tolist() for k, v in data.splits.items()} == {
        "all": [0, 1, 2, 3, 4],
        "train": [0, 1, 2],
        "val": [3],
        "test": [4],
    }
    assert data.attributes is not None
    assert data.attributes.binary_names == ATTRIBUTES
    assert data.attributes.binary.tolist() == expected_attributes(5)
    assert data.groups is not None
    assert data.groups.tolist() == [2880, 2881, 2880, 2881, 2880]
    for i in range(5):
        name = f"Img/img_align_celeba/{i + 1:06d}.jpg"
        np.testing.assert_array_equal(data.image(i), pixels(members[name], CELEBA, 64, tmp_path))


def test_celeba_folder_and_lmdb_agree(tmp_path: Path) -> None:
    members = celeba(3)
    images = {f"None-{i:07d}": members[f"Img/img_align_celeba/{i + 1:06d}.jpg"] for i in range(3)}
    beside = {Path(name).name: data for name, data in members.items() if name.endswith(".txt")}
    folder = open_data(f"celeba:{write_folder(tmp_path / 'a', members)}", size=64)
    stored = open_data(f"celeba:{write_lmdb(tmp_path / 'celeba.lmdb', images | {'length': b'3'} | beside)}", size=64)
    np.testing.assert_array_equal(stored.batch(range(3)), folder.batch(range(3)))
    assert stored.attributes is not None
    assert folder.attributes is not None
    np.testing.assert_array_equal(stored.attributes.binary, folder.attributes.binary)
    assert {k: v.tolist() for k, v in stored.splits.items()} == {k: v.tolist() for k, v in folder.splits.items()}


def test_celeba_needs_its_splits(tmp_path: Path) -> None:
    members = celeba()
    del members["Eval/list_eval_partition.txt"]
    with pytest.raises(UserError, match=r"expected list_eval_partition\.txt .*, or all 202,599 images"):
        open_data(f"celeba:{write_folder(tmp_path / 'a', members)}", size=64)


def test_whole_celeba_has_its_splits_without_the_file(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    with (
        lmdb.open(str(tmp_path / "celeba.lmdb"), map_size=1 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"length", b"202599")
        for i in (0, 202_598):
            transaction.put(f"None-{i:07d}".encode(), coded(picture(i, 178, 218), "WEBP"))
    data = open_data(f"celeba:{tmp_path / 'celeba.lmdb'}", size=64)
    bounds = {name: (len(v), v[0], v[-1]) for name, v in data.splits.items()}
    assert bounds["train"] == (162_770, 0, 162_769)
    assert bounds["val"] == (19_867, 162_770, 182_636)
    assert bounds["test"] == (19_962, 182_637, 202_598)
    assert data.image(202_598).shape == (64, 64, 3)


def test_celeba_refuses_images_that_are_not_aligned(tmp_path: Path) -> None:
    members = celeba(3) | {"Img/img_align_celeba/000002.jpg": coded(picture(1, 64, 64), "JPEG")}
    data = open_data(f"celeba:{write_folder(tmp_path / 'a', members)}", size=64)
    with pytest.raises(UserError, match=r"000002\.jpg: expected an aligned CelebA image of 178 x 218, found 64 x 64"):
        data.image(1)


@pytest.mark.parametrize("zipped", [False, True])
def test_celebahq_is_in_numeric_order(tmp_path: Path, zipped: bool) -> None:
    members = celebahq()
    root = write_zip(tmp_path / "a.zip", members) if zipped else write_folder(tmp_path / "a", members)
    data = open_data(f"celebahq:{root}", size=128)
    assert (data.name, len(data), list(data.splits)) == ("celebahq", 11, ["all"])
    assert data.attributes is not None
    assert data.attributes.binary.tolist() == expected_attributes(11)
    for i in (2, 10):
        expected = pixels(members[f"CelebAMask-HQ/CelebA-HQ-img/{i}.jpg"], CENTRED, 128, tmp_path)
        np.testing.assert_array_equal(data.image(i), expected)


@pytest.mark.parametrize("side", [128, 256])
def test_celebahq_lmdb(tmp_path: Path, side: int) -> None:
    images = {f"{side}-{i:05d}": png(picture(i, side, side)) for i in range(3)} | {"length": b"3"}
    labels = {"CelebAMask-HQ-attribute-anno.txt": attribute_list(["0.jpg", "1.jpg", "2.jpg"])}
    data = open_data(f"celebahq:{write_lmdb(tmp_path / 'celebahq256.lmdb', images | labels)}", size=128)
    np.testing.assert_array_equal(data.image(2), CENTRED.apply(Image.fromarray(picture(2, side, side)), 128))
    assert data.attributes is not None
    assert data.attributes.binary.tolist() == expected_attributes(3)


def test_ffhq_folder_and_lmdb(tmp_path: Path) -> None:
    data = open_data(f"ffhq:{write_folder(tmp_path / 'a', ffhq())}", size=128)
    assert (data.name, len(data), list(data.splits), data.attributes) == ("ffhq", 3, ["all"], None)
    np.testing.assert_array_equal(data.image(1), CENTRED.apply(Image.fromarray(picture(1, 260, 260)), 128))
    inside = open_data(f"ffhq:{tmp_path / 'a' / 'images1024x1024'}", size=128)
    np.testing.assert_array_equal(inside.image(1), data.image(1))
    small = {
        f"256-{i:05d}": png(np.asarray(CENTRED.apply(Image.fromarray(picture(i, 260, 260)), 256))) for i in range(3)
    }
    stored = open_data(f"ffhq:{write_lmdb(tmp_path / 'ffhq256.lmdb', small | {'length': b'3'})}", size=128)
    np.testing.assert_array_equal(stored.batch(range(3)), data.batch(range(3)))


def test_ffhq_in_two_sizes_is_ambiguous(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "a", ffhq() | ffhq(folder="thumbnails128x128"))
    with pytest.raises(UserError, match=r"found both\. Name one: ffhq:.*images1024x1024"):
        open_data(f"ffhq:{root}", size=128)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("images1024x1024/mean.png", r"mean\.png: expected images of ffhq, named by their numbers, found 'mean'"),
        ("images1024x1024/01000/00001.png", r"expected one image 1, found also images1024x1024/00000/00001\.png"),
    ],
)
def test_numbered_images_must_have_one_number_each(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_data(f"ffhq:{write_folder(tmp_path / 'a', ffhq() | {extra: png(picture(0))})}", size=64)


@pytest.mark.parametrize("kind", ["lsun-horse", "lsun-bedroom"])
def test_lsun(tmp_path: Path, kind: str) -> None:
    members = lsun()
    data = open_data(f"{kind}:{write_folder(tmp_path / 'a', members)}", size=64)
    assert (data.name, len(data)) == (kind, 4)
    for i, name in enumerate(sorted(members)):
        np.testing.assert_array_equal(data.image(i), pixels(members[name], CENTRED, 64, tmp_path))
    own = {Path(name).stem: content for name, content in members.items()}
    np.testing.assert_array_equal(
        open_data(f"{kind}:{write_lmdb(tmp_path / 'own', own)}", size=64).batch(range(4)), data.batch(range(4))
    )
    numbered = {f"256-{i:07d}": members[name] for i, name in enumerate(sorted(members))} | {"length": b"4"}
    np.testing.assert_array_equal(
        open_data(f"{kind}:{write_lmdb(tmp_path / 'numbered', numbered)}", size=64).batch(range(4)),
        data.batch(range(4)),
    )


@pytest.mark.parametrize("zipped", [False, True])
def test_lfw(tmp_path: Path, zipped: bool) -> None:
    members = lfw()
    root = write_zip(tmp_path / "a.zip", members) if zipped else write_folder(tmp_path / "a", members)
    data = open_data(f"lfw:{root}", size=64)
    assert (data.name, len(data)) == ("lfw", 4)
    assert {k: v.tolist() for k, v in data.splits.items()} == {"all": [0, 1, 2, 3], "train": [0, 1, 2], "test": [3]}
    assert data.groups is not None
    assert data.groups.tolist() == [0, 1, 1, 3]
    assert data.attributes is not None
    assert data.attributes.continuous_names == ("Male", "Asian", "White", "Mouth Slightly Open")
    assert data.attributes.continuous[0].tolist() == [1.5, -1.25, 0.125, -0.5]
    assert data.attributes.continuous[3].tolist() == [-9.5, 8.0, 7.0, 6.0]
    assert data.attributes.binary.shape == (4, 0)
    name = "lfw-py/lfw_funneled/Abdel_Aziz_Al-Hakim/Abdel_Aziz_Al-Hakim_0003.jpg"
    np.testing.assert_array_equal(data.image(2), pixels(members[name], LFW, 64, tmp_path))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (
            "lfw-py/lfw_attributes.txt",
            r"expected one lfw_attributes\.txt, found none\. Run: python -m dbae\.data check lfw",
        ),
        ("lfw-py/peopleDevTest.txt", r"peopleDevTest\.txt: expected this label file of LFW, found none"),
        (
            "lfw-py/lfw_funneled/Zoe_Ball/Zoe_Ball_0001.jpg",
            r"Zoe_Ball_0001\.jpg: .* 1 of 4 images of the lists are missing",
        ),
    ],
)
def test_lfw_names_what_is_missing(tmp_path: Path, missing: str, message: str) -> None:
    members = lfw()
    del members[missing]
    with pytest.raises(UserError, match=message):
        open_data(f"lfw:{write_folder(tmp_path / 'a', members)}", size=64)


@pytest.mark.parametrize("kind", ["celeba", "celebahq", "ffhq", "lsun-horse"])
def test_an_empty_folder(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=rf"found no images among 0 files\. Run: python -m dbae\.data check {kind}:"):
        open_data(f"{kind}:{tmp_path}", size=64)


def test_groups_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    members = celeba()
    first = open_data(f"celeba:{write_folder(tmp_path / 'a', members)}", size=64).fingerprint
    members["Anno/identity_CelebA.txt"] = members["Anno/identity_CelebA.txt"].replace(b"2881", b"2882")
    assert open_data(f"celeba:{write_folder(tmp_path / 'b', members)}", size=64).fingerprint != first
