"""Decoding for benchmarks: a model whose decoder asks for a code at every step gets one, and its passes are counted."""

from __future__ import annotations

import torch
from systems import fresh, plain_images, stirred, tiny

from baselines.methods.drl import DRL, DRLConfig
from baselines.options import in_sizes
from benchmarks.subjects.decoding import decode
from benchmarks.subjects.settings import Setting
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig

X = plain_images(4)
TEN = SamplerConfig("ddim", nfe=10)


@torch.no_grad()
def test_codes_at_every_step():
    model = stirred(fresh(DRL, in_sizes(DRLConfig, tiny())))
    z = model.encode(X)
    curve, _ = model.encode_curve(X, z, TEN)
    x_T = PerImageNoise(0, range(4), stream="x_T").normal(X.shape)
    made = {
        endpoint: decode(
            model,
            X,
            z,
            Setting(TEN, endpoint, 20 if endpoint == "inferred" else 0),
            noise=PerImageNoise(0, range(4)),
            x_T_noise=PerImageNoise(0, range(4), stream="x_T"),
        )
        for endpoint in ("random", "inferred")
    }
    assert torch.equal(made["random"].images, model.decode(curve, x_T=x_T, sampler=TEN).images)
    assert (made["random"].nfe, made["random"].encode_nfe) == (10, 10)
    fine, _ = model.encode_curve(X, z, SamplerConfig("ddim", nfe=20))
    inferred, _ = model.infer_endpoint(X, fine, steps=20)
    assert torch.equal(made["inferred"].images, model.decode(curve, x_T=inferred, sampler=TEN).images)
    assert (made["inferred"].nfe, made["inferred"].encode_nfe) == (10, 20 + 20 + 10)
    there_and_back = decode(
        model,
        X,
        z,
        Setting(TEN, "inferred", 10),
        noise=PerImageNoise(0, range(4)),
        x_T_noise=PerImageNoise(0, range(4)),
    )
    assert (there_and_back.nfe, there_and_back.encode_nfe) == (10, 10 + 10)  # one curve for both
    inferred, _ = model.infer_endpoint(X, curve, steps=10)
    assert torch.equal(there_and_back.images, model.decode(curve, x_T=inferred, sampler=TEN).images)
