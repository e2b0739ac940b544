"""What applies to nothing is said; areas in shares of the image."""

from __future__ import annotations

import numpy as np
import pytest
from clips import numbered, write_clip
from command import passerby

from pipeline.engine.areas import area
from pipeline.engine.without_effect import check_site
from pipeline.errors import UsageError
from tracker import Site
from tracker.site import CameraPlace


def test_shares_of_the_image_are_pixels_of_it():
    half = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    pixels = ((0.0, 0.0), (80.0, 0.0), (80.0, 96.0), (0.0, 96.0))
    np.testing.assert_array_equal(area(CameraPlace(only=(half,)), 160, 96), area(CameraPlace(only=(pixels,)), 160, 96))
    assert area(CameraPlace(ignore=(half,)), 160, 96).mean() == pytest.approx(0.5, abs=0.01)


def test_names_of_a_site():
    site = Site.model_validate({"cameras": {"Gate": {"offset": 2}, "yard": {}}})
    assert check_site(site, ["Gate", "yard", "more"]) == []
    (said,) = check_site(site, ["gate", "yard"])
    assert "did you mean gate for Gate?" in said
    with pytest.raises(UsageError, match="nothing in the site file applies"):
        check_site(site, ["door"])
    assert check_site(site, ["monday/Gate", "tuesday/yard"]) == []
    with pytest.raises(UsageError, match="hall"):
        check_site(Site.model_validate({"links": [{"start": "hall", "end": "stairs"}]}), ["door"])
    assert check_site(Site(), ["door"]) == []


def test_a_run_says_what_has_no_effect(tmp_path):
    clip = write_clip(tmp_path / "gate.mp4", numbered(10), rate=10)
    (tmp_path / "det.txt").write_text("1,-1,20,20,20,50,0.9\n")
    site = tmp_path / "site.yaml"
    site.write_text("cameras: {gate: {only: [[[500, 500], [600, 500], [600, 600]]]}, Yrad: {}}\n")
    words = ["--detections", tmp_path / "det.txt", "--reid", "none", "--no-video", "-o", tmp_path / "o"]
    done = passerby("run", clip, *words, "--site", site, "--detector", "person-n", "--set", "reading.time_pattern=%Y%m%d")
    assert done.returncode == 0, done.stderr
    for said in ("names Yrad", "settings of detector have no effect", "matches no file name", "keep nothing of the 160x96 image"):
        assert said in done.stderr
    site.write_text("cameras: {Gate: {offset: 2}}\n")
    done = passerby("run", clip, *words, "--site", site)
    assert done.returncode == 2
    assert "did you mean gate for Gate?" in done.stderr
