"""PDAE as a method: how long the published ones were trained, how it draws z, and `METHOD`."""

from __future__ import annotations

from baselines.method import Method, Official, Preset
from baselines.methods.pdae.model import (
    PDAE,
    PDAEConfig,
    bedroom128,
    celeba64,
    celebahq128,
    faces32,
    faces64,
    faces64s,
    ffhq128,
    horse128,
)
from baselines.methods.pdae.objective import loss
from baselines.methods.pdae.official import FACTS, QUESTION, detect, from_official, settled
from baselines.methods.pdae.pretrained import OnPretrained
from dbae.prior import LatentSampling
from dbae.training.config import SMALL_PRESETS

LATENT_SAMPLING = LatentSampling(steps=100, spacing="linspace", clip=True)
"""How the reference draws z from its latent DPM; without `clip` z keeps its spread."""


# PDAE's authors do not say how long they trained: these are the lengths of DiTi's runs of it.
LENGTHS = {"celeba64": 38_000_000, "ffhq128": 64_000_000, "celebahq128": 64_000_000}
LENGTHS |= {"horse128": 70_000_000, "bedroom128": 70_000_000}
"""Training images of each preset."""

METHOD = Method(
    key="pdae",
    label="PDAE",
    config=PDAEConfig,
    model=PDAE,
    loss=loss,
    presets={
        "celeba64": Preset(celeba64, dict(optimizer="adam", images=LENGTHS["celeba64"])),
        "ffhq128": Preset(ffhq128, dict(optimizer="adam", images=LENGTHS["ffhq128"])),
        "celebahq128": Preset(celebahq128, dict(optimizer="adam", images=LENGTHS["celebahq128"])),
        "horse128": Preset(horse128, dict(optimizer="adam", images=LENGTHS["horse128"])),
        "bedroom128": Preset(bedroom128, dict(optimizer="adam", images=LENGTHS["bedroom128"])),
        "faces32": Preset(faces32, SMALL_PRESETS["faces32"]),
        "faces64": Preset(faces64, SMALL_PRESETS["faces64"]),
        "faces64s": Preset(faces64s, SMALL_PRESETS["faces64s"]),
    },
    options=OnPretrained,
    official=(
        Official(
            claims=("PDAE", "latent DPM"),
            detect=detect,
            state=from_official,
            question=QUESTION,
            settled=settled,
            facts=FACTS,
            published=lambda config: config in (celeba64(), ffhq128()),
            latent_sampling=LATENT_SAMPLING,
        ),
    ),
)
