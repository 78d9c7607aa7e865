"""Files of known factors, small ones in the format of the published."""

from __future__ import annotations

import itertools
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from dbae.data import InMemory, Subset, open_data
from dbae.data.check import check, format_report
from dbae.data.kinds import mpi3d
from dbae.support.errors import UserError

SIZES = (1, 3, 2, 4, 2, 2)


def dsprites(folder: Path, **changes: np.ndarray) -> Path:
    """96 pictures of 8 pixels, each with bits of its number in the first row."""
    classes = np.array(list(itertools.product(*map(range, SIZES))))
    n = len(classes)
    images = np.zeros((n, 8, 8), np.uint8)
    images[:, 0] = np.arange(n)[:, None] >> np.arange(8) & 1
    arrays = {"imgs": images, "latents_classes": classes, "latents_values": classes / np.array(SIZES)} | changes
    path = folder / "dsprites_ndarray_co1sh3sc2or4x2y2_8x8.npz"
    folder.mkdir(exist_ok=True)
    np.savez_compressed(path, metadata=np.array({"pickled": "and never loaded"}, object), **arrays)
    return path


def shapes3d(folder: Path) -> Path:
    """192 pictures of 8 pixels, the first of which is the number of the picture."""
    values = np.array(list(itertools.product((0.0, 0.5), (0.0, 0.3), (0.1, 0.2), (0.75, 1.25), range(4), (-30, 0, 30))))
    images = np.random.default_rng(0).integers(0, 256, (len(values), 8, 8, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(values))
    folder.mkdir(exist_ok=True)
    path = folder / "3dshapes.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(50, 4, 4, 1), compression="gzip")
        file.create_dataset("labels", data=values.astype(np.float64))
    return path


def cars3d(folder: Path, cars: int = 3, side: int = 16) -> list[np.ndarray]:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 256, (side, side, 3, 24, 4), np.uint8) for _ in range(cars)]
    for i, array in enumerate(arrays):
        savemat(folder / f"car_{i + 1:03d}_mesh.mat", {"im": array, "mask": np.zeros((side, side, 24, 4), np.uint8)})
    return arrays


