"""What rows are about: a model, its controls, or z alone; the images it is measured on; and how it decodes."""

from benchmarks.subjects.decoding import decode, decodes, reads_latents
from benchmarks.subjects.inputs import cells_of, cells_of_data, limited, require_names, require_size, split_of
from benchmarks.subjects.settings import Setting, SettingOptions, decodes_at_once, sampler_columns
from benchmarks.subjects.subject import Subject, encoder_of, subjects_of
from benchmarks.subjects.times import AtTimes, subjects_at_times
from dbae.decoding import Decoding
from dbae.interface import on_device

__all__ = [
    "AtTimes",
    "Decoding",
    "Setting",
    "SettingOptions",
    "Subject",
    "cells_of",
    "cells_of_data",
    "decode",
    "decodes",
    "decodes_at_once",
    "encoder_of",
    "limited",
    "on_device",
    "reads_latents",
    "require_names",
    "require_size",
    "sampler_columns",
    "split_of",
    "subjects_at_times",
    "subjects_of",
]
