"""Person re-identification: ``Embedder().embed([bgr_crop, ...])`` gives (n, d) float32 unit rows."""

from reid.embedder import Embedder, EmbedderSettings

__all__ = ["Embedder", "EmbedderSettings"]
