"""Writing files so that nobody ever sees half of one (a temporary name beside the target, then a rename), folders that
only one run at a time may write into, and folders for what need not be kept."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from viseme.core.errors import ConfigError

try:
    import fcntl
except ImportError:  # not POSIX: there, runs are not kept apart
    fcntl = None  # type: ignore[assignment]

__all__ = ["atomic_path", "is_alive", "only_run", "scratch_folder", "write_text_atomic", "write_bytes_atomic"]


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix) to write to; renamed at the end, removed if the body raises.

    Missing parent folders are made. The file gets the permissions that an ordinary `open(path, "w")` would give.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:64]}.", suffix=f".part{path.suffix}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes_atomic(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, all of it or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text_atomic(path: str | Path, content: str) -> None:
    """Write `content` as UTF-8 with line ends as they are, all of it or nothing."""
    write_bytes_atomic(path, content.encode("utf-8", errors="surrogateescape"))


@contextlib.contextmanager
def only_run(lock: str | Path, what: str, *, shared: bool = False) -> Iterator[None]:
    """The body is the only run, on any machine that shares the disk, that holds `lock`.

    The system lets go of it when the process ends, however it ends; the file stays and says nothing. Processes that
    this one starts do not hold it, and the same process may hold it twice. A file system without locks keeps nobody
    out.

    Args:
        lock: a file, made where it is missing.
        what: names the work in the message, such as "training".
        shared: others may hold it shared too; it keeps out, and is kept out by, who wants it alone.

    Raises:
        ConfigError: another run holds it.
    """
    path = Path(lock)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            if fcntl is not None:
                fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise ConfigError(
                f"another run is {what} into this folder",
                path=path.parent,
                got=file.read().strip() or "its name is not known",
                hint="Wait for it or end it, then run again to go on; or choose another folder.",
            ) from error
        except OSError:  # no locks on this file system
            pass
        if not shared:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        yield


def scratch_folder(name: str) -> Path:
    """A folder among the system's temporary ones, removed when this process ends. What processes that were killed have
    left under the same name is removed here.

    Args:
        name: of the work, such as "demo".
    """
    for left in Path(tempfile.gettempdir()).glob(f"viseme-{name}-*"):
        process = left.name.removeprefix(f"viseme-{name}-").partition("-")[0]
        if process.isdigit() and not is_alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"viseme-{name}-{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_alive(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
