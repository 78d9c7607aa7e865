"""Freed memory stays with the process where glibc is told so."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from dbae.support.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b"x" * (40 << 20)  # glibc returns blocks of more than 32 MiB whatever it has learned
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str, **variables: str) -> tuple[str, int]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | variables
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], env=environment, capture_output=True, text=True)
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc")
def test_large_blocks_are_used_again():
    kept, few = faults("keep")
    assert kept == "True"
    assert few < 2 * 10_240  # one block has 10,240 pages
    assert faults("leave")[1] > 9 * 10_240


def test_a_choice_in_the_environment_stays():
    assert faults("keep", MALLOC_ARENA_MAX="4")[0] == "False"
