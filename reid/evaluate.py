"""Measure a bundle on Market-1501's test set: ``python -m reid.evaluate BUNDLE --data FOLDER``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from reid.data import Split, market1501
from reid.embedder import Embedder
from reid.evaluation import Retrieval, retrieval


def embed_split(embedder: Embedder, split: Split, chunk: int = 256) -> np.ndarray:
    """(n, d) unit rows of a split's pictures. Raises ValueError naming a picture that cannot be read."""
    rows = []
    for start in range(0, len(split.paths), chunk):
        pictures = []
        for path in split.paths[start : start + chunk]:
            picture = cv2.imread(str(path))
            if picture is None:
                raise ValueError(f"{path}: not a readable picture")
            pictures.append(picture)
        rows.append(embedder.embed(pictures))
    return np.concatenate(rows)


def evaluate(embedder: Embedder, data: Path) -> Retrieval:
    """Single query, cosine, by Market-1501's protocol."""
    query, gallery = market1501(data, "query"), market1501(data, "bounding_box_test")
    return retrieval(embed_split(embedder, query), query.ids, query.cameras, embed_split(embedder, gallery), gallery.ids, gallery.cameras)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="a shipped name or a bundle's path")
    parser.add_argument("--data", type=Path, required=True, help="the folder of Market-1501")
    args = parser.parse_args()
    print(json.dumps({key: round(value, 4) for key, value in asdict(evaluate(Embedder(args.bundle), args.data)).items()}))
