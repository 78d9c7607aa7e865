"""Rewriting checkpoints in our format."""

import csv
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import torch
from official_files import save_lightning, save_pdae, small_ddim, small_diffae, small_latent_net, small_pdae
from small_model import small_checkpoint

from baselines.convert import Options, convert
from baselines.load import load, load_prior
from baselines.methods.pdae import LATENT_SAMPLING
from benchmarks.results import COLUMNS, LATER
from dbae.checkpoints import own as checkpoint
from dbae.support.errors import UserError
from dbae.support.files import sha256


@pytest.fixture
def source(tmp_path):
    return small_checkpoint(tmp_path / "source.safetensors")


def test_keeps_the_averaged_weights_and_the_card(source, tmp_path):
    convert(Options(source, tmp_path / "out.safetensors", note="for a test"))
    (model, card), (before, card_before) = checkpoint.load(tmp_path / "out.safetensors"), checkpoint.load(source)
    assert all(torch.equal(v, before.state_dict()[k]) for k, v in model.state_dict().items())
    assert (card.images_seen, card.command, card.note) == (64, card_before.command, "for a test")


def test_half_precision_halves_the_file_and_loads_as_float32(source, tmp_path):
    sizes = {}
    for dtype in ("float32", "float16"):
        convert(Options(source, tmp_path / f"{dtype}.safetensors", dtype=dtype))
        tensors, _ = checkpoint.read_tensors(tmp_path / f"{dtype}.safetensors", "card")
        sizes[dtype] = sum(v.nbytes for v in tensors.values() if v.is_floating_point())
    assert sizes["float32"] == 2 * sizes["float16"]
    model, _ = checkpoint.load(tmp_path / "float16.safetensors")
    assert {v.dtype for v in model.state_dict().values() if v.is_floating_point()} == {torch.float32}


def written(tmp_path, source, *rows):
    """A results file of these rows; what they do not say is that of a mean AP of `source`."""
    common = dict.fromkeys((*COLUMNS, *LATER), "") | {"dataset": "faces-v1", "protocol": "standard", "split": "test"}
    common |= {"metric": "AP", "value": "0.25", "model": "small", "seed": "mean of 0 1", "attribute": "mean"}
    common |= {"checkpoint_sha256": sha256(source), "n": "100"}
    with open(tmp_path / "results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, common)
        writer.writeheader()
        writer.writerows(common | row for row in rows)
    return tmp_path / "results.csv"


def test_expected_metrics_are_the_means_over_seeds_of_this_model(source, tmp_path):
    decoded = {"protocol": "paper", "metric": "FID", "x_T": "random", "sampler": "ddim"}
    results = written(
        tmp_path,
        source,
        {"seed": "0", "value": "0.1"},
        {"value": "0.250"},
        {"value": "0.25", "versions": "of another run"},
        {"value": "0.3", "z": "mean at best t"},
        {"value": "0.2", "n_train": "100"},
        {"value": "0.5", "model": "pca"},
        {"value": "0.6", "checkpoint_sha256": "cd" * 32},
        {"value": "0.7", "attribute": "Young"},
        {"value": "nan", "metric": "Pearson_r"},
        {"value": "1", "metric": "probe_rank"},
        {"value": "123.456", "nfe_requested": "10", **decoded},
        {"value": "23.456", "nfe_requested": "20", **decoded},
    )
    convert(Options(source, tmp_path / "out.safetensors", expected=results))
    assert checkpoint.load(tmp_path / "out.safetensors")[1].expected == {
        "faces-v1, standard, test, AP": 0.25,
        "faces-v1, paper, test, random x_T, ddim 10, FID": 123.5,
        "faces-v1, paper, test, random x_T, ddim 20, FID": 23.46,
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"checkpoint_sha256": "cd" * 32}], "with means over seeds, found those of cdcdcdcdcdcd"),
        ([{"seed": "0"}], "with means over seeds, found none"),
        ([{}, {"value": "0.3", "n": "50"}], "0.25 and 0.3, whose rows differ in n 100 and 50. Leave the rows of one"),
        ([{"value": "a"}], r"results\.csv, AP: expected a number, found 'a'"),
    ],
)
def test_expected_metrics_of_other_weights_or_two_values_are_refused(source, tmp_path, rows, message):
    results = written(tmp_path, source, *rows)
    with pytest.raises(UserError, match=message):
        convert(Options(source, tmp_path / "out.safetensors", expected=results))
    results.write_text("model,seed,value\n")
    with pytest.raises(UserError, match="expected a results file, found none of its columns dataset, protocol"):
        convert(Options(source, tmp_path / "out.safetensors", expected=results))


