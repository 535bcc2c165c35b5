from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.config import Settings
from otel_wandb.datadir import BridgeInfo, DataDir, filesystem_type, is_network_type
from otel_wandb.errors import BridgeRunning, ConfigError
from tests.forking import in_child

HOLDING_CHILD = """
import sys
from pathlib import Path
from otel_wandb.datadir import BridgeInfo, DataDir
data_dir = DataDir(Path(sys.argv[1]))
lock = data_dir.lock()
data_dir.write_bridge_info(BridgeInfo.now(version="0.9"))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    made = DataDir(tmp_path / "state" / "data")
    made.create()
    return made


@pytest.fixture
def holder(data_dir: DataDir) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDING_CHILD, str(data_dir.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


def test_everything_is_for_the_owner_alone(data_dir: DataDir) -> None:
    data_dir.create()  # a second time: what is there stays
    data_dir.write_bridge_info(BridgeInfo.now(version="1"))
    data_dir.write_config(b"{}", "0" * 16)
    data_dir.lock().release()
    assert data_dir.writable() is None
    modes = {
        path.relative_to(data_dir.path).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in (data_dir.path, *data_dir.path.rglob("*"))
    }
    assert modes == {
        ".": 0o700,
        "journal": 0o700,
        "fronts": 0o700,
        "config": 0o700,
        "quarantine": 0o700,
        "bridge.json": 0o600,
        "bridge.lock": 0o600,
        f"config/{'0' * 16}.json": 0o600,
    }


def test_writable_makes_the_directory(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "new")
    assert data_dir.writable() is None
    assert data_dir.journal.is_dir()
    assert data_dir.free_bytes() > 0


def test_a_file_in_the_way_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert DataDir(tmp_path / "data").writable() == f"{tmp_path / 'data'} cannot be written to (File exists)"


def test_a_directory_of_somebody_else_is_a_reason() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o555)

        def work() -> bool:
            if os.getuid() == 0:
                os.setuid(65534)
            return DataDir(folder).writable() == f"{folder} cannot be written to (Permission denied)"

        assert in_child(work) == 0
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_somebody_else_made_is_a_reason(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    theirs = shared / "otel-wandb-0"
    theirs.mkdir(parents=True)
    shared.chmod(0o1777)
    os.chown(theirs, 54321, 54321)
    reason = DataDir(theirs / "rag").writable()
    assert reason == f"{theirs} belongs to another user, who could put settings of their own there"
    os.chown(theirs, 0, 0)
    assert DataDir(theirs / "rag").writable() is None


def test_a_network_file_system_is_a_reason(data_dir: DataDir, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    resolved = data_dir.path.resolve()
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/export {resolved.parent} nfs4 rw 0 0\n")
    assert filesystem_type(data_dir.path, mounts) == "nfs4"
    assert is_network_type("nfs4")


@pytest.mark.parametrize(
    ("mounts", "path", "kind"),
    [
        (b"/dev/a / ext4 rw 0 0\n", "/nowhere/x", "ext4"),
        (b"/dev/a / ext4 rw 0 0\ns:/x /nowhere nfs rw 0 0\n", "/nowhere/x", "nfs"),
        (b"s:/x /nowhere nfs rw 0 0\n/dev/a / ext4 rw 0 0\n", "/nowhere/x", "nfs"),
        (b"/dev/a / ext4 rw 0 0\ns:/x /nowhere nfs rw 0 0\n", "/nowhere-else", "ext4"),
        (b"auto /nowhere autofs rw 0 0\ns:/x /nowhere nfs4 rw 0 0\n", "/nowhere", "nfs4"),
        (b"s:/x /no\\040where/\\303\\244 cifs rw 0 0\n", "/no where/\u00e4/y", "cifs"),
        (b"broken\n", "/nowhere", None),
    ],
)
def test_the_innermost_mount_decides(tmp_path: Path, mounts: bytes, path: str, kind: str | None) -> None:
    file = tmp_path / "mounts"
    file.write_bytes(mounts)
    assert filesystem_type(Path(path), file) == kind


def test_the_real_mounts_name_a_type() -> None:
    if Path("/proc/self/mounts").exists():
        assert filesystem_type(Path("/proc/self")) == "proc"
    assert filesystem_type(Path("/"), Path("/does/not/exist")) is None


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.gcsfuse", "lustre", "ceph"]
)
def test_types_of_the_network(kind: str) -> None:
    assert is_network_type(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "overlay", "tmpfs", "9p", "virtiofs", "fuse.mergerfs", "nfsd"]
)
def test_types_of_this_machine(kind: str) -> None:
    assert not is_network_type(kind)


def test_only_one_bridge(data_dir: DataDir) -> None:
    assert not data_dir.locked()
    with data_dir.lock() as lock:
        assert data_dir.locked()
        with pytest.raises(BridgeRunning, match=r"another bridge \(a process that has not said which\)"):
            data_dir.lock()
        lock.release()
        lock.release()
        assert not data_dir.locked()
    data_dir.lock().release()


def test_the_holder_is_named_and_its_death_frees_the_directory(
    data_dir: DataDir, holder: subprocess.Popen[str]
) -> None:
    assert data_dir.locked()
    with pytest.raises(BridgeRunning) as caught:
        data_dir.lock()
    assert str(caught.value) == (
        f"another bridge (process {holder.pid}, version 0.9) works in {data_dir.path}; only one can"
    )
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not data_dir.locked()
    data_dir.lock().release()


def test_a_forked_child_has_no_share_in_the_lock(data_dir: DataDir) -> None:
    lock = data_dir.lock()
    go, ready = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        lock.release()  # forgotten already: it must not unlock the parent's
        os.close(go[1])
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        assert data_dir.locked()
        lock.release()
        assert not data_dir.locked()
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    finally:
        for fd in (*go, *ready):
            os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_looking_never_keeps_a_bridge_out(data_dir: DataDir) -> None:
    data_dir.lock().release()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            data_dir.locked()

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(100):
            data_dir.lock().release()
    finally:
        stop.set()
        looker.join()


def test_the_bridge_says_who_it_is(data_dir: DataDir) -> None:
    assert data_dir.read_bridge_info() is None
    info = BridgeInfo.now(version="1.2")
    assert info.pid == os.getpid()
    data_dir.write_bridge_info(info)
    assert data_dir.read_bridge_info() == info
    later = info.beat()
    assert later.heartbeat_s >= info.heartbeat_s
    assert later.started_s == info.started_s
    data_dir.write_bridge_info(later)
    assert data_dir.read_bridge_info() == later
    data_dir.info_file.write_bytes(b'{"pid": 1')
    assert data_dir.read_bridge_info() is None


@pytest.mark.parametrize("sync", [True, False])
def test_settings_are_kept_by_digest(data_dir: DataDir, sync: bool) -> None:
    settings = Settings(project="rag")
    assert data_dir.read_config(settings.digest) is None
    data_dir.write_config(settings.to_json(), settings.digest, sync=sync)
    first = (data_dir.config / f"{settings.digest}.json").stat().st_ino
    data_dir.write_config(settings.to_json(), settings.digest, sync=sync)
    assert (data_dir.config / f"{settings.digest}.json").stat().st_ino == first
    document = data_dir.read_config(settings.digest)
    assert document is not None
    assert Settings.from_json(document) == settings
    assert [path.name for path in data_dir.config.iterdir()] == [f"{settings.digest}.json"]


def test_a_damaged_document_is_written_again(data_dir: DataDir) -> None:
    settings = Settings()
    (data_dir.config / f"{settings.digest}.json").write_bytes(settings.to_json()[:20])
    data_dir.write_config(settings.to_json(), settings.digest)
    assert data_dir.read_config(settings.digest) == settings.to_json()


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "0" * 15, "G" * 16])
def test_only_a_digest_names_a_document(data_dir: DataDir, digest: str) -> None:
    with pytest.raises(ConfigError, match="16 hex digits"):
        data_dir.read_config(digest)


def test_a_draft_that_cannot_take_its_place_is_removed(data_dir: DataDir) -> None:
    data_dir.info_file.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        data_dir.write_bridge_info(BridgeInfo.now(version="1"))
    assert [path.name for path in data_dir.path.iterdir() if path.name.startswith(".")] == []
