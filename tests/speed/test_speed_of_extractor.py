"""What the built-in extractor costs. Metrics are in `test_speed_of_metrics`."""

from __future__ import annotations

import torch

from benchmarks.extractors.faces import load_facefeatures


def test_face_features(measure):
    extractor, images = load_facefeatures(), torch.zeros(256, 3, 64, 64, dtype=torch.uint8)
    measure(lambda: extractor(images), items=len(images), unit="images", rounds=3)
