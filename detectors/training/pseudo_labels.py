"""What a teacher's boxes mean as labels: people, uncertain places that training ignores, or nothing."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from detectors.detections import Detections
from detectors.runtime.settings import Settings, Share
from detectors.training.evaluate import overlaps
from detectors.training.label_files import Labels


class LabelThresholds(Settings):
    """Scores of fused teachers. Less than ``uncertain`` is background."""

    person: Share = Field(default=0.3, title="Person", description="Minimum score of a person.")
    uncertain: Share = Field(default=0.1, title="Uncertain", description="Minimum score of a box that training ignores.")
    added: Share = Field(default=0.4, title="Added", description="Minimum score of a person that human labels lack.")
    meets: Share = Field(default=0.3, title="Meets", description="IoU from which a box and a human label are the same person.")


def without_human(found: Detections, thresholds: LabelThresholds) -> Labels:
    """Labels from a teacher alone."""
    uncertain = (found.scores >= thresholds.uncertain) & (found.scores < thresholds.person)
    return Labels(found.boxes[found.scores >= thresholds.person], found.boxes[uncertain])


def with_human(found: Detections, human: Labels, thresholds: LabelThresholds) -> Labels:
    """``human`` labels, and the teacher's boxes that meet none of them: sure ones as people, uncertain ones to ignore.

    Human labels are often not complete, in crowds most of all.
    """
    known = np.concatenate([human.people, human.ignored])
    new = found[~(overlaps(found.boxes.astype(np.float64), known) >= thresholds.meets).any(1)]
    uncertain = (new.scores >= thresholds.uncertain) & (new.scores < thresholds.added)
    return Labels(
        np.concatenate([human.people, new.boxes[new.scores >= thresholds.added]]),
        np.concatenate([human.ignored, new.boxes[uncertain]]),
        len(human.people),
    )
