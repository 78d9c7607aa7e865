"""Commands in processes of their own, with bounds, and what became of them.

A process is a fork of this one, in which everything is imported already: starting a command costs milliseconds, so that
a kill falls into its work. `torch` has one thread here, since threads do not survive a fork.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import runpy
import shlex
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

LIMIT_S = 300.0
"""Longest that a command may take; all of these need seconds, on a busy machine a minute."""
LIMIT_MIB = 700
"""Most memory that a command may need beyond what this process has."""
_ADDRESSES = 8 << 30
"""Bytes of address space beyond those of this process: what wants more fails, and the machine lives."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended: `status` is negative after a signal, `late` says that it ran past the limit."""

    command: tuple[str, ...]
    status: int
    output: str
    errors: str
    seconds: float
    mebibytes: int
    late: bool = False

    @property
    def complaint(self) -> str:
        """What no command may do, whatever it is given; "" if it did nothing of the kind."""
        if self.late:
            return f"still at work after {self.seconds:.0f} s"
        if "Traceback (most recent call last)" in self.errors + self.output:
            return f"traceback: {self._last}"
        if self.mebibytes > LIMIT_MIB:
            return f"took {self.mebibytes} MiB"
        if self.status < 0:
            return f"died of signal {-self.status}"
        return ""

    def refused_or_done(self, names: Iterable[str], *, allowed: Sequence[int] = (0,)) -> str:
        """A complaint unless it ended with an allowed status, or with status 2 and a last line with one of `names`."""
        if self.complaint or self.status in allowed:
            return self.complaint
        if self.status != 2:
            return f"ended with status {self.status}: {self._last}"
        if not any(name in self._last for name in names):
            return f"status 2 without the file's name: {self._last!r}"
        return ""

    def done(self) -> str:
        """A complaint unless it ended well."""
        return self.complaint or (f"ended with status {self.status}: {self._last}" if self.status else "")

    @property
    def _last(self) -> str:
        lines = [line for line in self.errors.splitlines() if line.strip()]
        return lines[-1][:400] if lines else ""


@dataclasses.dataclass
class Running:
    """A command at work."""

    command: tuple[str, ...]
    pid: int
    log: Path
    started: float
    base: int

    def wait(self, limit_s: float = LIMIT_S, *, kill_after: float | None = None) -> Outcome:
        """Wait for its end; SIGKILL it and its children after `kill_after` seconds, or past the limit."""
        late = False
        while True:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            passed = time.monotonic() - self.started
            if pid:
                break
            late = passed > limit_s
            if late or (kill_after is not None and passed > kill_after):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                _, status, used = os.wait4(self.pid, 0)
                break
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):  # what it started does not outlive it
            os.killpg(self.pid, signal.SIGKILL)
        texts = [self.log.with_suffix(end).read_text(errors="replace") for end in (".out", ".err")]
        grown = max(0, used.ru_maxrss - self.base) >> 10
        return Outcome(self.command, os.waitstatus_to_exitcode(status), *texts, passed, grown, late)


def start(command: str, log: Path, *, env: Mapping[str, str] | None = None, file_bytes: int | None = None) -> Running:
    """Begin `python -m COMMAND` in a fork.

    Args:
        log: its output goes to LOG.out and LOG.err.
        env: beside this process' environment.
        file_bytes: no file may grow beyond so many bytes, as on a full disk.
    """
    words = tuple(shlex.split(command))
    sys.stdout.flush(), sys.stderr.flush()
    base = _resident_kib()
    addresses = _addresses()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.setsid()
            for number, end in ((1, ".out"), (2, ".err")):
                os.dup2(os.open(log.with_suffix(end), os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            resource.setrlimit(resource.RLIMIT_AS, (addresses + _ADDRESSES,) * 2)
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes,) * 2)
            os.environ.update(env or {})
            status = _run(words)
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
    return Running(words, pid, log, time.monotonic(), base)


def run(command: str, log: Path, *, env: Mapping[str, str] | None = None, file_bytes: int | None = None) -> Outcome:
    """`start` and `wait`."""
    return start(command, log, env=env, file_bytes=file_bytes).wait()


def _run(words: Sequence[str]) -> int:
    sys.argv, sys.dont_write_bytecode = list(words), True
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _resident_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _addresses() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
