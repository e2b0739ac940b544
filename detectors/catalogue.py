"""Bigger detectors by name: downloaded once, kept in the user's cache, checked by SHA-256 whenever they are opened."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from detectors.runtime.errors import ModelError, writing
from detectors.runtime.redaction import redact

YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/"
PUBLISHED = {f"yolox-{size}": f"yolox_{size}.onnx" for size in ("nano", "tiny", "s", "m", "l", "x")}
ULTRALYTICS = re.compile(r"(yolov?\d+|rtdetr)[a-z0-9_-]*", re.ASCII)
AGPL = "AGPL-3.0 (Ultralytics)"
CHUNK, TIMEOUT = 1 << 16, 20.0

Watch = Callable[[int, int | None], None]  # bytes so far, bytes in all where they are known


@dataclass(frozen=True)
class Kept:
    """What is known of a model in the cache."""

    name: str
    sha256: str
    origin: str
    licence: str


def folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passerby" / "detectors"


def known_name(name: str) -> bool:
    """Whether ``name`` is one that ``get`` takes: YOLOX's, or a model of ultralytics without its ending."""
    return name in PUBLISHED or ULTRALYTICS.fullmatch(name) is not None


def kept(name: str) -> Kept | None:
    """What the cache holds under ``name``; None for nothing, or nothing complete."""
    try:
        return Kept(**json.loads((folder() / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def cached(name: str) -> Path:
    """The file of ``name``, checked. Raises ModelError if it is not there, with the command that gets it, or is not what was downloaded."""
    path, facts = folder() / f"{name}.onnx", kept(name)
    if facts is None or not path.is_file():
        raise ModelError(f"detector {name!r}: not on this computer; get it with: passerby detector get {name}")
    if digest(path) != facts.sha256:
        raise ModelError(
            f"{path}: its SHA-256 is not that of the file that was downloaded; get it again: passerby detector get {name} --again"
        )
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def get(
    name: str,
    check: Callable[[Path], None],
    sha256: str | None = None,
    source: str | None = None,
    again: bool = False,
    watch: Watch = lambda _, __: None,
) -> Kept:
    """Bring ``name`` into the cache, if it is not there. ``check`` opens the file and raises ModelError if it is no person detector.

    ``sha256``: what the file must have; without it, that of the first download holds. ``source``: a URL, or a folder's URL ending in ``/``,
    instead of the publisher's. Raises ModelError for an unknown name, a file that cannot be downloaded, and another SHA-256.
    """
    if not known_name(name):
        raise ModelError(
            f"detector {name!r}: unknown; there are {', '.join(PUBLISHED)}, and names of ultralytics, such as yolo11s (with [train])"
        )
    place = folder() / f"{name}.onnx"
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    facts = kept(name)
    if facts is not None and place.is_file() and not again:
        cached(name)
        _compare(place, facts.sha256, sha256)
        return facts
    draft = place.with_suffix(".part.onnx")
    if name in PUBLISHED or source is not None:
        file = PUBLISHED.get(name, f"{name}.onnx")
        address = YOLOX + file if source is None else source + file if source.endswith("/") else source
        part = place.with_suffix(".part")
        download(address, part, watch)
        with writing(draft):
            part.replace(draft)
        origin, licence = redact(address), "Apache-2.0 (Megvii)" if name in PUBLISHED else "that of its publisher"
    else:
        origin, licence = _exported(name, draft), AGPL
    try:
        found = digest(draft)
        _compare(draft, found, sha256)
        if facts is not None and again and sha256 is None and facts.sha256 != found and name in PUBLISHED:
            raise ModelError(
                f"{origin}: gives another file than before (SHA-256 {found}, before {facts.sha256}); pin it with --sha256 if that is right"
            )
        check(draft)
        facts = Kept(name, found, origin, licence)
        with writing(place):
            draft.replace(place)
            scratch = place.with_suffix(".json.new")
            scratch.write_text(json.dumps(asdict(facts)), encoding="utf-8")
            scratch.replace(place.with_suffix(".json"))
    finally:
        draft.unlink(missing_ok=True)
    return facts


def _compare(path: Path, found: str, wanted: str | None) -> None:
    if wanted is not None and wanted.lower() != found:
        raise ModelError(f"{path}: SHA-256 {found}, not {wanted.lower()} as --sha256 says; the file is not used")


def download(address: str, part: Path, watch: Watch) -> None:
    """Download to ``part``, from where an earlier attempt left it. Proxies are those of the environment. Raises ModelError, OutputError."""
    begun = part.stat().st_size if part.is_file() else 0
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "passerby"} | ({"Range": f"bytes={begun}-"} if begun else {}))
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-")
            done = begun if resumed else 0
            length = answer.headers.get("Content-Length")
            whole = done + int(length) if length else None
            with writing(part), part.open("ab" if resumed else "wb") as file:
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    watch(done, whole)
        if whole is not None and done < whole:
            raise ModelError(f"{address}: the download broke off after {done} of {whole} bytes; run the command again to resume it")
    except urllib.error.HTTPError as error:
        if error.code == 416 and begun:  # it was complete, or is another file now
            part.unlink()
            return download(address, part, watch)
        raise ModelError(f"{address}: the server answers {error.code} {error.reason}") from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise ModelError(
            f"{address}: cannot be downloaded ({reason}); run the command again to resume it, or, off-line, download it elsewhere and give "
            "the file: --detector FILE.onnx"
        ) from None


def _exported(name: str, draft: Path) -> str:
    """Let ultralytics download and export its model ``name``. Raises ModelError."""
    try:
        from ultralytics import YOLO
    except ImportError:
        raise ModelError(f"detector {name!r}: a model of ultralytics, which is not installed: pip install 'passerby[train]'") from None
    weights = draft.parent / f"{name}.pt"
    try:
        written = Path(YOLO(str(weights)).export(format="onnx", dynamic=True, simplify=False))
        written.replace(draft)
    except Exception as error:  # ultralytics raises many kinds, off-line too
        raise ModelError(f"detector {name!r}: ultralytics could not download or export it ({str(error).splitlines()[0][:200]})") from None
    finally:
        weights.unlink(missing_ok=True)
    return f"ultralytics {name}.pt, exported"
