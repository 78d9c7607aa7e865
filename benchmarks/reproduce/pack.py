"""Pack a trained model for others: averaged weights in float16, and in its card what the benchmarks give for them.

Examples:
  python -m benchmarks.reproduce.pack runs/faces32/checkpoints/images-000600000.safetensors runs/small.safetensors
  python -m benchmarks.reproduce.pack runs/vae/checkpoints/images-000600000.safetensors runs/vae.safetensors --force

The models that come with this package were packed so. The weights are rounded first and measured then: linear probes in
both protocols, seed 0, of a model that has an encoder, and reconstruction of the first 50 test images in 10 evaluations
of one that decodes. OUT's line in SHA256SUMS beside it is written anew. Results stay in --results, where the controls
of one model serve the next, and can be compared: `dbae-bench compare runs/pack/downstream.csv --baseline pca`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import torch
from tyro.conf import Positional

from baselines.convert import require_new
from baselines.load import load, no_model
from benchmarks import downstream, reconstruction
from dbae.checkpoints import own
from dbae.data import parse_source
from dbae.pretrained import SUMS, find, sums
from dbae.support import cli
from dbae.support.files import atomic_path, sha256

PROBED, RECONSTRUCTED = ("AP", "Pearson_r", "MSE"), ("MSE", "SSIM_skimage")
"""Metrics that go into the card."""
RECONSTRUCTIONS = 50
"""Images of which it says how well they are reconstructed."""


@dataclasses.dataclass(frozen=True)
class PackOptions:
    """The command line."""

    source: Positional[Path]
    """The checkpoint that training wrote, of a model or of a prior, which is not measured."""
    out: Positional[Path]
    """The .safetensors file to write."""
    data: tuple[str, ...] = ("faces:?n=1000", "faces:?n=10000")
    """Data sets to measure on, with labels."""
    note: str = ""
    """A sentence for the card."""
    results: Path = Path("runs/pack")
    """Folder of the measured rows; those that it has are not measured again."""
    force: bool = False
    """Replace a file that is there."""


def expected(
    ckpt: str, data: str, results: Path, protocols: tuple[str, ...] = ("paper", "standard")
) -> dict[str, float]:
    """What a card says that the benchmarks give for a model on a data set, to four digits.

    Keys name the data set without its folder and all that another run has to be told, e.g. "faces:?n=1000, standard,
    test, AP" and "faces:?n=1000, paper, test, decoded x_T, ddbm_euler 10, MSE".

    Args:
        ckpt: as in --ckpt; data: as in --data.
        results: folder for the rows.
        protocols: of the probes.

    Raises:
        UserError: a file or the data is not usable.
    """
    found: dict[str, float] = {}
    loaded, about = load(ckpt), parse_source(data).portable
    if not loaded.model.encode_nfe:
        rows = downstream.measure(ckpt, data=data, out=results / "downstream.csv", protocol=protocols, seeds=(0,))
        means = rows[(rows["model"] == loaded.name) & (rows["attribute"] == "mean") & rows["metric"].isin(PROBED)]
        for row in means.to_dict("records"):
            found[f"{about}, {row['protocol']}, {row['split']}, {row['metric']}"] = row["value"]
    if loaded.model.endpoints:
        rows = reconstruction.measure(
            ckpt, data=data, out=results / "reconstruction.csv", nfe=(10,), limit=RECONSTRUCTIONS
        )
        for row in rows[rows["metric"].isin(RECONSTRUCTED)].to_dict("records"):
            way = f"{row['x_T']} x_T, {row['sampler']} {row['nfe_requested']}"
            found[f"{about}, {row['protocol']}, {row['split']}, {way}, {row['metric']}"] = row["value"]
    return {key: float(f"{value:.4g}") for key, value in found.items()}


def pack(options: PackOptions) -> None:
    """Run the command.

    Raises:
        UserError: a file or the data is not usable.
    """
    require_new(options.out, force=options.force)
    sums(options.out.parent)  # what cannot be read is refused before anything is measured
    source = find(options.source)
    card, states = own.read(source)
    kind, weights = next(iter(states.items()))  # averaged where there are any
    card = dataclasses.replace(card, note=options.note or card.note, expected={})
    with tempfile.TemporaryDirectory() as folder:
        rounded = str(Path(folder) / options.out.name)
        own.save(rounded, card, **{kind: weights}, dtype=torch.float16)
        if no_model(rounded) is None:
            for data in options.data:
                card.expected.update(expected(rounded, data, options.results))
    own.save(options.out, card, **{kind: weights}, dtype=torch.float16)
    _list(options.out)


def _list(path: Path) -> None:
    """Write the line of a file in SHA256SUMS beside it, as `sha256sum` does."""
    hashes = sums(path.parent) | {path.name: sha256(path)}
    with atomic_path(path.parent / SUMS) as temporary:
        temporary.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items())), "utf-8")


if __name__ == "__main__":
    raise SystemExit(cli.run(pack, PackOptions, module="benchmarks.reproduce.pack", description=__doc__))
