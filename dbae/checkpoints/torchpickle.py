"""What a PyTorch pickle would build, found out without building it.

`torch.load(weights_only=True)` never runs code from a file, yet a hostile file can still keep it busy for ever or fill
the memory: `bytearray(10**12)`, tensors of a billion elements over one (stride 0), tuples within tuples as dictionary
keys, whose hash takes 2^n steps. Here every instruction is followed on a stack of plain numbers, strings and marks;
what a file of weights does not need is refused by name, and every tensor has to lie inside its storage. Time and
memory are linear in the length of the pickle.

Instructions are those of protocol 2, the one `torch.save` writes. Beside tensors a file may hold what people keep with
them: numbers of NumPy and their types, which are on PyTorch's own list.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import pickletools
import re
from typing import Any

MAX_BYTES = 2 << 20
"""Longest pickle accepted; a DiffAE with its latent DPM and an optimiser's state takes 0.3 MB."""

ITEM_BYTES = {
    **{f"torch {kind}Storage": 1 for kind in ("Byte", "Char", "Bool")},
    **{f"torch {kind}Storage": 2 for kind in ("Half", "BFloat16", "Short")},
    **{f"torch {kind}Storage": 4 for kind in ("Float", "Int")},
    **{f"torch {kind}Storage": 8 for kind in ("Double", "Long")},
}
MAPPINGS = ("collections OrderedDict", "pytorch_lightning.utilities.parsing AttributeDict")
MARKERS = ("pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint",)
TENSOR, PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
SCALARS = ("numpy._core.multiarray scalar", "numpy.core.multiarray scalar")
DTYPE, ENCODE = "numpy dtype", "_codecs encode"
ALLOWED = frozenset((*ITEM_BYTES, *MAPPINGS, *MARKERS, TENSOR, PARAMETER, *SCALARS, DTYPE, ENCODE))
"""Every global a file may name, as "module name"."""

# Modules whose names in a file of weights mean harm or gross error; others are somebody's classes.
_HARMFUL = {
    "__builtin__",
    "builtins",
    "os",
    "posix",
    "nt",
    "commands",
    "subprocess",
    "sys",
    "importlib",
    "runpy",
    "pty",
}
_HARMFUL |= {"shutil", "socket", "ctypes", "code", "webbrowser", "operator", "functools", "pickle", "marshal", "types"}
_HARMLESS = {"set", "frozenset", "complex", "range", "slice", "SimpleNamespace"}

_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class RefusedError(ValueError):
    """The pickle does something that a file of weights does not need."""


class OrdinaryError(RefusedError):
    """What it holds is refused like everything that is not on the list, but people do keep such things in files."""


@dataclasses.dataclass(frozen=True)
class Global:
    """A class or function that the pickle names."""

    name: str


@dataclasses.dataclass(frozen=True)
class Storage:
    """A block of `numel` elements of `item_bytes` bytes each, stored under `key`."""

    key: str
    numel: int
    item_bytes: int


class Container:
    """A dict, list or tensor, of which only the names of its items are kept. It cannot be a key."""

    def __init__(self) -> None:
        self.keys: list[Any] = []


class Dtype(Container):
    """A NumPy type of numbers."""


@dataclasses.dataclass
class Summary:
    """What a pickle builds: its storages by key, the bytes all its tensors say they have, and where it ended."""

    storages: dict[str, Storage]
    tensor_bytes: int = 0
    length: int = 0


def summarise(data: bytes) -> Summary:
    """Follow the pickle at the start of `data`.

    Raises:
        RefusedError: a global, an instruction, a key or a tensor that is not allowed.
        ValueError, IndexError, KeyError, TypeError: no complete pickle.
    """
    machine = _Machine()
    stream = io.BytesIO(data[:MAX_BYTES])
    machine.run(stream)
    machine.summary.length = stream.tell()
    return machine.summary


