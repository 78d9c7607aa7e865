"""Files made to do harm, and damaged ones: each is refused in one line with status 2, quickly and in little memory.

They go through `python -m baselines.inspect`, which opens a file as every benchmark does.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_fill import fill
from small_model import narrow_celeba64
from torch import Tensor

from baselines import inspect
from dbae.checkpoints import official
from dbae.model import DBAE
from dbae.support import cli

SECONDS, MEBIBYTES = 10, 200


@pytest.fixture(scope="module")
def state() -> OrderedDict[str, Tensor]:
    """A published DBAE, thinner."""
    with torch.device("meta"):
        model = DBAE(narrow_celeba64(32))
    return OrderedDict(fill({official.official_key(k): v for k, v in model.state_dict().items()}))


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "celeba64", narrow_celeba64)


def inspected(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and what stands on stderr, within the bounds."""
    started, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = cli.run(
        inspect.inspect, inspect.Options, module="baselines.inspect", description="", arguments=[str(path)]
    )
    assert time.process_time() - started < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < MEBIBYTES << 10
    return status, capsys.readouterr().err


def refused(path: Path, capsys: pytest.CaptureFixture[str], reason: str) -> None:
    status, message = inspected(path, capsys)
    assert status == 2
    assert message.startswith(str(path))
    assert message.count("\n") == 1
    assert reason in message


# --- pickles ----------------------------------------------------------------------------------------------------------


class Reduce:
    """Unpickling an instance would call `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def zipped(pickled: bytes, data: dict[str, bytes] | None = None, path: Path | None = None, **options: Any) -> Path:
    """A file as `torch.save` would write it, around a pickle of one's own."""
    assert path is not None
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        for key, value in (data or {}).items():
            archive.writestr(f"archive/data/{key}", value)
    return path


def storage(numel: int, key: str = "0") -> bytes:
    """Instructions that put a float storage on the stack."""
    text = b"".join(b"X" + struct.pack("<I", len(s)) + s for s in (b"storage",)) + b"ctorch\nFloatStorage\n"
    text += b"".join(b"X" + struct.pack("<I", len(s)) + s for s in (key.encode(), b"cpu"))
    return b"(" + text + integer(numel) + b"tQ"


def integer(value: int) -> bytes:
    body = pickle.encode_long(value)
    return b"\x8a" + bytes([len(body)]) + body


