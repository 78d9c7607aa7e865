"""Who is on image i: labels of a drawn face as a pure function of (seed, index).

Random numbers are `dbae.data.drawn.Draws`. With additions, multiplications, divisions and square roots alone, labels
are the same bits on every machine.

Names and correlations of the binary attributes follow CelebA (Liu et al. 2015): all of its 40 but "Attractive",
which no drawing can decide. Rare ones (hats, glasses, neckties) are more frequent here than there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64, Int64

from dbae.data.base import Attributes
from dbae.data.drawn import Draws

Traits = Mapping[str, Float64[np.ndarray, " n"]]

BINARY_NAMES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose", "Black_Hair",
    "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee",
    "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)  # fmt: skip
UNITS: dict[str, tuple[float, float]] = {
    "yaw": (0, 13), "pitch": (0, 5), "roll": (0, 5), "scale": (0.6, 0.03), "offset_x": (0, 0.045),
    "offset_y": (0, 0.03), "age": (38.7, 14), "skin_tone": (0.37, 0.24), "face_width": (1.015, 0.052),
    "jaw_width": (0.43, 0.19), "hair_lightness": (0.41, 0.31), "hair_warmth": (0.13, 0.24),
    "hair_length": (0.45, 0.32), "hair_volume": (0.53, 0.24), "hair_wave": (0.43, 0.28), "eye_size": (1.04, 0.096),
    "eye_distance": (1, 0.055), "eye_openness": (1.02, 0.2), "iris_hue": (0.41, 0.29), "gaze_x": (0, 0.5),
    "brow_thickness": (1.12, 0.28), "brow_arch": (0.67, 0.38), "brow_height": (0, 0.5), "nose_width": (1.07, 0.17),
    "nose_length": (1, 0.09), "mouth_width": (1.045, 0.081), "smile": (0.45, 0.41), "mouth_opening": (0.25, 0.24),
    "lip_thickness": (1.14, 0.22), "lip_redness": (0.42, 0.33), "beard_density": (0.14, 0.28),
    "cheek_redness": (0.22, 0.22), "light_x": (0, 0.58), "light_y": (-0.3, 0.35), "light_strength": (0.62, 0.22),
    "background_hue": (0.5, 0.29), "background_brightness": (0.55, 0.23), "clothes_hue": (0.5, 0.29),
    "clothes_brightness": (0.57, 0.22),
}  # fmt: skip
"""Continuous attributes: mean and standard deviation of the trait over the population, as rounded constants.

