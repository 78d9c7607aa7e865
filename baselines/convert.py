"""Rewrite any checkpoint that `baselines.load` opens in this package's format: safetensors with a card.

Examples:
  python -m baselines.convert ema_0.9999_1020000.pt dbae-ffhq.safetensors
  python -m baselines.convert runs/faces32/checkpoints/images-000600000.safetensors small.safetensors --dtype float16
  python -m baselines.convert diffae/ffhq128-latent diffae-ffhq.safetensors

The file holds the weights that benchmarks use (EMA where there is one), not the training state. A latent prior in the
same file goes into OUT.prior.safetensors.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
from pathlib import Path
from typing import Literal

import torch
from tyro.conf import Positional

from baselines.assemble import CONVERTED
from baselines.load import LoadedModel, load
from baselines.methods import method_of
from dbae.checkpoints import own as checkpoint
from dbae.prior import METHOD as PRIOR
from dbae.prior import LatentPrior
from dbae.support.cli import run
from dbae.support.errors import UserError
from dbae.support.files import sha256

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    source: Positional[Path]
    """The checkpoint to read, a file or a name that `--ckpt` takes."""
    out: Positional[Path]
    """The .safetensors file to write."""
    force: bool = False
    """Replace a file that is there."""
    dtype: Literal["float32", "float16"] = "float32"
    """Precision of the stored weights; loading always gives float32."""
    expected: Path | None = None
    """A results CSV of this model: its means over seeds go into the card, for users to compare with."""
    note: str = ""
    """A sentence for the card."""


def convert(options: Options) -> None:
    """Run the command."""
    require_new(options.out, force=options.force)
    loaded = load(options.source)
    card = _card(loaded)
    expected = _expected(options.expected, loaded.name, loaded.sha256) if options.expected else card.expected
    card = dataclasses.replace(card, expected=expected, note=options.note or card.note)
    dtype = getattr(torch, options.dtype)
    kind = "raw" if loaded.weights_used == "raw" else "ema"
    checkpoint.save(options.out, card, **{kind: _module(loaded).state_dict()}, dtype=dtype)
    log.info("%s: %.2f MB", options.out, options.out.stat().st_size / 1e6)
    if isinstance(loaded.prior, LatentPrior):
        beside = options.out.with_suffix(".prior.safetensors")
        checkpoint.save(
            beside, _prior_card(loaded, loaded.prior, options.out), raw=loaded.prior.state_dict(), dtype=dtype
        )
        log.info("%s: its prior, for --prior", beside)


def require_new(out: Path, *, force: bool) -> None:
    """Raise UserError unless a checkpoint can be written under this name, or `force` replaces what is there."""
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: expected a name that ends in .safetensors.")
    if out.exists() and not force:
        raise UserError(f"{out}: is there already. Add --force to replace it, or choose another name.")


def _module(loaded: LoadedModel) -> torch.nn.Module:
    assert isinstance(loaded.model, torch.nn.Module)  # all that `load` makes are
    return loaded.model


def _card(loaded: LoadedModel) -> checkpoint.Card:
    """Our own card goes on; a foreign file gets one that says where it came from."""
    if checkpoint.is_own(loaded.file):
        return checkpoint.read(loaded.file)[0]
    model = _module(loaded)
    method = method_of(model)
    assert method is not None  # all that `load` makes have one
    facts = {"facts": dict(loaded.facts)} if loaded.facts else {}
    origin = {"file": loaded.file.name, "sha256": loaded.sha256, "weights": loaded.weights_used}
    return checkpoint.Card(
        method=method.key,
        name=loaded.name,
        config=dataclasses.asdict(model.config),  # type: ignore[call-overload]
        train_data={"name": loaded.train_data} if loaded.train_data else {},
        training={CONVERTED: origin | facts},
        note=f"Converted from {loaded.file.name}.",
    )


def _prior_card(loaded: LoadedModel, prior: LatentPrior, autoencoder: Path) -> checkpoint.Card:
    return checkpoint.Card(
        method=PRIOR,
        name=f"{loaded.name} prior",
        config=dataclasses.asdict(prior.config),
        train_data={"autoencoder": loaded.name, "autoencoder_sha256": sha256(autoencoder)},
        training={CONVERTED: {"file": loaded.file.name, "sha256": loaded.sha256, "weights": loaded.weights_used}},
        objective={"sampling": dataclasses.asdict(prior.sampling)},
    )


_NEEDED = (
    *("model", "dataset", "protocol", "split", "attribute", "metric", "value"),
    *("sampler", "nfe_requested", "x_T", "z", "seed", "checkpoint_sha256"),
)
"""Columns of a results file."""
_MEASURED = {"value", "stderr", "versions", "revision", "seconds", "peak_mib"}
"""Those that do not say which number it is."""


def _expected(path: Path, model: str, sha256: str) -> dict[str, float]:
    """Means over seeds of one model in a results file, to four digits, by the keys of `benchmarks.reproduce.pack`.

    Raises:
        UserError: no results file, no such rows of these weights, or two numbers of one key.
    """
    own = [r for r in _rows(path) if r["model"] == model and r["seed"].startswith("mean of")]
    rows = [r for r in own if r["checkpoint_sha256"] == sha256 and _is_result(r, path)]
    if not rows:
        others = ", ".join(sorted({r["checkpoint_sha256"][:12] or "none" for r in own} - {sha256[:12]}))
        found = f"those of {others}" if others else "none"
        raise UserError(
            f"{path}: expected rows of {model}, checkpoint {sha256[:12]}, with means over seeds, found {found}. "
            "Measure this file with two --seeds or more."
        )
    found_by: dict[str, dict[str, str]] = {}
    for row in rows:
        first = found_by.setdefault(_key(row), row)
        if float(first["value"]) != float(row["value"]):
            differ = [f"{c} {first[c]} and {row[c]}" for c in first if c not in _MEASURED and first[c] != row[c]]
            raise UserError(
                f"{path}: expected one number of {_key(row)}, found {first['value']} and {row['value']}, whose rows "
                f"differ in {', '.join(differ) or 'nothing else'}. Leave the rows of one run in the file."
            )
    return {key: float(f"{float(row['value']):.4g}") for key, row in found_by.items()}


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path}: expected a results file, found none of its columns {', '.join(missing)}.")
            return list(reader)
    except csv.Error as error:
        raise UserError(f"{path}: expected a results file, could not read it ({error}). Name another.") from error


def _is_result(row: dict[str, str], path: Path) -> bool:
    """Whether this is a number of all labels, attributes and times: none of a probe or of an interval's end, no NaN."""
    about = row["metric"].startswith("probe_") or row["metric"].endswith(("_low", "_high"))
    partial = row.get("n_train") or " at " in row["z"] or row["attribute"] != "mean"
    try:
        return not about and not partial and math.isfinite(float(row["value"]))
    except ValueError:
        raise UserError(
            f"{path}, {row['metric']}: expected a number, found {row['value']!r}. Repair the file."
        ) from None


def _key(row: dict[str, str]) -> str:
    """As "data set, protocol, split, metric", with how images were decoded where they were."""
    way = [f"{row['x_T']} x_T, {row['sampler']} {row['nfe_requested']}"] if row["x_T"] else []
    return ", ".join([row["dataset"], row["protocol"], row["split"], *way, row["metric"]])


if __name__ == "__main__":
    raise SystemExit(run(convert, Options, module="baselines.convert", description=__doc__))