def numbers(images: np.ndarray) -> np.ndarray:
    return (images[:, 0, :, 0] // 255) @ (1 << np.arange(8))


def test_dsprites(tmp_path):
    path = dsprites(tmp_path / "set")
    data = open_data(f"dsprites:{path.parent}")
    assert (len(data), data.size, data.name) == (96, 8, "dsprites")
    images = data.batch(range(96)).permute(0, 2, 3, 1).numpy()
    assert set(np.unique(images)) == {0, 255}
    assert (images == images[..., :1]).all()
    places = numbers(images)
    assert sorted(places) == list(range(96))
    assert list(places) != sorted(places)  # the order of the file is that of the factors
    with np.load(path) as file:
        np.testing.assert_array_equal(data.classes, file["latents_classes"][places, 1:])
        np.testing.assert_array_equal(data.attributes.continuous, file["latents_values"][places, 2:])
    assert data.factors == ("shape", "scale", "orientation", "position_x", "position_y")
    assert data.attributes.binary_names == ("shape=square", "shape=ellipse", "shape=heart")
    np.testing.assert_array_equal(data.attributes.binary.argmax(1), data.classes[:, 0])
    assert (data.attributes.binary.sum(1) == 1).all()
    np.testing.assert_array_equal(data.image(5), images[5])
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [76, 10, 10]


def test_shapes3d_and_its_resized_copy(tmp_path):
    path = shapes3d(tmp_path / "set")
    data = open_data(f"shapes3d:{path}?seed=3")
    images = data.batch(range(192)).permute(0, 2, 3, 1).numpy()
    with h5py.File(path) as file:
        places = images[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(images, file["images"][:][places])
        np.testing.assert_array_equal(data.attributes.continuous, file["labels"][:][places][:, [0, 1, 2, 3, 5]])
    assert [len(np.unique(column)) for column in data.classes.T] == [2, 2, 2, 2, 4, 3]
    np.testing.assert_array_equal(data.classes[:, 5], np.digitize(data.attributes.continuous[:, 4], (-15, 15)))
    large = open_data(f"shapes3d:{path}?seed=3", size=16)
    wanted = Image.fromarray(images[7]).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(large.image(7), np.asarray(wanted))
    assert data.fingerprint != large.fingerprint


def test_mpi3d_numbers_its_images_as_its_authors_do(tmp_path):
    n = 460_800
    images = np.zeros((n, 2, 2, 3), np.uint8)
    images[:, 0, 0] = np.arange(n)[:, None] >> np.array([16, 8, 0]) & 255
    path = tmp_path / "real3d_complicated_shapes_ordered.npz"
    np.savez(path, images=images)
    data = open_data(f"mpi3d:{tmp_path}?n=500&seed=1")
    assert (len(data), data.name) == (500, "real3d_complicated_shapes_ordered")
    pixels = data.batch(range(500))[:, :, 0, 0].long().numpy()
    places = pixels @ np.array([1 << 16, 1 << 8, 1])
    np.testing.assert_array_equal(places, data.classes @ np.array([115200, 28800, 14400, 4800, 1600, 40, 1]))
    assert data.factors[0] == "object_color"
    assert data.attributes.binary_names[8:] == ("object_size", *(f"background_color={i}" for i in range(3)))
    np.testing.assert_array_equal(data.attributes.binary[:, 8], data.classes[:, 2])
    assert data.attributes.continuous_names == ("camera_height", "horizontal_axis", "vertical_axis")
    assert mpi3d.IMAGES == (1_036_800, 460_800)


def test_cars3d_is_resized_as_disentanglement_lib_does(tmp_path):
    cars = cars3d(tmp_path / "cars")
    data = open_data(f"cars3d:{tmp_path}", size=8)
    assert (len(data), data.factors) == (3 * 96, ("elevation", "azimuth", "object_type"))
    assert [len(np.unique(column)) for column in data.classes.T] == [4, 24, 3]
    for i in (0, 17, 287):
        elevation, azimuth, car = data.classes[i]
        picture = Image.fromarray(np.ascontiguousarray(cars[car][:, :, :, azimuth, elevation]))
        picture.thumbnail((8, 8), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(data.image(i), np.asarray(picture))
    assert data.attributes.continuous_names == ("elevation", "azimuth")
    assert open_data(f"cars3d:{tmp_path / 'cars'}").size == 16


def test_fewer_are_the_first_of_more_and_other_seeds_are_others(tmp_path):
    path = dsprites(tmp_path)
    all_, some, other = (open_data(f"dsprites:{path}{query}") for query in ("", "?n=30", "?n=30&seed=1"))
    np.testing.assert_array_equal(some.batch(range(30)), all_.batch(range(30)))
    np.testing.assert_array_equal(some.classes, all_.classes[:30])
    assert [len(some.split(name)) for name in ("train", "val", "test")] == [24, 3, 3]
    assert not np.array_equal(other.classes, some.classes)
    assert len({data.fingerprint for data in (all_, some, other)}) == 3
    assert len(open_data(f"dsprites:{path}?split=train")) == 76


def test_pixels_are_unpacked_once_and_others_map_them(tmp_path, monkeypatch):
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "cache"))
    path = dsprites(tmp_path / "set")
    data = open_data(f"dsprites:{path}")
    assert not (tmp_path / "cache").exists()  # nothing is unpacked for labels alone
    first = data.batch(range(96))
    (kept,) = (tmp_path / "cache").glob("dsprites-8px-*.npy")
    assert kept.stat().st_size < 96 * 64 + 200  # one channel
    monkeypatch.setattr("dbae.data.kinds.dsprites.array_blocks", lambda *_: pytest.fail("unpacked again"))
    again = pickle.loads(pickle.dumps(open_data(f"dsprites:{path}")))
    np.testing.assert_array_equal(again.batch([3, 95]), first[[3, 95]])
    assert len(pickle.dumps(data)) < 20_000


def test_classes_stay_with_their_images(tmp_path):
    data = open_data(f"dsprites:{dsprites(tmp_path)}")
    part = InMemory(Subset(data, np.array([9, 2])), progress=False)
    np.testing.assert_array_equal(part.classes, data.classes[[9, 2]])
    np.testing.assert_array_equal(part.image(0), data.image(9))


def test_another_file_has_another_fingerprint(tmp_path):
    path = dsprites(tmp_path)
    before = open_data(f"dsprites:{path}").fingerprint
    with np.load(path) as file:
        images = file["imgs"].copy()
    images[3, 4, 4] ^= 1
    dsprites(tmp_path, imgs=images)
    assert open_data(f"dsprites:{path}").fingerprint != before


def test_check_knows_them(tmp_path):
    report = check(f"dsprites:{dsprites(tmp_path)}", progress=False)
    assert report.problems == ("expected the 737,280 images of dsprites, found 96",)
    text = format_report(report)
    assert "factors, with the number of their values: shape 3, scale 2, orientation 4" in text
    assert "  shape=heart                         33.33%" in text
    assert check(f"dsprites:{tmp_path}?n=20", progress=False).problems == ()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    """One bit of the images, in a file that does not compress them."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "metadata"}
    np.savez(path, **arrays)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("imgs.npy").header_offset + 1000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"), [(cut, "expected a whole .npz with imgs, found"), (flip, "Bad CRC-32 for file 'imgs.npy'")]
)
def test_damage_is_noticed(tmp_path, damage, message):
    path = dsprites(tmp_path)
    damage(path)
    with pytest.raises(UserError, match=message):
        open_data(f"dsprites:{path}").image(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imgs": np.zeros((96, 8, 4), np.uint8)}, r"expected imgs \(n, s, s\)"),
        ({"imgs": np.zeros((95, 8, 8), np.uint8)}, r"found imgs \(95, 8, 8\)"),
        ({"imgs": np.zeros((96, 8, 8))}, "expected uint8 rows, found float64"),
        ({"imgs": np.full((96, 8, 8), 7, np.uint8)}, "expected imgs of 0 and 1, found 7"),
        ({"latents_classes": np.zeros((96, 5), int)}, r"latents_classes \(96, 5\)"),
        ({"latents_values": np.zeros(96)}, r"latents_values \(96,\)"),
        ({"latents_values": np.array([{}], object)}, "expected a whole .npz with latents_values, found"),
        ({"latents_values": np.full((96, 6), np.nan)}, "expected finite values of all factors, found NaN"),
        ({"latents_values": np.full((96, 6), "a")}, "latents_values of real ones, found int64 and <U1"),
        ({"latents_values": np.zeros((96, 6), complex)}, "latents_values of real ones, found int64 and complex128"),
        ({"latents_classes": np.full((96, 6), 0.5)}, "latents_classes of whole numbers"),
        ({"latents_classes": np.full((96, 6), 3)}, "expected classes 0 to 2 of shape, found 3 to 3"),
        ({"latents_classes": np.full((96, 6), -1)}, "expected classes 0 to 2 of shape, found -1 to -1"),
        (
            {
                "imgs": np.zeros((0, 8, 8), np.uint8),
                "latents_classes": np.zeros((0, 6), int),
                "latents_values": np.zeros((0, 6)),
            },
            "expected images, found none",
        ),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        open_data(f"dsprites:{dsprites(tmp_path, **changes)}").image(0)


@pytest.mark.parametrize("kind", ["dsprites", "shapes3d", "mpi3d", "cars3d"])
def test_nothing_there_says_where_it_is_to_be_had(tmp_path, kind):
    with pytest.raises(UserError, match=r"found none.*http"):
        open_data(f"{kind}:{tmp_path}")
    with pytest.raises(UserError, match="found none"):
        open_data(f"{kind}:{tmp_path / 'nowhere'}")


def test_cars_without_pixels_are_refused(tmp_path):
    savemat(tmp_path / "car_001_mesh.mat", {"im": np.zeros((0, 0, 3, 24, 4), np.uint8)})
    with pytest.raises(UserError, match=r"car_001_mesh\.mat: expected im uint8"):
        open_data(f"cars3d:{tmp_path}")


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "mpi3d_toy.npz"
    np.savez(path, images=np.zeros((10, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="expected 1,036,800 or 460,800 square colour images, found images"):
        open_data(f"mpi3d:{path}")
    with pytest.raises(UserError, match="expected an array called imgs, found images"):
        open_data(f"dsprites:{path}")
    with pytest.raises(UserError, match="expected HDF5 with images and labels"):
        open_data(f"shapes3d:{path}")
    savemat(tmp_path / "car_001_mesh.mat", {"im": np.zeros((8, 8, 3, 4, 24), np.uint8)})
    with pytest.raises(UserError, match=r"expected im uint8 \(s, s, 3, 24, 4\)"):
        open_data(f"cars3d:{tmp_path}")
    (tmp_path / "car_001_mesh.mat").write_bytes(b"text")
    with pytest.raises(UserError, match="expected a MATLAB file with im"):
        open_data(f"cars3d:{tmp_path}")
    dsprites(tmp_path).with_name("dsprites_2.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"found 2: dsprites_2\.npz, dsprites_ndarray"):
        open_data(f"dsprites:{tmp_path}")
    with pytest.raises(UserError, match="expected 97 images, found 96"):
        open_data(f"dsprites:{dsprites(tmp_path / 'a')}?n=97")


def test_without_h5py_a_message_says_what_to_install(tmp_path, monkeypatch):
    path = shapes3d(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match=r"pip install 'dbae-bench\[h5py\]'"):
        open_data(f"shapes3d:{path}")