Traits are in degrees (yaw, pitch, roll), in years (age), and in parts of an average face or of a scale from 0 to 1.
A label is (trait - mean) / deviation, so that errors of different attributes can be averaged.
"""
CONTINUOUS_NAMES = tuple(UNITS)
FACTORS = (
    "Male", "Blurry", "yaw", "pitch", "roll", "scale", "offset_x", "offset_y", "skin_tone", "eye_distance", "gaze_x",
    "brow_height", "nose_length", "light_x", "light_y", "light_strength", "background_hue", "background_brightness",
    "clothes_hue", "clothes_brightness",
)  # fmt: skip
"""Attributes that depend on no other attribute: each is drawn from numbers of its own."""


def sample_traits(seed: int, indices: Int64[np.ndarray, " n"]) -> Traits:
    """Everything that a drawing needs, by name: all attributes, and a few unnamed variations (kind of hat, ...)."""
    draws = Draws(seed, np.asarray(indices, np.int64))
    traits: dict[str, np.ndarray] = {}
    for group in (_person, _hair, _skin_and_beard, _features, _expression, _accessories, _scene):
        group(draws, traits)
    return traits


def label(traits: Traits) -> Attributes:
    """The labels among the traits, continuous ones in their `UNITS`."""
    return Attributes(
        BINARY_NAMES,
        np.stack([traits[name] for name in BINARY_NAMES], 1).astype(np.int8),
        CONTINUOUS_NAMES,
        np.stack([(traits[name] - mean) / deviation for name, (mean, deviation) in UNITS.items()], 1),
    )


def _flag(condition: np.ndarray) -> Float64[np.ndarray, " n"]:
    return condition.astype(np.float64)


def _person(draws: Draws, t: dict[str, np.ndarray]) -> None:
    t["Male"] = draws.chance("male", 0.42)
    spread = draws.uniform("age")
    t["age"] = 18 + 57 * (0.8 * spread * np.sqrt(spread) + 0.2 * draws.uniform("age/sex") * t["Male"])
    t["Young"] = _flag(t["age"] < 45)
    t["old"] = np.clip((t["age"] - 38) / 34, 0, 1)
    weight = draws.normal("weight") + 0.5 * t["old"]
    t["Chubby"] = _flag(weight > 1.25)
    t["Double_Chin"] = draws.chance("double chin", np.where(weight > 1.0, 0.55, 0.02) + 0.08 * t["old"])
    t["face_width"] = 1 + 0.05 * weight + 0.025 * t["Male"]
    jaw = 0.34 + 0.2 * t["Male"] + 0.1 * weight + 0.12 * draws.normal("jaw")
    t["Oval_Face"] = _flag((jaw < 0.4) & (weight < 0.6))
    t["jaw_width"] = np.clip(jaw, 0, 1)


def _hair(draws: Draws, t: dict[str, np.ndarray]) -> None:
    male, old, u = t["Male"], t["old"], draws.uniform("hair class")
    t["skin_tone"] = np.clip(0.36 + 0.26 * draws.normal("skin"), 0, 1)
    t["Bald"] = draws.chance("bald", male * (0.02 + 0.3 * old))
    grown = 1 - t["Bald"]
    t["grayness"] = draws.chance("gray", 0.75 * old)
    colour = 1 - t["grayness"]
    black = colour * (u < 0.22 + 0.5 * t["skin_tone"])  # black hair goes with darker skin
    blond = colour * (1 - black) * (u >= 1 - (0.1 + 0.26 * (1 - male)) * (t["skin_tone"] < 0.5))
    within = draws.uniform("hair lightness")
    t["hair_lightness"] = np.select(
        [t["grayness"] == 1, black == 1, blond == 1],
        [0.55 + 0.4 * within, 0.14 * within, 0.78 + 0.22 * within],
        0.24 + 0.32 * within,
    )
    warm = draws.uniform("hair warmth")
    t["hair_warmth"] = warm * warm * warm * colour * (1 - black)
    t["Gray_Hair"], t["Black_Hair"], t["Blond_Hair"] = t["grayness"] * grown, black * grown, blond * grown
    t["Brown_Hair"] = grown * colour * (1 - black) * (1 - blond) * (t["hair_warmth"] < 0.55)
    t["Bangs"] = draws.chance("bangs", np.where(male == 1, 0.07, 0.26)) * grown
    t["Receding_Hairline"] = draws.chance("receding", 0.03 + 0.4 * old * male) * grown * (1 - t["Bangs"])
    length = draws.uniform("hair length")
    long_man = draws.chance("long-haired man", 0.07)
    t["hair_length"] = np.where((male == 1) & (long_man == 0), 0.22 * length, 0.34 + 0.66 * length) * grown
    t["hair_volume"] = (0.3 + 0.7 * draws.uniform("hair volume")) * (1 - 0.4 * male) * grown
    t["hair_wave"] = draws.uniform("hair wave") * (1 - 0.25 * male) * grown
    t["Straight_Hair"] = _flag(t["hair_wave"] < 0.25) * grown
    t["Wavy_Hair"] = _flag(t["hair_wave"] > 0.6)
    t["parting"] = draws.normal("parting")


def _skin_and_beard(draws: Draws, t: dict[str, np.ndarray]) -> None:
    male, female = t["Male"], 1 - t["Male"]
    t["Pale_Skin"] = _flag(t["skin_tone"] < 0.08)
    t["Heavy_Makeup"] = draws.chance("makeup", 0.62 * female)
    t["Wearing_Lipstick"] = draws.chance("lipstick", female * (0.3 + 0.66 * t["Heavy_Makeup"]))
    t["lip_redness"] = 0.3 * draws.uniform("lip redness") + 0.65 * t["Wearing_Lipstick"]
    t["Rosy_Cheeks"] = draws.chance("rosy", 0.03 + 0.2 * t["Heavy_Makeup"])
    t["cheek_redness"] = 0.3 * draws.uniform("cheek redness") + 0.65 * t["Rosy_Cheeks"]
    t["Bags_Under_Eyes"] = draws.chance("bags", 0.06 + 0.14 * male + 0.35 * t["old"])

    kind = draws.uniform("beard kind")
    shaved = _flag(kind < 0.46)
    t["5_o_Clock_Shadow"] = male * _flag((kind >= 0.46) & (kind < 0.68))
    t["No_Beard"] = 1 - male * (1 - shaved)
    bearded = 1 - t["No_Beard"] - t["5_o_Clock_Shadow"]
    t["full_beard"] = bearded * _flag(kind > 0.84)
    t["Goatee"] = bearded * draws.chance("goatee", 0.55) * (1 - t["full_beard"])
    mustache = np.where(t["Goatee"] == 1, 0.6, np.where(t["full_beard"] == 1, 0.75, 1.0))
    t["Mustache"] = bearded * draws.chance("mustache", mustache)
    t["Sideburns"] = male * draws.chance("sideburns", np.where(t["full_beard"] == 1, 0.9, 0.1))
    thick = 0.55 + 0.45 * draws.uniform("beard density")
    t["beard_density"] = bearded * thick + t["5_o_Clock_Shadow"] * 0.45 * thick


def _features(draws: Draws, t: dict[str, np.ndarray]) -> None:
    male, female, old = t["Male"], 1 - t["Male"], t["old"]
    t["eye_size"] = 1 + 0.09 * draws.normal("eye size") + 0.07 * female
    t["eye_distance"] = 1 + 0.055 * draws.normal("eye distance")
    t["eye_openness"] = 1 + 0.2 * draws.normal("eye openness") + 0.06 * female - 0.1 * old
    t["Narrow_Eyes"] = _flag(t["eye_openness"] < 0.8)
    t["iris_hue"] = np.clip(draws.uniform("iris") * (1.25 - t["skin_tone"]) - 0.1 * (t["hair_lightness"] < 0.15), 0, 1)
    t["gaze_x"] = 0.5 * draws.normal("gaze")
    t["brow_thickness"] = 1 + 0.24 * draws.normal("brow thickness") + 0.28 * male
    t["Bushy_Eyebrows"] = _flag(t["brow_thickness"] > 1.4)
    t["brow_arch"] = 0.4 + 0.3 * draws.normal("brow arch") + 0.4 * female + 0.1 * t["Heavy_Makeup"]
    t["Arched_Eyebrows"] = _flag(t["brow_arch"] > 0.9)
    t["brow_height"] = 0.5 * draws.normal("brow height")
    t["nose_width"] = 1 + 0.15 * draws.normal("nose width") + 0.13 * male + 0.1 * old
    t["Big_Nose"] = _flag(t["nose_width"] > 1.25)
    t["nose_length"] = 1 + 0.09 * draws.normal("nose length")
    t["Pointy_Nose"] = draws.chance("pointy nose", 0.2 + 0.14 * female) * (1 - t["Big_Nose"])
    t["lip_thickness"] = 1 + 0.2 * draws.normal("lips") + 0.14 * female + 0.16 * t["skin_tone"]
    t["Big_Lips"] = _flag(t["lip_thickness"] > 1.3)


def _expression(draws: Draws, t: dict[str, np.ndarray]) -> None:
    female = 1 - t["Male"]
    mood = draws.normal("mood") + 0.3 * female - 0.05
    t["smile"] = np.clip(0.4 + 0.42 * mood, -0.5, 1.3)
    t["Smiling"] = _flag(t["smile"] > 0.4)
    t["mouth_opening"] = np.clip(0.16 + 0.3 * draws.normal("mouth opening") + 0.24 * (t["smile"] - 0.3), 0, 1)
    t["Mouth_Slightly_Open"] = _flag(t["mouth_opening"] > 0.15)
    t["mouth_width"] = 1 + 0.07 * draws.normal("mouth width") + 0.1 * t["smile"]
    cheeks = 1.1 * (t["smile"] - 0.42) + 0.25 * (female - 0.5) + 0.3 * draws.normal("cheekbones")
    t["High_Cheekbones"] = _flag(cheeks > 0)


def _accessories(draws: Draws, t: dict[str, np.ndarray]) -> None:
    male, female = t["Male"], 1 - t["Male"]
    t["Eyeglasses"] = draws.chance("glasses", 0.08 + 0.06 * male + 0.16 * t["old"])
    t["frame_style"] = draws.uniform("frame style")
    t["Wearing_Hat"] = draws.chance("hat", np.where(male == 1, 0.12, 0.06))
    t["hat_style"] = draws.uniform("hat style")
    t["hat_hue"] = draws.uniform("hat hue")
    t["Wearing_Earrings"] = draws.chance("earrings", 0.03 + 0.35 * female)
    t["Wearing_Necklace"] = draws.chance("necklace", 0.02 + 0.24 * female)
    t["Wearing_Necktie"] = draws.chance("necktie", male * (0.14 + 0.2 * t["old"]))


def _scene(draws: Draws, t: dict[str, np.ndarray]) -> None:
    t["yaw"] = np.clip(13 * draws.normal("yaw"), -32, 32)  # degrees, positive: towards the right side of the image
    t["pitch"] = np.clip(5 * draws.normal("pitch"), -12, 12)  # degrees, positive: looking down
    t["roll"] = np.clip(5 * draws.normal("roll"), -14, 14)  # degrees, positive: clockwise
    t["scale"] = 0.6 + 0.03 * draws.normal("scale")  # half height of the head, half sides of the image
    t["offset_x"] = 0.045 * draws.normal("offset x")
    t["offset_y"] = 0.03 * draws.normal("offset y")
    t["light_x"] = 2 * draws.uniform("light x") - 1
    t["light_y"] = -0.9 + 1.2 * draws.uniform("light y")
    t["light_strength"] = 0.25 + 0.75 * draws.uniform("light strength")
    t["background_hue"] = draws.uniform("background hue")
    t["background_brightness"] = 0.15 + 0.8 * draws.uniform("background brightness")
    t["background_tilt"] = 2 * draws.uniform("background tilt") - 1
    t["clothes_hue"] = draws.uniform("clothes hue")
    t["clothes_brightness"] = 0.2 + 0.75 * draws.uniform("clothes brightness")
    t["Blurry"] = draws.chance("blurry", 0.05)
