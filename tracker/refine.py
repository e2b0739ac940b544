"""Post-process tracks: split at identity switches, join fragments, fill gaps, smooth boxes.

Sources: change points by the likelihood ratio of two means (Page, 1955); joining as one assignment of track ends to track starts (as
AFLink of StrongSORT, Du et al., 2023, with the calibration of the re-ID model in place of a learned network); smoothing by Rauch, Tung
and Striebel (1965) with filterpy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from detectors.runtime.settings import Heights, Nats, Seconds, Settings
from tracker.following import costs
from tracker.following.assignment import assign
from tracker.following.kalman import to_centre, to_corners
from tracker.following.settings import TrackerSettings
from tracker.linking import evidence

_TRACKER = TrackerSettings()


class RefineSettings(Settings):
    """Post-processing of tracks: split at identity switches, join fragments, fill gaps by interpolation, smooth boxes.

    Lengths are in heights of the person, evidence is in log odds (nats).
    """

    slope: float | None = Field(
        default=None,
        title="Calibration slope",
        description="As `association.slope`. Default: that of the run, or of the re-ID model.",
    )
    offset: float | None = Field(
        default=None, title="Calibration offset", description="As `association.offset`. Default: that of the run, or of the re-ID model."
    )
    split_threshold: Nats = Field(
        default=-4.0, title="Split threshold", description="Split a track if the log odds that both parts are one person are under this."
    )
    min_split_embeddings: Annotated[int, Field(json_schema_extra={"unit": "embeddings"})] = Field(
        default=3, ge=1, title="Minimum embeddings for a split", description="Minimum number of embeddings on each side of a split."
    )
    max_join_gap: Seconds = Field(
        default=10.0,
        ge=0,
        title="Maximum gap to join",
        description="Maximum time between the end of one track and the start of another that are joined.",
    )
    join_threshold: Nats = Field(
        default=_TRACKER.join_threshold,
        title="Join threshold",
        description="Join two tracks if the log odds of appearance, place and size exceed this.",
    )
    reach: Heights = Field(
        default=_TRACKER.reach,
        gt=0,
        title="Reach",
        description="Standard deviation of where a lost person reappears, right after they were lost.",
    )
    reach_per_second: Annotated[float, Field(json_schema_extra={"unit": "person heights per s"})] = Field(
        default=_TRACKER.reach_per_second,
        ge=0,
        title="Reach per second",
        description="Growth of that standard deviation with the time lost.",
    )
    edge_margin: Heights = Field(
        default=_TRACKER.edge_margin,
        ge=0,
        title="Edge margin",
        description="Do not join tracks that end or start within this distance of the edge of the scene: people leave and enter there. "
        "Association links them instead.",
    )
    max_fill_gap: Seconds = Field(
        default=2.0, ge=0, title="Maximum gap to fill", description="Interpolate gaps in a track up to this long."
    )
    smooth: bool = Field(
        default=True, title="Smooth", description="Smooth detected boxes (Rauch-Tung-Striebel). `false`: smooth interpolated boxes only."
    )
    measurement_noise: Heights = Field(
        default=0.04, gt=0, title="Measurement noise", description="Smoother: standard deviation of a detected box's centre and size."
    )
    acceleration_noise: Annotated[float, Field(json_schema_extra={"unit": "person heights per s per √s"})] = Field(
        default=0.6, gt=0, title="Acceleration noise", description="Smoother: process noise, white acceleration."
    )


@dataclass(frozen=True, eq=False)
class Track:
    """One track of one camera.

    ``frames`` (n,) int64 from 1, increasing; ``times`` (n,) seconds; ``boxes`` (n, 4) x1, y1, x2, y2 px; ``scores`` (n,);
    ``embedding_times`` (k,) seconds and ``embeddings`` (k, d) float32 unit rows, of some of the boxes; k may be 0.
    """

    id: int
    frames: np.ndarray
    times: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    embedding_times: np.ndarray
    embeddings: np.ndarray

    def part(self, rows: slice, embedding_rows: np.ndarray, name: int) -> Track:
        return Track(
            name,
            self.frames[rows],
            self.times[rows],
            self.boxes[rows],
            self.scores[rows],
            self.embedding_times[embedding_rows],
            self.embeddings[embedding_rows],
        )


def refine(tracks: list[Track], times: np.ndarray, settings: RefineSettings | None = None) -> list[Track]:
    """Split, join, fill and smooth the tracks of one camera. ``times`` (frames,): seconds of frame 1, 2, ...

    Joined tracks keep the id of the first; a part that is split off gets a new id. The order of ``tracks`` does not matter.
    """
    settings = settings or RefineSettings()
    tracks = sorted((track for track in tracks if len(track.frames)), key=lambda track: track.id)
    fresh = max((track.id for track in tracks), default=0) + 1
    parts: list[Track] = []
    for track in tracks:
        pieces = split(track, settings, fresh)
        fresh += len(pieces) - 1
        parts += pieces
    return [smooth(track, times, settings) for track in join(parts, settings)]


def _odds(a: np.ndarray, b: np.ndarray, settings: RefineSettings) -> float:
    """Log odds that embeddings ``a`` (k, d) and ``b`` (l, d) show one person."""
    return float(evidence.appearance(1 - pooled(a) @ pooled(b), settings.slope, settings.offset))


def pooled(embeddings: np.ndarray) -> np.ndarray:
    """(d,) unit mean of ``embeddings`` (k, d)."""
    mean = embeddings.mean(0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def split(track: Track, settings: RefineSettings, fresh: int) -> list[Track]:
    """The track, or its parts between identity switches; parts after the first get ids from ``fresh`` on."""
    n, least = len(track.embeddings), settings.min_split_embeddings
    if n < 2 * least:
        return [track]
    cuts = range(least, n - least + 1)
    odds = [_odds(track.embeddings[:cut], track.embeddings[cut:], settings) for cut in cuts]
    at = int(np.argmin(odds))
    if odds[at] >= settings.split_threshold:
        return [track]
    cut = cuts[at]
    moment = (track.embedding_times[cut - 1] + track.embedding_times[cut]) / 2
    row = int(np.searchsorted(track.times, moment))
    if not 0 < row < len(track.frames):
        return [track]
    before = track.part(slice(0, row), np.arange(cut), track.id)
    after = track.part(slice(row, None), np.arange(cut, n), fresh)
    rest = split(after, settings, fresh + 1)
    return [*split(before, settings, fresh + len(rest)), *rest]


def join(tracks: list[Track], settings: RefineSettings) -> list[Track]:
    """Join fragments: assign track ends to track starts, repeatedly, until no pair exceeds ``join_threshold``."""
    while len(tracks) > 1:
        tracks = sorted(tracks, key=lambda track: (track.frames[0], track.id))
        odds = _join_odds(tracks, settings)
        ends, starts = assign(-odds, -settings.join_threshold)
        if not len(ends):
            break
        after = dict(zip(ends.tolist(), starts.tolist(), strict=True))
        whole = []
        for first in sorted(set(range(len(tracks))) - set(after.values())):
            chain = [first]
            while chain[-1] in after:
                chain.append(after[chain[-1]])
            whole.append(_concatenated([tracks[row] for row in chain]))
        tracks = whole
    return sorted(tracks, key=lambda track: track.id)


def _join_odds(tracks: list[Track], settings: RefineSettings) -> np.ndarray:
    """(n, n) log odds that the track of the column continues that of the row; -inf where it cannot."""
    n = len(tracks)
    first, last = (np.stack([track.boxes[row] for track in tracks]) for row in (0, -1))
    scene = costs.extent(np.concatenate([track.boxes for track in tracks]))
    gap = np.array([track.times[0] for track in tracks])[None] - np.array([track.times[-1] for track in tracks])[:, None]
    odds = costs.return_odds(last, first, gap, scene, settings.reach, settings.reach_per_second)
    appearance = np.zeros((n, n))
    for a in range(n):
        for b in np.flatnonzero((gap[a] > 0) & (gap[a] <= settings.max_join_gap)).tolist():
            if len(tracks[a].embeddings) and len(tracks[b].embeddings):
                appearance[a, b] = _odds(tracks[a].embeddings, tracks[b].embeddings, settings)
    left, came = costs.at_edge(last, scene, settings.edge_margin), costs.at_edge(first, scene, settings.edge_margin)
    may = (gap > 0) & (gap <= settings.max_join_gap) & ~left[:, None] & ~came[None]
    return np.where(may, odds + appearance - np.log(max(n, 2) / 2), -np.inf)


def _concatenated(tracks: list[Track]) -> Track:
    if len(tracks) == 1:
        return tracks[0]
    names = ("frames", "times", "boxes", "scores", "embedding_times", "embeddings")
    known = [track for track in tracks if len(track.embeddings)] or tracks[:1]
    columns = [np.concatenate([getattr(t, name) for t in (known if name.startswith("embedding") else tracks)]) for name in names]
    return Track(tracks[0].id, *columns)


def smooth(track: Track, times: np.ndarray, settings: RefineSettings) -> Track:
    """Smooth boxes with a Rauch-Tung-Striebel smoother; gaps up to ``max_fill_gap`` seconds are filled, with the lower score of their ends."""
    frames = np.arange(track.frames[0], track.frames[-1] + 1)
    at = np.searchsorted(track.frames, frames)  # the row at, or next after, each frame
    seen = track.frames[at] == frames
    gap = np.where(seen, 0.0, track.times[at] - track.times[np.maximum(at - 1, 0)])
    kept = np.flatnonzero(seen | (gap <= settings.max_fill_gap))
    frames, at, seen = frames[kept], at[kept], seen[kept]
    when = times[frames - 1].copy()
    when[seen] = track.times[at[seen]]
    measured = to_centre(track.boxes)
    centres = _rts(when, [measured[row] if there else None for row, there in zip(at.tolist(), seen.tolist(), strict=True)], settings)
    if not settings.smooth:
        centres[seen] = measured[at[seen]]
    scores = np.where(seen, track.scores[at], np.minimum(track.scores[at], track.scores[np.maximum(at - 1, 0)]))
    return replace(track, frames=frames, times=when, boxes=to_corners(centres).astype(np.float32), scores=scores.astype(np.float32))


def _rts(times: np.ndarray, measured: list[np.ndarray | None], settings: RefineSettings) -> np.ndarray:
    """(n, 4) smoothed centres and sizes: constant velocity with white-noise acceleration, at uneven time steps."""
    from filterpy.kalman import KalmanFilter  # imported here: it takes a second, and most commands do not smooth

    start = measured[0]
    assert start is not None
    unit = max(float(start[3]), 1.0)
    filter_ = KalmanFilter(dim_x=8, dim_z=4)
    filter_.x[:4, 0] = start
    filter_.P = np.diag([(settings.measurement_noise * unit) ** 2] * 4 + [unit**2] * 4)
    filter_.H = np.eye(4, 8)
    filter_.R = np.eye(4) * (settings.measurement_noise * unit) ** 2
    means, covariances, transitions, noises = [], [], [], []
    for step, z in enumerate(measured):
        dt = float(times[step] - times[step - 1]) if step else 0.0
        transition = np.eye(8)
        transition[:4, 4:] = np.eye(4) * dt
        block = np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]) * (settings.acceleration_noise * unit) ** 2
        noise = np.kron(block, np.eye(4)) + np.eye(8) * 1e-9
        if step:
            filter_.predict(F=transition, Q=noise)
            filter_.update(None if z is None else z[:, None])
        means.append(filter_.x.copy())
        covariances.append(filter_.P.copy())
        transitions.append(transition)
        noises.append(noise)
    # filterpy's smoother expects the transition into step k + 1 at index k + 1
    smoothed = filter_.rts_smoother(np.array(means), np.array(covariances), Fs=transitions, Qs=noises)[0]
    return smoothed[:, :4, 0]
