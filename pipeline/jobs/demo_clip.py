"""The demo clip: OpenCV's ``vtest.avi`` (PETS2009, University of Reading), from the first of several places that has it."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from pipeline.errors import SourceError

SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
URL = "https://raw.githubusercontent.com/opencv/opencv/4.x/samples/data/vtest.avi"
IN_PACKAGE = "usr/share/doc/opencv-doc/examples/data/vtest.avi"

log = logging.getLogger(__name__)


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passerby"


def matches_checksum(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == SHA256


def obtain_clip() -> Path:
    """The clip from the user's cache, an installed opencv-doc, OpenCV's sample data over HTTPS, or Debian's package.

    Raises SourceError, listing the attempts, if none of them gives a file with the expected SHA-256.
    """
    kept = cache() / "vtest.avi"
    if matches_checksum(kept):
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    tried = []
    for name, attempt in (
        ("an installed opencv-doc", _installed),
        ("OpenCV's sample data", _download),
        ("Debian's package opencv-doc", _from_package),
    ):
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            draft = Path(scratch) / "vtest.avi"
            try:
                attempt(draft)
            except (OSError, urllib.error.URLError, subprocess.SubprocessError) as error:
                tried.append(f"  {name}: {str(error).splitlines()[0]}")
                continue
            if matches_checksum(draft):
                draft.replace(kept)
                return kept
            tried.append(f"  {name}: SHA-256 mismatch, expected {SHA256}")
    raise SourceError(
        f"the demo clip could not be obtained; copy vtest.avi to {kept.parent}, or use passerby run with your own video. Tried:\n"
        + "\n".join(tried)
    )


def _installed(draft: Path) -> None:
    shutil.copyfile(Path("/") / IN_PACKAGE, draft)


def _download(draft: Path) -> None:
    log.warning("downloading the demo clip (8 MB) ...")
    with urllib.request.urlopen(URL, timeout=10) as answer, draft.open("wb") as file:
        shutil.copyfileobj(answer, file)


def _from_package(draft: Path) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise OSError(f"{tool} is not installed")
    folder = draft.parent
    got = subprocess.run(["apt-get", "download", "opencv-doc"], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    package = next(folder.glob("opencv-doc*.deb"), None)
    if package is None:
        message = (got.stderr.strip().splitlines() or ["apt-get download opencv-doc gave no package"])[-1]
        raise OSError(f"{message} (if the package list is old: apt-get update)")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "unpacked")], capture_output=True, timeout=300, check=True)
    (folder / "unpacked" / IN_PACKAGE).replace(draft)
