"""Every attribute of a drawn face can be seen in its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from image_samples import column

from dbae.data.faces import Faces, attributes, drawing

THRESHOLDED = {
    "Arched_Eyebrows": "brow_arch",
    "Big_Lips": "lip_thickness",
    "Big_Nose": "nose_width",
    "Bushy_Eyebrows": "brow_thickness",
    "Mouth_Slightly_Open": "mouth_opening",
    "Narrow_Eyes": "eye_openness",
    "No_Beard": "beard_density",
    "Pale_Skin": "skin_tone",
    "Rosy_Cheeks": "cheek_redness",
    "Smiling": "smile",
    "Wavy_Hair": "hair_wave",
    "Young": "age",
}
"""Binary attributes that say on which side of a number a continuous one lies; that one is drawn."""

COMBINED = {"Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Oval_Face", "Straight_Hair"}
"""Binary attributes that follow from several traits."""

BEARDS = {"5_o_Clock_Shadow", "Goatee", "Mustache"}
"""Drawn with the density of the beard, which is 0 on the other faces."""


def drawn(traits: attributes.Traits, size: int = 64) -> np.ndarray:
    return drawing.draw(traits, size).astype(np.int16)


def people(count: int) -> dict[str, np.ndarray]:
    return dict(attributes.sample_traits(0, np.arange(count)))


@pytest.mark.parametrize("name", attributes.CONTINUOUS_NAMES)
def test_continuous_attributes_are_visible(name: str) -> None:
    """A step of one standard deviation towards the mean and beyond changes nearly every picture."""
    traits = people(48)
    before = drawn(traits)
    values = people(4000)[name]
    traits[name] = traits[name] + values.std() * np.where(traits[name] > values.mean(), -1, 1)
    change = np.abs(drawn(traits) - before).max((1, 2, 3))
    if name == "beard_density":
        change = change[people(48)["No_Beard"] == 0]
    if name.startswith("hair_") and name not in ("hair_lightness", "hair_warmth"):
        change = change[people(48)["Bald"] == 0]
    assert np.median(change) >= 8
    assert (change > 0).all()


@pytest.mark.parametrize("name", sorted(set(attributes.BINARY_NAMES) - THRESHOLDED.keys() - COMBINED))
def test_binary_attributes_are_visible(name: str) -> None:
    traits = people(64)
    if name in BEARDS:
        traits["beard_density"] = np.full(64, 0.6)
    before = drawn(traits)
    traits[name] = 1 - traits[name]
    change = np.abs(drawn(traits) - before).max((1, 2, 3))
    if name in BEARDS:  # under a full beard little of it shows
        change = change[traits["full_beard"] == 0]
    if name in ("Bangs", "Receding_Hairline"):
        change = change[traits["Bald"] == 0]
    assert np.quantile(change, 0.1) >= 10


@pytest.mark.parametrize(("binary", "continuous"), THRESHOLDED.items())
def test_thresholded_attributes_follow_what_is_drawn(population: Faces, binary: str, continuous: str) -> None:
    flag, value = column(population, binary) == 1, column(population, continuous)
    assert value[flag].min() > value[~flag].max() or value[flag].max() < value[~flag].min()


def test_hair_colours_follow_what_is_drawn(population: Faces) -> None:
    lightness = column(population, "hair_lightness")
    black, brown, blond = (lightness[column(population, f"{c}_Hair") == 1] for c in ("Black", "Brown", "Blond"))
    assert black.max() < brown.min() < brown.max() < blond.min()
    traits = people(64)
    before = drawn(traits)
    traits["grayness"] = 1 - traits["grayness"]
    assert np.abs(drawn(traits) - before).max((1, 2, 3)).min() >= 10
