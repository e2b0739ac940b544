"""The demo's clip: OpenCV's ``vtest.avi`` (PETS2009, University of Reading), got from wherever it can be had."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from pipeline.errors import SourceError

SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
URL = "https://raw.githubusercontent.com/opencv/opencv/4.x/samples/data/vtest.avi"
IN_PACKAGE = "usr/share/doc/opencv-doc/examples/data/vtest.avi"


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passerby"


def genuine(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == SHA256


def obtain_clip() -> Path:
    """The clip from the user's cache, an installed opencv-doc, OpenCV's sample data over HTTPS, or Debian's package.

    Raises SourceError saying what was tried, where none of them gives the file of the known hash.
    """
    kept = cache() / "vtest.avi"
    if genuine(kept):
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
            if genuine(draft):
                draft.replace(kept)
                return kept
            tried.append(f"  {name}: the file has another SHA-256 than {SHA256}")
    raise SourceError(
        f"the demo's clip could not be had; put vtest.avi into {kept.parent} yourself, or run on a video of your own. Tried:\n"
        + "\n".join(tried)
    )


def _installed(draft: Path) -> None:
    shutil.copyfile(Path("/") / IN_PACKAGE, draft)


def _download(draft: Path) -> None:
    print("getting the demo's clip (8 MB) ...", file=sys.stderr)
    with urllib.request.urlopen(URL, timeout=10) as answer, draft.open("wb") as file:
        shutil.copyfileobj(answer, file)


def _from_package(draft: Path) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise OSError(f"no {tool} on this machine")
    folder = draft.parent
    got = subprocess.run(["apt-get", "download", "opencv-doc"], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    package = next(folder.glob("opencv-doc*.deb"), None)
    if package is None:
        message = (got.stderr.strip().splitlines() or ["apt-get download opencv-doc gave no package"])[-1]
        raise OSError(f"{message} (an old package list? apt-get update)")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "unpacked")], capture_output=True, timeout=300, check=True)
    (folder / "unpacked" / IN_PACKAGE).replace(draft)
