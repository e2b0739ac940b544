"""The re-ID bundles that the package ships, and what became of earlier ones."""

from __future__ import annotations

import logging
from pathlib import Path

from detectors.runtime.errors import ModelError
from reid.published import PUBLISHED, downloaded

log = logging.getLogger(__name__)
WEIGHTS = Path(__file__).parent / "weights"
RENAMED = {"mpn-mobilenetv2-256": "mpn-s", "mpn-mobilenetv2-320": "mpn-m"}  # the same files under new names
REPLACED = {  # removed bundles, and which shipped one to use instead
    "mpn-mobilenetv2-128": "mpn-s",
    "mpn-mobilenetv2-192-neck": "mpn-s",
    "mpn-mobilenetv2-192-neck-int8": "mpn-int8",
    "mpn-mobilenetv2-192-two": "mpn-m",
    "mpn-mobilenetv2-256-224": "mpn-m",
    "mpn-mobilenetv2-320-256-224": "mpn-m",
    "mpn-mobilenetv2-three": "mpn-m",
}
LAST_COMMIT = "a4b1fe6"  # the last one that has them


def shipped() -> list[str]:
    """Names of the re-ID bundles in the package."""
    return sorted(path.stem for path in WEIGHTS.glob("*.onnx"))


def bundle_path(model: str) -> Path:
    """The file of a shipped name, also of an earlier name of it, of a published model that was downloaded, or of a path that ends in ``.onnx`` or
    ``.xml``.

    Raises ModelError for any other name; that of a removed bundle with its replacement.
    """
    if model in RENAMED:
        log.warning("re-ID model %s is now called %s", model, RENAMED[model])
        model = RENAMED[model]
    if model in shipped():
        return WEIGHTS / f"{model}.onnx"
    if model.endswith((".onnx", ".xml")):
        return Path(model)
    if model in PUBLISHED:
        return downloaded(model)
    if model in REPLACED:
        raise ModelError(
            f"re-ID model {model!r} is no longer shipped: use {REPLACED[model]}, whose embeddings cannot be compared with it, "
            f"or take {model}.onnx from reid/weights/ of commit {LAST_COMMIT}"
        )
    raise ModelError(
        f"re-ID model {model!r}: unknown; shipped are {', '.join(shipped()) or 'none'}, to download {', '.join(PUBLISHED)}; or give a bundle (.onnx)"
    )