def tensor(numel: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """Instructions of a dictionary with one tensor."""
    ints = [b"(" + b"".join(map(integer, values)) + b"t" for values in (size, stride)]
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(numel) + integer(offset) + b"".join(ints)
    return b"\x80\x02}X\x01\x00\x00\x00w" + rebuild + b"\x89ccollections\nOrderedDict\n)RtRs."


# Names are those of Python 2, which the pickles of PyTorch use.
CALLS = {
    "os.system": (Reduce(os.system, "touch {marker}"), "posix.system"),
    "eval": (Reduce(eval, "open('{marker}', 'w')"), "__builtin__.eval"),
    "exec": (Reduce(exec, "open('{marker}', 'w')"), "__builtin__.exec"),
    "subprocess": (Reduce(subprocess.Popen, ["touch", "{marker}"]), "commands.Popen"),
    "getattr": (Reduce(getattr, torch.Tensor, "storage"), "__builtin__.getattr"),
    "a terabyte": (Reduce(bytearray, 10**12), "__builtin__.bytearray"),
    "counter": (Counter("aab"), "collections.Counter"),
    "set": ({1, 2}, "__builtin__.set"),
    "sparse": (torch.eye(2).to_sparse(), "torch._utils._rebuild_sparse_tensor"),
    "module": (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
}


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("depth", ["alone", "in a dictionary", "deep"])
@pytest.mark.parametrize("name", CALLS)
def test_a_file_that_would_call_something(tmp_path, capsys, name, depth, zip_format):
    content, reason = CALLS[name]
    marker = tmp_path / "was_here"
    if isinstance(content, Reduce):
        function, arguments = content.call
        arguments = tuple(a.format(marker=marker) if isinstance(a, str) else a for a in arguments)
        content = Reduce(function, *arguments)
    if depth == "in a dictionary":
        content = {"state_dict": OrderedDict(w=torch.zeros(2)), "callbacks": content}
    elif depth == "deep":
        content = {"state_dict": {"model.w": [({"x": content},)]}}
    torch.save(content, tmp_path / "hostile.pt", _use_new_zipfile_serialization=zip_format)
    refused(tmp_path / "hostile.pt", capsys, f"refused for safety, it holds {reason}")
    assert not marker.exists()


def nested_tuples(levels: int) -> bytes:
    """t_0 = (), t_n+1 = (t_n, t_n): hashing the last takes 2^levels steps."""
    return b"\x80\x02})" + b"q\x00h\x00\x86" * levels + b"Ns."


def colliding_keys(n: int) -> bytes:
    """Integers that all hash to 0."""
    return b"\x80\x02}(" + b"".join(integer(i * (2**61 - 1)) + b"N" for i in range(n)) + b"u."


PICKLES = {
    "tuples as keys": (nested_tuples(64), "a dictionary key of type tuple"),
    "keys of one hash": (colliding_keys(100_000), "a dictionary key of type int"),
    "a billion elements over one": (tensor(1, 0, (10**9,), (0,)), "a tensor of size (1000000000,) in a storage of 1"),
    "elements past the end": (tensor(1, 0, (1, 1), (1, 1)).replace(integer(0), integer(7)), "reaches beyond"),
    "strides past the end": (tensor(2, 0, (2,), (9,)), "reaches beyond its storage of 2"),
    "negative size": (tensor(1, 0, (-1,), (1,)), "a tensor of size (-1,)"),
    "negative stride": (tensor(2, 1, (2,), (-1,)), "stride (-1,)"),
    "attributes of a dictionary": (
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb.",
        "an attribute",
    ),
    "a newer pickle": (b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00}\x94.", "the pickle instruction FRAME"),
    "an object by extension code": (b"\x80\x02\x82\x01.", "the pickle instruction EXT1"),
    "an instance": (b"\x80\x02(ios\nsystem\n.", "the pickle instruction INST"),
    "an arbitrary reference": (b"\x80\x02(X\x06\x00\x00\x00modulectorch\nFloatStorage\nNNNtQ.", "no plain storage"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_that_would_hang_or_fill_the_memory(tmp_path, capsys, name):
    pickled, reason = PICKLES[name]
    refused(zipped(pickled, {"0": b"\0" * 8}, tmp_path / "hostile.pt"), capsys, reason)


BROKEN = {
    "empty pickle": b"",
    "stop at once": b"\x80\x02.",
    "no such memo": b"\x80\x02h\x07.",
    "an empty stack": b"\x80\x02s.",
    "tuple without mark": b"\x80\x02t.",
    "a call of a number": b"\x80\x02K\x01)R.",
    "half a string": b"\x80\x02X\xff\xff\xff\x7fabc",
    "no stop": b"\x80\x02}",
    "not utf-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "keys without values": b"\x80\x02}(K\x01u.",
    "items set on a number": b"\x80\x02K\x01K\x02K\x03s.",
    "storage of text": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "random": bytes(range(256)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pickle(tmp_path, capsys, name):
    status, message = inspected(zipped(BROKEN[name], path=tmp_path / "broken.pt"), capsys)
    assert status == 2
    assert message.startswith(f"{tmp_path / 'broken.pt'} (")
    assert message.count("\n") == 1


def test_deep_nesting_is_no_trouble(tmp_path, capsys):
    path = zipped(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", path=tmp_path / "deep.pt")
    refused(path, capsys, "expected a checkpoint of DBAE, DiffAE, PDAE, DiTi or guided-diffusion, found a file of list")


def test_a_storage_that_the_file_does_not_have(tmp_path, capsys):
    for data in ({}, {"0": b"\0" * 8}, {"1": b"\0" * 400}):
        path = zipped(tensor(100, 0, (100,), (1,)), data, tmp_path / "short.pt")
        refused(path, capsys, "not a complete PyTorch file")


def test_a_terabyte_in_the_old_format(tmp_path, capsys):
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(3)}, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    assert content.count(b"K\x03N") == 1
    path = tmp_path / "huge.pt"
    path.write_bytes(content.replace(b"K\x03N", integer(2**38) + b"N"))
    refused(path, capsys, "its tensors take 1099511627776 bytes")


# --- zip files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path, state) -> Path:
    torch.save(state, tmp_path / "whole.pt")
    return tmp_path / "whole.pt"


def test_compressed_members(tmp_path, capsys):
    content = {"0": b"\0" * 300_000_000}
    path = zipped(tensor(75_000_000, 0, (75_000_000,), (1,)), content, tmp_path / "bomb.pt", compression=8)
    assert path.stat().st_size < 1e6
    del content
    refused(path, capsys, "refused for safety, it holds compressed members")


def test_members_of_one_name(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "twice.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data.pkl", b"\x80\x02cos\nsystem\n.")
    refused(tmp_path / "twice.pt", capsys, "two members of one name")


@pytest.mark.parametrize(
    "names", [["a/data.pkl", "b/data.pkl"], ["a/constants.pkl", "a/data.pkl"], ["a/x"], ["data.pkl"]]
)
def test_other_members(tmp_path, capsys, names):
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        for name in names:
            archive.writestr(name, b"\x80\x02}.")
    refused(tmp_path / "other.pt", capsys, "in place of one data.pkl")


def test_members_that_overlap(tmp_path, capsys):
    path = zipped(b"\x80\x02}.", {str(i): bytes(5000) for i in range(2)}, tmp_path / "overlap.pt")
    content = bytearray(path.read_bytes())
    for name in (b"archive/data/0", b"archive/data/1"):  # each says it has twice as much
        entry = content.rindex(name) - 46
        content[entry + 20 : entry + 28] = struct.pack("<II", 10_000, 10_000)
    path.write_bytes(content)
    refused(path, capsys, "members that overlap")


def test_a_directory_of_millions(tmp_path, capsys):
    path = zipped(b"\x80\x02}.", path=tmp_path / "many.pt")
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 8 : end + 12] = b"\xff" * 4
    wide = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 10**7, 10**7, 0, 0)
    path.write_bytes(content[:end] + wide + content[end:])
    refused(path, capsys, "too many members")


def test_something_before_the_zip_file(capsys, whole):
    whole.write_bytes(b"#!/bin/sh\n" + whole.read_bytes())
    refused(whole, capsys, "not a complete PyTorch file of tensors (it does not begin like one)")


@pytest.mark.parametrize("zip_format", [True, False])
def test_truncated_at_every_tenth(tmp_path, capsys, state, zip_format):
    torch.save(state, tmp_path / "cut.pt", _use_new_zipfile_serialization=zip_format)
    content = (tmp_path / "cut.pt").read_bytes()
    for tenths in range(10):
        (tmp_path / "cut.pt").write_bytes(content[: len(content) * tenths // 10])
        refused(tmp_path / "cut.pt", capsys, "bytes): not a complete PyTorch file of tensors (")


def test_flipped_bytes_never_end_in_a_traceback(tmp_path, capsys, state):
    """Wherever a byte of the names and shapes is changed, the file opens or is refused in one line."""
    small = OrderedDict(list(state.items())[:4])
    torch.save(small, tmp_path / "flip.pt")
    content = (tmp_path / "flip.pt").read_bytes()
    end = content.index(b"PK\x03\x04", 4)
    generator = torch.Generator().manual_seed(0)
    for position in torch.randint(0, end, (150,), generator=generator).tolist():
        changed = bytearray(content)
        changed[position] ^= 1 + position % 255
        (tmp_path / "flip.pt").write_bytes(changed)
        status, message = inspected(tmp_path / "flip.pt", capsys)
        assert status == 2
        assert message.count("\n") == 1


# --- no checkpoint, or not this one -----------------------------------------------------------------------------------


def test_text_empty_file_and_folder(tmp_path, capsys):
    (tmp_path / "notes.pt").write_text("weights to come\n" * 100)
    (tmp_path / "empty.pt").touch()
    (tmp_path / "folder.pt").mkdir()
    refused(tmp_path / "notes.pt", capsys, "notes.pt (1600 bytes): not a complete PyTorch file")
    refused(tmp_path / "empty.pt", capsys, "empty.pt (0 bytes): not a complete PyTorch file")
    refused(tmp_path / "folder.pt", capsys, "a folder; name a checkpoint file in it")
    refused(tmp_path / "none.pt", capsys, "no such checkpoint file")


@pytest.mark.parametrize("content", [[1.0], {"epoch": 3}, {}, {1: torch.zeros(1)}, torch.zeros(2), "text", None])
def test_other_content(tmp_path, capsys, content):
    torch.save(content, tmp_path / "other.pt")
    refused(
        tmp_path / "other.pt", capsys, "expected a checkpoint of DBAE, DiffAE, PDAE, DiTi or guided-diffusion, found"
    )


CHANGES: dict[str, tuple[str, Any, str]] = {
    "wrong dtype": ("out.2.bias", lambda v: v.to(torch.int32), "score.out.2.bias is torch.int32"),
    "missing key": ("out.2.bias", None, "missing score.out.2.bias"),
    "extra key": ("more", lambda v: torch.zeros(1), "unexpected score.more"),
    "other shape": ("out.2.bias", lambda v: torch.zeros(2), "score.out.2.bias has shape (2,), expected (3,)"),
    "swapped axes": ("out.2.weight", lambda v: v.transpose(0, 1).clone(), "score.out.2.weight has shape"),
    "NaN": ("out.2.bias", lambda v: v * torch.nan, "score.out.2.bias has NaN or infinite values"),
    "infinity": ("out.2.bias", lambda v: v / 0, "score.out.2.bias has NaN or infinite values"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_tensors_that_do_not_fit(tmp_path, capsys, state, name):
    key, change, reason = CHANGES[name]
    changed = dict(state)
    if change is None:
        del changed[key]
    else:
        changed[key] = change(state.get(key))
    torch.save(changed, tmp_path / "bad.pt")
    refused(tmp_path / "bad.pt", capsys, f"its tensors do not fit the architecture: {reason}")


# --- safetensors ------------------------------------------------------------------------------------------------------


def safetensors(path: Path, header: bytes, body: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + body)
    return path


def carded(card: str) -> bytes:
    return json.dumps({"__metadata__": {"card": card}}).encode()


SAFETENSORS: dict[str, tuple[bytes, int | None]] = {
    "a header of 8 exabytes": (b"{}", 2**63 - 1),
    "a header of a gigabyte": (b"{}", 2**30),
    "no card": (b"{}", None),
    "no JSON": (b"{" * 100, None),
    "deep header": (b'{"a":' * 100_000, None),
    "deep card": (carded("[" * 100_000), None),
    "a card of another kind": (carded("[]"), None),
    "a card of nothing": (carded("{}"), None),
    "an unknown method": (carded('{"format": 1, "method": "x", "name": "x", "config": {}}'), None),
    "an impossible model": (carded('{"format": 1, "method": "dbae", "name": "x", "config": {"image_size": -1}}'), None),
    "tensors past the end": (b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}', None),
}


@pytest.mark.parametrize("name", SAFETENSORS)
def test_hostile_safetensors(tmp_path, capsys, name):
    header, length = SAFETENSORS[name]
    status, message = inspected(safetensors(tmp_path / "hostile.safetensors", header, length=length), capsys)
    assert status == 2
    assert message.startswith(str(tmp_path / "hostile.safetensors"))


# --- the bounds hold for what tracemalloc does not see, too -----------------------------------------------------------


def test_a_process_of_little_memory_survives_them_all(tmp_path):
    """Address space is limited to what an ordinary start takes and a little; native allocations count."""
    zipped(tensor(1, 0, (10**12,), (0,)), {"0": b"\0" * 4}, tmp_path / "stride.pt")
    zipped(nested_tuples(64), path=tmp_path / "tuples.pt")
    torch.save(Reduce(bytearray, 10**11), tmp_path / "bytes.pt")
    torch.save({"w": torch.zeros(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    huge = (tmp_path / "old.pt").read_bytes().replace(b"K\x03N", integer(2**36) + b"N")
    (tmp_path / "old.pt").write_bytes(huge)
    program = """
import resource, sys
from baselines import inspect
from dbae.support import cli
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (300 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for path in sys.argv[1:]:
    print(cli.run(inspect.inspect, inspect.Options, module="x", description="", arguments=[path]))
"""
    paths = sorted(map(str, tmp_path.glob("*.pt")))
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2"] * len(paths) == ["2"] * 4
    assert len(done.stderr.splitlines()) == 4
