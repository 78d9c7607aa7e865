"""The C library's allocator, told to keep what is freed.

glibc gives large blocks back to the system when they are freed and asks for new ones a moment later. A network's maps
are such blocks: every step then faults in fresh pages, and on a machine whose memory is watched or short a training
step takes up to three times as long. Results do not depend on it.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keep freed blocks in this process; True where that can be had (glibc) and nobody chose otherwise.

    A `MALLOC_...` variable in the environment is somebody's choice, and stays.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _LARGEST))