class _Machine:
    """The stack machine of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.summary = Summary({})

    def run(self, stream: io.BytesIO) -> None:
        """Follow the instructions of a pickle, up to its end."""
        stack, memo = self.stack, self.memo
        argument: Any
        for opcode, argument, _ in pickletools.genops(stream):
            match opcode.name:
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "BINUNICODE" | "SHORT_BINSTRING" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                    stack.append(argument)
                case "NONE" | "NEWTRUE" | "NEWFALSE" | "EMPTY_TUPLE":
                    stack.append(_CONSTANTS[opcode.name])
                case "EMPTY_DICT" | "EMPTY_LIST":
                    stack.append(Container())
                case "MARK":
                    self.marks.append(len(stack))
                case "TUPLE":
                    stack.append(tuple(self._since_mark()))
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    stack.append(tuple(self._drop(int(opcode.name[-1]))))
                case "PROTO" | "STOP":
                    pass
                case name:
                    self._act(name, argument)

    def _act(self, name: str, argument: Any) -> None:
        """Follow an instruction that changes or makes an object."""
        match name:
            case "SETITEM":
                self._set_items(self._drop(2)[:1])
            case "SETITEMS":
                self._set_items(self._since_mark()[::2])
            case "APPEND":
                self._drop(1)
            case "APPENDS":
                self._since_mark()
            case "GLOBAL":
                self._global(argument)
            case "REDUCE" | "NEWOBJ":
                self._call(*self._drop(2))
            case "BUILD":
                self._set_attributes(*self._drop(1))
            case "BINPERSID":
                self._storage(*self._drop(1))
            case "FRAME":
                raise OrdinaryError("the pickle instruction FRAME, that is pickle protocol 4 or newer")
            case _:
                raise RefusedError(f"the pickle instruction {name}")

    def _drop(self, n: int) -> list[Any]:
        items = self.stack[-n:]
        if len(items) < n:
            raise IndexError("not a pickle: its stack runs empty")
        del self.stack[-n:]
        return items

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _set_items(self, keys: list[Any]) -> None:
        for key in keys:
            # Large integers can be chosen to share one hash, which makes a dictionary quadratic.
            if not (isinstance(key, str | Global | None) or (isinstance(key, int) and abs(key) < 1 << 31)):
                raise RefusedError(f"a dictionary key of type {type(key).__name__}")
        self.stack[-1].keys.extend(keys)

    def _global(self, name: str) -> None:
        if name not in ALLOWED:
            module, _, attribute = name.partition(" ")
            harmful = module.partition(".")[0] in _HARMFUL and attribute not in _HARMLESS
            raise (RefusedError if harmful else OrdinaryError)(name.replace(" ", ".")[:80])
        self.stack.append(Global(name))

    def _storage(self, identity: Any) -> None:
        kind, dtype, key, _location, numel = identity[:5]
        if kind != "storage" or dtype.name not in ITEM_BYTES or any(identity[5:]):
            raise RefusedError("a reference to something that is no plain storage")
        storage = Storage(str(key), int(numel), ITEM_BYTES[dtype.name])
        if self.summary.storages.setdefault(storage.key, storage) != storage:
            raise RefusedError(f"storage {storage.key[:40]} with two sizes")
        self.stack.append(storage)

    def _call(self, function: Global, arguments: Any) -> None:
        name = function.name
        if name in (DTYPE, ENCODE):
            return self.stack.append(_numpy(name, arguments))
        if name in SCALARS:
            if not (len(arguments) == 2 and isinstance(arguments[0], Dtype) and isinstance(arguments[1], bytes)):
                raise RefusedError("a NumPy number that is none")
        elif name == TENSOR:
            self._tensor(*arguments[:4])
        elif not (name == PARAMETER or (name in MAPPINGS and arguments == ())):
            raise RefusedError(f"a call of {name.replace(' ', '.')}")
        self.stack.append(Container())

    def _set_attributes(self, state: Any) -> None:
        if isinstance(self.stack[-1], Dtype):
            order, rest = state[1:2], state[2:5]
            if not (order in (("<",), (">",), ("|",)) and rest == (None,) * 3 and len(state) == 8):
                raise RefusedError("a NumPy type that is not one of numbers")
            return
        if not isinstance(self.stack[-1], Container) or state.keys != ["_metadata"]:
            raise RefusedError("an attribute that is no metadata of a state dict")

    def _tensor(self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        numel = 1
        for length, step in itertools.zip_longest(size, stride):
            if length < 0 or step < 0:
                raise RefusedError(f"a tensor of size {size[:8]} and stride {stride[:8]}")
            numel *= length
            if numel > storage.numel:
                raise RefusedError(f"a tensor of size {size[:8]} in a storage of {storage.numel} elements")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if numel and not 0 <= offset <= last < storage.numel:
            raise RefusedError(f"a tensor that reaches beyond its storage of {storage.numel} elements")
        self.summary.tensor_bytes += numel * storage.item_bytes


def _numpy(name: str, arguments: Any) -> Dtype | bytes:
    """What a NumPy number is made of: its type, `dtype(code, False, True)`, and its bytes, `encode(text, "latin1")`."""
    match name, arguments:
        case "numpy dtype", (str() as code, False, True) if re.fullmatch(r"[fiuc](1|2|4|8|16)|b1", code):
            return Dtype()
        case "_codecs encode", (str() as text, "latin1") if len(text) <= 32:
            return text.encode("latin1")
    raise RefusedError(f"a call of {name.replace(' ', '.')}")
