"""Published data sets, a few images each, as members of their official folders."""

from __future__ import annotations

import json
from pathlib import Path

from image_samples import coded, picture, png

ATTRIBUTES = ("5_o_Clock_Shadow", "Male", "Young")
LFW_FILES: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "golden" / "downstream" / "lfw_parser.json").read_text()
)["files"]
LFW_IMAGES = ("Aaron_Eckhart", 1), ("Abdel_Aziz_Al-Hakim", 1), ("Abdel_Aziz_Al-Hakim", 3), ("Zoe_Ball", 1)


def attribute_list(names: list[str]) -> bytes:
    rows = [f"{name}  {' '.join(str(1 - 2 * (i >> k & 1)) for k in range(3))}" for i, name in enumerate(names)]
    return "\n".join([str(len(names)), " ".join(ATTRIBUTES), *rows, ""]).encode()


def expected_attributes(n: int) -> list[list[int]]:
    return [[1 - (i >> k & 1) for k in range(3)] for i in range(n)]


def celeba(n: int = 5) -> dict[str, bytes]:
    """The folder that the official archives unpack to, with the files that are not read."""
    names = [f"{i + 1:06d}.jpg" for i in range(n)]
    return {f"Img/img_align_celeba/{name}": coded(picture(i, 178, 218), "JPEG") for i, name in enumerate(names)} | {
        "Img/img_celeba/000001.jpg": coded(picture(99, 20, 30), "JPEG"),
        "Anno/list_attr_celeba.txt": attribute_list(names),
        "Anno/identity_CelebA.txt": "".join(f"{name} {2880 + i % 2}\n" for i, name in enumerate(names)).encode(),
        "Anno/list_bbox_celeba.txt": b"5\n",
        "Eval/list_eval_partition.txt": "".join(
            f"{name} {min(max(0, i - 2), 2)}\n" for i, name in enumerate(names)
        ).encode(),
    }


def celebahq(n: int = 11) -> dict[str, bytes]:
    images = {f"CelebAMask-HQ/CelebA-HQ-img/{i}.jpg": coded(picture(i, 300, 300), "JPEG") for i in range(n)}
    return images | {
        "CelebAMask-HQ/CelebAMask-HQ-mask-anno/0/00000_hair.png": png(picture(99, 8, 8)),
        "CelebAMask-HQ/CelebAMask-HQ-attribute-anno.txt": attribute_list([f"{i}.jpg" for i in range(n)]),
    }


def ffhq(n: int = 3, folder: str = "images1024x1024") -> dict[str, bytes]:
    return {f"{folder}/00000/{i:05d}.png": png(picture(i, 260, 260)) for i in range(n)} | {"LICENSE.txt": b"x"}


def lsun(n: int = 4) -> dict[str, bytes]:
    keys = [f"{i * 7919 % 16:x}{i:039x}" for i in range(n)]
    return {f"{key[0]}/{key[1]}/{key}.webp": coded(picture(i, 90 + i, 80), "WEBP") for i, key in enumerate(keys)}


def lfw() -> dict[str, bytes]:
    images = {
        f"lfw-py/lfw_funneled/{name}/{name}_{number:04d}.jpg": coded(picture(number, 250, 250), "JPEG")
        for name, number in LFW_IMAGES
    }
    return images | {name: text.encode() for name, text in LFW_FILES.items()}
