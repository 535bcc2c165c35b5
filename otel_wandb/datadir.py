"""The data directory: what lies where, who may write, and which bridge holds it.

.. code-block:: text

    journal/       segments: acknowledged, not yet finished           (journal.py)
    fronts/        the counters of each front process                 (fronts.py)
    config/        the settings that frames name, by digest
    answers/       what somebody said to alarms of views              (view_answers.py)
    quarantine/    damaged segments and databases, kept for a look
    store.sqlite   what the bridge made                               (store.py)
    bridge.lock    locked by the bridge while it lives
    bridge.json    which process that is, and when it last said so
    bridge.log     what it logged

All of it is readable by its owner only. The directory must be on a local disk, since locks and mapped files
do not work over a network: `DataDir.writable` says why not, and the front then works from memory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import threading
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from otel_wandb.errors import BridgeRunning, ConfigError

_NETWORK_TYPES: Final = re.compile(
    "afs|beegfs|ceph|cifs|coda|davfs|gfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs|nfs3|nfs4|ocfs2|orangefs|pvfs2"
    "|smb2|smb3|smbfs|fuse[.](blobfuse2?|ceph|ceph-fuse|cvmfs2|gcsfuse|glusterfs|goofys|juicefs|mountpoint-s3"
    "|rclone|s3fs|seaweedfs|smbnetfs|sshfs)"
)
_DIGEST: Final = re.compile(r"[0-9a-f]{16}")
_OCTAL_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_LOCK_TRIES: Final = 20
_LOCK_PAUSE_S: Final = 0.005
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_held: weakref.WeakSet[BridgeLock] = weakref.WeakSet()


class BridgeInfo(msgspec.Struct, frozen=True):
    """What a bridge says of itself. Times are Unix seconds."""

    pid: int
    version: str
    started_s: float
    heartbeat_s: float
    doing: str = ""
    """What it does, and what the user has to do where it cannot."""
    read_bytes_per_min: float = 0.0
    """How fast the fronts fill the journal."""

    @classmethod
    def now(cls, *, version: str) -> Self:
        """This process, starting now."""
        now_s = time.time()
        return cls(pid=os.getpid(), version=version, started_s=now_s, heartbeat_s=now_s)

    def beat(self, *, doing: str = "", read_bytes_per_min: float = 0.0) -> Self:
        """The same, alive now."""
        return msgspec.structs.replace(
            self, heartbeat_s=time.time(), doing=doing, read_bytes_per_min=read_bytes_per_min
        )


class BridgeLock:
    """Held: this process is the bridge of the directory until `release`, or until it dies however it does."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        _held.add(self)

    def release(self) -> None:
        """Give the directory to the next bridge. May be called twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def forget(self) -> None:
        """Drop a forked child's share, so that the lock ends with the process that took it."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class DataDir:
    """The layout of one data directory. Makes nothing and checks nothing until it is asked to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal"
        self.fronts = path / "fronts"
        self.config = path / "config"
        self.answers = path / "answers"
        self.quarantine = path / "quarantine"
        self.store = path / "store.sqlite"
        self.lock_file = path / "bridge.lock"
        self.info_file = path / "bridge.json"
        self.log = path / "bridge.log"

    def create(self) -> None:
        """Make what is missing, for the owner alone. Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.journal, self.fronts, self.config, self.quarantine):
            folder.mkdir(mode=0o700, exist_ok=True)

    def writable(self) -> str | None:
        """None if fronts and bridges can work here, else the reason why not, as the end of a sentence.

        A full disk is no reason: it may have room again.
        """
        try:
            self.create()
            probe = self.path / f".probe-{os.getpid()}-{threading.get_ident()}"
            os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600))
            probe.unlink()
        except OSError as error:
            if error.errno not in _FULL:
                return f"{self.path} cannot be written to ({error.strerror})"
        stranger = self._find_stranger()
        if stranger is not None:
            return f"{stranger} belongs to another user, who could put settings of their own there"
        kind = filesystem_type(self.path)
        if kind is not None and is_network_type(kind):
            return f"{self.path} is on a network file system ({kind}), where locks cannot be relied on"
        return None

    def free_bytes(self) -> int:
        """What this user may still write to the disk of the directory. Raises OSError."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def lock(self) -> BridgeLock:
        """The directory, for this process alone.

        Raises:
            BridgeRunning: another bridge has it.
            OSError: the lock file cannot be made.
        """
        fd = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            for _ in range(_LOCK_TRIES):  # `locked` of another process holds it for a moment
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return BridgeLock(fd)
                time.sleep(_LOCK_PAUSE_S)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        info = self.read_bridge_info()
        who = f"process {info.pid}, version {info.version}" if info else "a process that has not said which"
        raise BridgeRunning(f"another bridge ({who}) works in {self.path}; only one can")

    def locked(self) -> bool:
        """Whether a bridge holds the directory now."""
        try:
            fd = os.open(self.lock_file, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)  # this ends the shared lock, too
        return False

    def write_bridge_info(self, info: BridgeInfo) -> None:
        """Say who the bridge is. Readers see the old or the new, never a part."""
        _replace(self.info_file, msgspec.json.encode(info), sync=False)

    def read_bridge_info(self) -> BridgeInfo | None:
        """What the last bridge said, which may be long gone (`locked` tells); None if nothing readable."""
        try:
            return msgspec.json.decode(self.info_file.read_bytes(), type=BridgeInfo)
        except (OSError, msgspec.DecodeError):
            return None

    def write_config(self, document: bytes, digest: str, *, sync: bool = False) -> None:
        """Keep the settings that frames will name by `digest`; `sync`: so that they outlive the machine.

        Raises OSError.
        """
        path = self._config_path(digest)
        with contextlib.suppress(OSError):
            if path.read_bytes() == document:
                return
        _replace(path, document, sync=sync)

    def read_config(self, digest: str) -> bytes | None:
        """The settings of that digest, None if they are not kept here."""
        try:
            return self._config_path(digest).read_bytes()
        except OSError:
            return None

    def _find_stranger(self) -> Path | None:
        # In a folder where everybody may write, such as /tmp, somebody may have made ours beforehand.
        for folder in (self.path, *self.path.absolute().parents):
            everybody = folder.parent.stat().st_mode & stat.S_IWOTH
            if everybody and folder.parent != folder and folder.stat().st_uid not in (os.geteuid(), 0):
                return folder
        return None

    def _config_path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ConfigError(f"{digest!r} is not the digest of a configuration: 16 hex digits")
        return self.config / f"{digest}.json"


def filesystem_type(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system that holds `path`, None where the system does not tell (macOS)."""
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return None
    wanted = path.resolve()
    best: tuple[int, str] = (-1, "")
    for line in lines:
        fields = line.split(b" ")
        if len(fields) < 3:
            continue
        point = Path(os.fsdecode(_OCTAL_ESCAPE.sub(lambda m: bytes([int(m[1], 8)]), fields[1])))
        depth = len(point.parts)
        if depth >= best[0] and wanted.is_relative_to(point):  # of two on one point the later one is on top
            best = depth, fields[2].decode(errors="replace")
    return best[1] or None


def is_network_type(kind: str) -> bool:
    """Whether files of this type lie on another machine; the shares of a virtual machine do not count."""
    return _NETWORK_TYPES.fullmatch(kind) is not None


def _replace(path: Path, content: bytes, *, sync: bool) -> None:
    draft = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        fd = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if sync:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _forget_locks() -> None:
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
