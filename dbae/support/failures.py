"""What the machine says no to, in one line: files, memory, names, nesting.

`explain` is the last resort, at the border of every command: where a module knows more, it raises a `UserError` of its
own. Errors that are nobody's but the program's (KeyError, ValueError, ...) keep their traceback.
"""

from __future__ import annotations

import errno
import os
import traceback
from pathlib import Path

_LIBRARIES = (os.path.dirname(os.__file__), "site-packages", "<frozen ")
_ALLOCATOR = ("can't allocate memory", "out of memory", "Storage size calculation overflowed", "not enough memory")
_REMEDIES = {
    errno.ENOSPC: "Free some space or name a folder on another disk",
    errno.EDQUOT: "Free some space or name a folder on another disk",
    errno.EACCES: "Change its permissions, or name another",
    errno.EPERM: "Change its permissions, or name another",
    errno.EROFS: "It lies on a disk that is only read: name another folder",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ELOOP: "It is a symbolic link that leads to itself: name the file itself",
    errno.ENOENT: "Check the path",
    errno.ENOTDIR: "Check the path: a part of it is a file",
    errno.EISDIR: "It is a folder: name a file",
    errno.EEXIST: "It is there already: name another",
    errno.EMFILE: "Allow more open files (ulimit -n), or use fewer --workers",
    errno.EIO: "The disk gives errors: copy the file elsewhere",
}


def explain(error: BaseException) -> str | None:
    """One line with the file, what is wrong and what to do; None for an error of the program itself."""
    match error:
        case UnicodeError():
            return f"{_file_of(error)}: expected text in UTF-8, found other bytes ({error}). Convert or replace it."
        case OSError():
            return _of_system(error)
        case MemoryError():
            return _memory(error)
        case RecursionError():
            return f"{_file_of(error)}: nested too deeply to be read. Name another file, or make it flatter."
        case RuntimeError() if any(sign in str(error) for sign in _ALLOCATOR):
            return _memory(error)
        case RuntimeError() if str(error).startswith("Symlink loop from"):
            return f"{str(error).removeprefix('Symlink loop from ')}: {_REMEDIES[errno.ELOOP]}."
        case RuntimeError() if "determine home directory" in str(error):
            return f"{_file_of(error)}: its ~ names no user of this machine. Write the path in full."
        case ValueError() if "embedded null" in str(error):
            return f"{_file_of(error)}: a path cannot hold a NUL character. Check the path."
    return None


def _of_system(error: OSError) -> str:
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes | Path)]
    remedy = _REMEDIES.get(error.errno or 0, "Check the path and the disk, or name another")
    return f"{' -> '.join(names) or _file_of(error)}: {error.strerror or error or type(error).__name__}. {remedy}."


def _memory(error: BaseException) -> str:
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "more than there is"
    return (
        f"{_file_of(error)}: out of memory ({reason}). Take a smaller --batch-size, fewer or smaller images, fewer "
        "--workers, or a machine with more memory."
    )


def _file_of(error: BaseException) -> str:
    """The file in question, by the local variables of the innermost function that is no library's and has one."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        if not any(place in frame.f_code.co_filename for place in _LIBRARIES):
            for name in ("path", "file", "source", "folder", "out"):
                found = frame.f_locals.get(name)
                if isinstance(found, Path) or (isinstance(found, str) and os.path.lexists(found)):
                    return str(found)
    return "this command"
