"""A headless Chromium: one that is installed, else that of an npm package, which needs no rights here.

It is unpacked into `.cache/peers/chromium-VERSION`, once. Two test workers may ask at once; one unpacks.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

from tests.peers.environments import CACHE, locked, python_of

PACKAGE: Final = "@sparticuz/chromium"
VERSION: Final = "147.0.0"

_INSTALLED: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_UNPACK: Final = (
    "import brotli, sys; sys.stdout.buffer.write(brotli.decompress(open(sys.argv[1], 'rb').read()))"
)
_SCRIPT: Final = '#!/bin/sh\nLD_LIBRARY_PATH="{0}/lib/lib" exec "{0}/chromium" "$@"\n'


def chromium_path() -> Path:
    """The program to start."""
    for name in _INSTALLED:
        if found := shutil.which(name):
            return Path(found)
    directory = CACHE / f"chromium-{VERSION}"
    script = directory / "start"
    if not script.exists():
        with locked(CACHE / "chromium.lock"):
            if not script.exists():
                _unpack(directory)
    return script


def _unpack(directory: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("the tests of Streamlit need Chromium, or npm to fetch it; install one of them")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    pack = [npm, "pack", "--silent", "--pack-destination", str(directory), f"{PACKAGE}@{VERSION}"]
    subprocess.run(pack, check=True, capture_output=True, timeout=300)
    (archive,) = directory.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(directory, filter="data")
    archive.unlink()
    for name in ("chromium", "al2023.tar"):
        with (directory / name).open("wb") as file:
            source = directory / "package" / "bin" / f"{name}.br"
            subprocess.run(
                [str(python_of("apps")), "-c", _UNPACK, str(source)], check=True, stdout=file, timeout=300
            )
    with tarfile.open(directory / "al2023.tar") as libraries:
        libraries.extractall(directory / "lib", filter="data")
    (directory / "chromium").chmod(0o700)
    begun = directory / "start.new"
    begun.write_text(_SCRIPT.format(directory))
    begun.chmod(0o700)
    begun.rename(directory / "start")
