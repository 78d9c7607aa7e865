"""torchvision beside a build of PyTorch that its binary was not made for.

The wheels of torchvision hold CUDA builds. Beside a CPU-only PyTorch their extension does not load, the operators it
would register are missing, and `import torchvision` ends in `operator torchvision::nms does not exist`; so do the
packages that import it, lpips and clean-fid among them. Declaring the two operators that the import asks for is enough
for models, transforms, data sets and those packages; only `torchvision.ops` then fails, when it is called.

With a matching build nothing is declared.
"""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType

import torch

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[torch.library.Library] = []  # the operators live as long as their library object


@functools.cache
def import_torchvision() -> ModuleType:
    """torchvision, imported now (5 s). Call it before anything that imports torchvision by itself."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        library.define(operator + _SIGNATURE)
    _libraries.append(library)
    return importlib.import_module("torchvision")
