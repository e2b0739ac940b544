"""Locate the body in each training image with MediaPipe: an alternative to ``passerby reid priors`` that downloads no weights.

    pip install mediapipe==0.10.14        # the wheel includes the models
    python benchmarks/mediapipe_priors.py --data Market-1501-v15.09.15 [--sheet masks.png]

The mask is the maximum of the pose model's and the selfie segmenter's: on small images of people from behind, they fail in different
cases. A body that covers less than a tenth of the image counts as not found; the whole image is stored instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import mediapipe
import numpy as np

from reid.datasets.layouts import read_split, unpacked
from reid.training.priors import Bodies, write_bodies
from reid.training.silhouettes import body_of_mask

HEIGHT, WIDTH, EDGE = 512, 256, 32  # size of the models' input, and the margin around it
MIN_SHARE = 0.1  # of the image


def masks_of() -> Callable[[np.ndarray], np.ndarray]:
    """A function from an image (h, w, 3) BGR to the body's mask (HEIGHT, WIDTH) in 0..1."""
    pose = mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1, enable_segmentation=True, min_detection_confidence=0.2)
    selfie = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    side = (HEIGHT - WIDTH) // 2 + EDGE

    def mask(picture: np.ndarray) -> np.ndarray:
        shown = cv2.cvtColor(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), cv2.COLOR_BGR2RGB)
        near = np.asarray(selfie.process(shown).segmentation_mask)
        found = pose.process(cv2.copyMakeBorder(shown, EDGE, EDGE, side, side, cv2.BORDER_REPLICATE)).segmentation_mask
        return near if found is None else np.maximum(near, found[EDGE:-EDGE, side:-side])

    return mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, help="image to write: 64 masks for a visual check")
    args = parser.parse_args()
    root = unpacked(args.data)
    paths = list(read_split(root, "train").paths)
    mask, bodies, missed = masks_of(), Bodies.whole(len(paths)), 0
    shown = set(np.linspace(0, len(paths) - 1, 64).astype(int).tolist())
    tiles = []
    for row, path in enumerate(paths):
        picture = cv2.imread(str(path))
        body = mask(picture) if picture is not None else np.zeros((HEIGHT, WIDTH))
        if (body > 0.5).mean() < MIN_SHARE:
            missed += 1
        else:
            bodies.ranges[row], bodies.masks[row] = body_of_mask(body)
        if row in shown and picture is not None:
            cells = cv2.resize(bodies.masks[row].astype(np.float32), (48, 96), interpolation=cv2.INTER_NEAREST)[..., None]
            tiles.append(np.hstack([small := cv2.resize(picture, (48, 96)), (small * cells.clip(0.2)).astype(np.uint8)]))
        if row % 1000 == 0:
            print(f"{row} of {len(paths)} images", flush=True)
    path = write_bodies(root, [path.relative_to(root).as_posix() for path in paths], bodies)
    print(f"written: {path}, bodies found in {len(paths) - missed} of {len(paths)} images")
    if args.sheet:
        cv2.imwrite(str(args.sheet), np.vstack([np.hstack(tiles[at : at + 16]) for at in range(0, len(tiles) - 15, 16)]))


if __name__ == "__main__":
    main()
