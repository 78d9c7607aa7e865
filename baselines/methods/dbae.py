"""DBAE itself as a method: the model, its files and its presets are `dbae`'s, and `python -m dbae.train` trains it."""

from __future__ import annotations

from baselines.method import Method, Official, Preset
from dbae.checkpoints import official
from dbae.losses import objective
from dbae.model import DBAE, DBAEConfig, bedroom128, celeba64, faces32, faces64, faces64s, ffhq128, horse128
from dbae.training.config import SMALL_PRESETS

METHOD = Method(
    key="dbae",
    label="DBAE",
    config=DBAEConfig,
    model=DBAE,
    loss=objective,
    presets={
        "celeba64": Preset(celeba64),
        "ffhq128": Preset(ffhq128),
        "horse128": Preset(horse128),
        "bedroom128": Preset(bedroom128),
        "faces64": Preset(faces64, SMALL_PRESETS["faces64"]),
        "faces64s": Preset(faces64s, SMALL_PRESETS["faces64s"]),
        "faces32": Preset(faces32, SMALL_PRESETS["faces32"]),
    },
    options=None,
    official=(
        Official(
            claims=("DBAE",),
            detect=lambda parts: official.detect(parts["model"]),
            state=lambda parts: {official.our_key(key): value for key, value in parts["model"].items()},
            question=official.QUESTION,
            settled=official.settled,
            facts=official.FACTS,
            published=official.published,
        ),
    ),
    variant=lambda config: "stochastic" if config.stochastic else "deterministic",
)
