"""Re-ID models that others publish: downloaded on request, pinned by SHA-256, and never part of this package.

Only their metadata are, with calibrations measured here: ``weights/NAME.json``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detectors.runtime.errors import ModelError, writing
from detectors.runtime.redaction import redact

log = logging.getLogger(__name__)
FACTS = Path(__file__).parent / "weights"
MAX_BYTES = 64 << 20  # of a download
TIMEOUT = 30.0  # seconds without an answer


@dataclass(frozen=True)
class Published:
    """A model at ``url``: its ``files`` with their SHA-256, the first of them the one to open; ``licence`` and ``publisher`` for messages."""

    url: str
    files: Mapping[str, str] = field(hash=False)
    licence: str
    publisher: str

    @property
    def model(self) -> str:
        return next(iter(self.files))


PUBLISHED = {
    "retail-0287": Published(
        "https://storage.openvinotoolkit.org/repositories/open_model_zoo/2023.0/models_bin/1/person-reidentification-retail-0287/FP32",
        {
            "person-reidentification-retail-0287.xml": "09af746c1068a3e89355e1f0226d3d6982dc1cd77634b1f70a40f1f654a94be1",
            "person-reidentification-retail-0287.bin": "7f53d18d11253455e0e11646b2176cf6509cc7c97cb5376f9b91b4c41e09a06c",
        },
        "Apache-2.0",
        "Intel, Open Model Zoo",
    )
}


def folder(name: str) -> Path:
    """Where a published model is kept: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passerby/reid" / name


def downloaded(name: str) -> Path:
    """The file to open of a published model. Raises ModelError if it was not downloaded, or its files are not the published ones."""
    model = PUBLISHED[name]
    wrong = [file for file, sha256 in model.files.items() if not matches(folder(name) / file, sha256)]
    if wrong:
        there = [file for file in wrong if (folder(name) / file).exists()]
        why = f"{', '.join(there)}: SHA-256 mismatch" if there else "not downloaded"
        raise ModelError(f"re-ID model {name!r}: {why}; passerby reid get {name} downloads it ({model.licence}, {model.publisher})")
    return folder(name) / model.model


def facts_file(path: Path) -> Path | None:
    """The metadata in this package of a published model's file, wherever that lies; None if it is none of them, or was changed."""
    for name, model in PUBLISHED.items():
        if path.name == model.model and all(matches(path.with_name(file), sha256) for file, sha256 in model.files.items()):
            return FACTS / f"{name}.json"
    return None


def matches(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def get(name: str, url: str | None = None) -> Path:
    """Download a published model into the user's cache, from ``url`` instead of its publisher's folder if given; returns the file to open.

    Files that are there already are not downloaded again. Nothing is kept of a file whose SHA-256 is wrong. Raises ModelError for an unknown
    name, or if a file cannot be had; OutputError if the cache cannot be written.
    """
    if name not in PUBLISHED:
        raise ModelError(f"re-ID model {name!r}: not known; to download are {', '.join(PUBLISHED)}")
    model, base = PUBLISHED[name], (url or PUBLISHED[name].url).rstrip("/")
    target = folder(name)
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
    for file, sha256 in model.files.items():
        if matches(target / file, sha256):
            continue
        content = read(f"{base}/{file}", f"or put {', '.join(model.files)} into {target} yourself")
        if (found := hashlib.sha256(content).hexdigest()) != sha256:
            raise ModelError(f"{redact(f'{base}/{file}')}: SHA-256 mismatch: {found}, expected {sha256}; nothing was kept")
        draft = target / f"{file}.tmp"
        with writing(draft):
            draft.write_bytes(content)
            draft.replace(target / file)
    return target / model.model


def read(url: str, otherwise: str) -> bytes:
    """The content at an address. Raises ModelError if it cannot be had."""
    log.info("downloading %s", redact(url))
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content: bytes = answer.read(MAX_BYTES + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise ModelError(f"{redact(url)}: cannot be downloaded ({redact(str(error))}); --url takes another folder, {otherwise}") from None
    if len(content) > MAX_BYTES:
        raise ModelError(f"{redact(url)}: more than {MAX_BYTES >> 20} MB; nothing was kept")
    return content
