"""The circumstances of a measurement, as a record keeps them."""

from __future__ import annotations

import functools
import resource
import sys
from typing import TypedDict

from dbae.support import provenance


class Circumstances(TypedDict):
    """Columns of a record that do not identify it (see `benchmarks.results.record`)."""

    versions: str
    revision: str
    peak_mib: int


def circumstances() -> Circumstances:
    """Versions ("python 3.11.7; torch 2.13.0; ..."), source revision, and this process's peak memory so far."""
    versions, revision = _software()
    return {"versions": versions, "revision": revision, "peak_mib": peak_mib()}


def peak_mib() -> int:
    """Largest resident memory of this process so far, MiB (host memory; an accelerator's is not in it)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak >> 20 if sys.platform == "darwin" else peak >> 10


@functools.cache
def _software() -> tuple[str, str]:
    return "; ".join(" ".join(item) for item in provenance.versions().items()), provenance.revision()
