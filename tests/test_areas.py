"""Areas of a picture in which people count."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from detectors import Detections
from pipeline.engine.areas import area, within
from tracker.site import CameraPlace

SQUARE = [[10, 10], [50, 10], [50, 50], [10, 50]]


def standing(*feet) -> Detections:
    boxes = np.array([[x - 4, y - 20, x + 4, y] for x, y in feet], np.float32).reshape(-1, 4)
    return Detections(boxes, np.linspace(0.9, 0.5, len(boxes)).astype(np.float32))


def test_nothing_said_everywhere_counts():
    assert area(None, 100, 80) is None
    assert area(CameraPlace(offset=3), 100, 80) is None
    found = standing((5, 70))
    assert within(found, None) is found


def test_only_and_ignore():
    feet = [(30, 30), (70, 30), (30, 45), (5, 5)]
    only = area(CameraPlace(only=[SQUARE]), 100, 80)
    assert within(standing(*feet), only).boxes[:, 3].tolist() == [30, 45]
    ignore = area(CameraPlace(ignore=[[[20, 40], [40, 40], [40, 50], [20, 50]]]), 100, 80)
    assert within(standing(*feet), ignore).boxes[:, 3].tolist() == [30, 30, 5]
    both = area(CameraPlace(only=[SQUARE], ignore=[[[20, 40], [40, 40], [40, 50], [20, 50]]]), 100, 80)
    kept = within(standing(*feet), both)
    assert kept.boxes[:, 3].tolist() == [30]
    assert kept.scores.tolist() == [pytest.approx(0.9)]


def test_feet_beyond_the_edge_and_nobody():
    low = area(CameraPlace(only=[[[0, 60], [99, 60], [99, 79], [0, 79]]]), 100, 80)
    assert len(within(standing((50, 95), (120, 70), (50, 40)), low)) == 2
    assert len(within(Detections.empty(), low)) == 0


def test_shares_of_the_picture_hold_for_any_size():
    left_half = CameraPlace(only=[[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]])
    for width, height in ((100, 80), (640, 360)):
        mask = area(left_half, width, height)
        assert mask.shape == (height, width)
        assert abs(mask.mean() - 0.5) < 0.02
        assert mask[:, : width // 2 - 1].all() and not mask[:, width // 2 + 2 :].any()


@pytest.mark.parametrize("corners", [[[0.1, 0.1], [1.4, 0.1], [0.5, 0.9]], [[-0.2, 0.1], [0.9, 0.1], [0.5, 0.9]]])
def test_shares_outside_of_the_picture_are_refused(corners):
    with pytest.raises(ValidationError, match="between 0 and 1"):
        CameraPlace(ignore=[corners])


def test_two_points_are_no_polygon():
    with pytest.raises(ValidationError, match="only"):
        CameraPlace(only=[[[0, 0], [1, 1]]])