def test_refuses_another_format(source, tmp_path):
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        convert(Options(source, tmp_path / "out.pt"))


def test_a_file_that_is_there_is_not_replaced_silently(source, tmp_path):
    (tmp_path / "out.safetensors").write_text("mine")
    with pytest.raises(UserError, match=r"is there already\. Add --force to replace it"):
        convert(Options(source, tmp_path / "out.safetensors"))
    assert (tmp_path / "out.safetensors").read_text() == "mine"
    convert(Options(source, tmp_path / "out.safetensors", force=True))
    assert (tmp_path / "out.safetensors").stat().st_size > 1000


# --- files of other authors -------------------------------------------------------------------------------------------


def same_tensors(a, b):
    return a.state_dict().keys() == b.state_dict().keys() and all(
        torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items()
    )


@pytest.mark.parametrize("kind", ["diffae", "ddim", "pdae", "diti", "bare"])
def test_published_file_comes_back(tmp_path, kind):
    path, options = tmp_path / "ema_last.pt", ""
    match kind:
        case "diffae":
            save_lightning(path, small_diffae())
        case "ddim":
            save_lightning(path, small_ddim())
        case "pdae" | "diti":
            save_pdae(path, small_pdae(), **({"ssl_model": {}} if kind == "diti" else {}))
            options = "?heads=2&attention_order=new&schedule=cosine"
        case "bare":
            torch.save(small_ddim(), path)
            options = "?heads=1&image_size=32&schedule=cosine"
    before = load(f"{path}{options}")
    convert(Options(Path(f"{path}{options}"), tmp_path / "out.safetensors"))
    found = load(tmp_path / "out.safetensors")
    assert type(found.model) is type(before.model)
    assert same_tensors(found.model, before.model)
    assert found.model.config == before.model.config
    assert (found.method, found.name, found.weights, found.weights_used) == (
        before.method,
        "ema_last",
        "trained",
        "EMA",
    )
    assert found.train_data == before.train_data
    assert type(found.prior) is type(before.prior)
    card = checkpoint.read(tmp_path / "out.safetensors")[0]
    told = {"facts": dict(parse_qsl(options[1:]))} if options else {}
    origin = {"file": "ema_last.pt", "sha256": sha256(path), "weights": "EMA"}
    assert card.training == {"converted from": origin | told}
    assert found.variant == before.variant == ", ".join(sorted(filter(None, options[1:].split("&"))))
    convert(Options(tmp_path / "out.safetensors", tmp_path / "again.safetensors"))
    assert load(tmp_path / "again.safetensors").variant == before.variant
    assert card.note == "Converted from ema_last.pt."


def test_raw_weights_stay_raw(tmp_path):
    torch.save({"state_dict": {f"model.{key}": value for key, value in small_ddim().items()}}, tmp_path / "last.ckpt")
    source = Path(f"{tmp_path / 'last.ckpt'}?heads=1&image_size=32&schedule=linear")
    convert(Options(source, tmp_path / "out.safetensors"))
    assert load(tmp_path / "out.safetensors").weights_used == "raw"


def test_prior_goes_into_a_file_of_its_own(tmp_path):
    parts = small_pdae() | {"latent_denoise_fn": small_latent_net(32)}
    save_pdae(tmp_path / "checkpoint.pt", parts, raw=False)
    torch.save({"mean": torch.ones(32), "std": torch.full((32,), 2.0)}, tmp_path / "latents.pt")
    source = Path(f"{tmp_path / 'checkpoint.pt'}?heads=1&schedule=linear")
    convert(Options(source, tmp_path / "out.safetensors"))
    model = load(tmp_path / "out.safetensors")
    found = load_prior(tmp_path / "out.prior.safetensors", of=model)
    before = load(source).prior
    assert same_tensors(found, before)
    assert found.sampling == before.sampling == LATENT_SAMPLING
    with pytest.raises(UserError, match="the prior of another autoencoder"):
        load_prior(tmp_path / "out.prior.safetensors", of=load(source))
