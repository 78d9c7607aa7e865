"""Images and labels that are damaged or odd. `python -m dbae.data check` and `dbae.encode` read them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import sandbox
from damage import broken_bytes, broken_json, broken_table, pick
from kind import Kind, first
from PIL import Image

FORMATS = {
    "png": ("L", "LA", "P", "RGB", "RGBA", "1", "I;16"),
    "jpg": ("L", "RGB", "CMYK"),
    "bmp": ("L", "P", "RGB"),
    "gif": ("L", "P"),
    "tif": ("L", "P", "RGB", "RGBA", "CMYK", "1", "I;16", "F"),
    "webp": ("RGB", "RGBA"),
    "ppm": ("RGB",),
    "tga": ("RGB", "RGBA", "L"),
}


def picture(rng: np.random.Generator, kind: str, size: int = 40) -> bytes:
    """Noise as a file of one of `FORMATS`."""
    mode = pick(rng, FORMATS[kind])
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 1 << 16, (size, size), np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8))
        image = image.convert("L").convert("LA") if mode == "LA" else image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()))
    return buffer.getvalue()


class Images(Kind):
    """Folders and zips in which one image has broken bytes."""

    name, held = "images", "check and encode: status 0, or 2 with a line that names the image, the folder or the zip"

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """Three images, the second one broken; every second time in a zip, whose bytes may be broken instead."""
        kind = pick(rng, sorted(FORMATS))
        data, how = broken_bytes(rng, picture(rng, kind))
        files = {"a.png": picture(rng, "png"), f"b.{kind}": data, "c.png": picture(rng, "png")}
        where, root = "folder", folder / "images"
        if rng.random() < 0.5:
            where, root = "zip", folder / "images.zip"
            with zipfile.ZipFile(root, "w", pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
            if rng.random() < 0.6:
                packed, how = broken_bytes(rng, root.read_bytes())
                root.write_bytes(packed)
                how = f"its bytes: {how}"
        else:
            root.mkdir()
            for name, content in files.items():
                (root / name).write_bytes(content)
        names = [f"b.{kind}", root.name]
        complaints = [sandbox.run(f"dbae.data check {where}:{root}", folder / "check").refused_or_done(names)]
        if rng.random() < 0.3:
            out = folder / "z.npz"
            found = sandbox.run(f"dbae.encode {where}:{root} --out {out} --device cpu", folder / "encode")
            complaints += [found.refused_or_done(names), self._finite(found, out)]
        return f"{where}, {kind}, {how}", first(complaints)

    @staticmethod
    def _finite(found: sandbox.Outcome, out: Path) -> str:
        if found.status:
            return "a refused run left its result" if out.exists() else ""
        with np.load(out) as arrays:
            whole = all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f")
        return "" if whole else "status 0 and numbers that are not finite"


class Lmdbs(Kind):
    """DiffAE's layout with broken bytes."""

    name, held = "lmdb", "check: status 0, or 2 with a line that names the folder; never a signal"

    def prepare(self) -> None:
        """Ten images."""
        import lmdb

        rng = np.random.default_rng(0)
        with lmdb.open(str(self.home / "whole"), map_size=1 << 24) as store, store.begin(write=True) as writer:
            for i in range(10):
                writer.put(f"64-{i:05d}".encode(), picture(rng, "jpg", 64))
            writer.put(b"length", b"10")

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """Bytes of data.mdb."""
        data, how = broken_bytes(rng, (self.home / "whole" / "data.mdb").read_bytes())
        root = folder / "lmdb"
        root.mkdir()
        (root / "data.mdb").write_bytes(data)
        return how, sandbox.run(f"dbae.data check lmdb:{root}", folder / "check").refused_or_done([root.name])


NAMES = [f"{i:06d}.png" for i in range(1, 13)]
TABLES = {
    "labels.csv": "file,split,smiling,age,hair\n"
    + "".join(f"{n},{'train' if i < 8 else 'test'},{i % 2},{20 + i}.5,{'brown' if i % 3 else 'black'}\n"
              for i, n in enumerate(NAMES)),
    "list_attr_celeba.txt": "12\nMale Smiling\n"
    + "".join(f"{n} {1 if i % 2 else -1:2d} {1 if i % 3 else -1:2d}\n" for i, n in enumerate(NAMES)),
    "list_attr_celeba.csv": "image_id,Male,Smiling\n"
    + "".join(f"{n},{1 if i % 2 else -1},{1 if i % 3 else -1}\n" for i, n in enumerate(NAMES)),
    "list_eval_partition.txt": "".join(f"{n} {i % 3}\n" for i, n in enumerate(NAMES)),
    "list_eval_partition.csv": "image_id,partition\n" + "".join(f"{n},{i % 3}\n" for i, n in enumerate(NAMES)),
    "attributes_continuous.csv": "file,split,yaw,pitch\n"
    + "".join(f"{n},{i % 3},{i / 7},{-i * 1.5}\n" for i, n in enumerate(NAMES)),
}  # fmt: skip
"""Label files as the README and CelebA have them."""
DATASET = {"labels": [[n, i % 4] for i, n in enumerate(NAMES)]}


class Labels(Kind):
    """Label files with slips and damage, beside twelve images, in a folder or a zip."""

    name, held = "labels", "check: status 0 and no number that is not finite, or 2 with a line that names the file"

    def prepare(self) -> None:
        """The images."""
        rng = np.random.default_rng(0)
        self.images = {name: picture(rng, "png", 8) for name in NAMES}

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """One file, a slip in its text or an accident of its bytes."""
        name = pick(rng, [*sorted(TABLES), "dataset.json"])
        if name == "dataset.json":
            content, how = broken_json(rng, DATASET)
            data = json.dumps(content).encode()
        else:
            data, how = broken_table(rng, TABLES[name], "," if name.endswith(".csv") else " ")
        if rng.random() < 0.25:
            data, how = broken_bytes(rng, data)
        files = self.images | {name: data}
        kind = "zip" if name == "dataset.json" or rng.random() < 0.3 else "folder"
        root = folder / ("set.zip" if kind == "zip" else "set")
        if kind == "zip":
            with zipfile.ZipFile(root, "w") as archive:
                for file, content in files.items():
                    archive.writestr(file, content)
        else:
            root.mkdir()
            for file, content in files.items():
                (root / file).write_bytes(content)
        found = sandbox.run(f"dbae.data check {kind}:{root}", folder / "check")
        complaint = found.refused_or_done([name, root.name])
        words = set(found.output.lower().replace(",", " ").split())
        if not complaint and found.status == 0 and words & {"nan", "inf", "-inf", "nan%"}:
            complaint = "status 0 and numbers that are not finite"
        return f"{name} in a {kind}: {how}", complaint
