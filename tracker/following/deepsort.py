"""``DeepSort``: the tracker of one camera, with its state as a struct of arrays.

Sources: DeepSORT (Wojke et al., 2017) for Kalman prediction with appearance matching over a gallery; ByteTrack (Zhang et
al., ECCV 2022) for the second stage of low scores; StrongSORT (Du et al., 2023) for confidence-weighted measurement noise.
Motion and appearance costs are log likelihoods, so that they add up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.detections import Detections
from tracker.following import costs, kalman
from tracker.following.assignment import assign
from tracker.following.gallery import Gallery
from tracker.following.settings import TrackerSettings

Embed = Callable[[np.ndarray], np.ndarray]
UNCALIBRATED_GATE = 0.45


@dataclass(frozen=True)
class Tracks:
    """The confirmed tracks detected in one frame, row-aligned.

    ``ids`` (n,) int64, never reused within a tracker; ``boxes`` (n, 4) float32 px, filtered; ``scores`` (n,) float32;
    ``rows`` (n,) int64 into the detections; ``visibility`` (n,) float32, the share of the box that no other box covers.
    """

    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    rows: np.ndarray
    visibility: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class State:
    """All tracks: ``motion``, and per track its id, gallery slot, time last ``seen`` and ``embedded``, whether ``confirmed``, and ``last`` box."""

    motion: kalman.Motion
    ids: np.ndarray
    slots: np.ndarray
    seen: np.ndarray
    embedded: np.ndarray
    confirmed: np.ndarray
    last: np.ndarray

    @staticmethod
    def empty() -> State:
        ints, floats = np.zeros(0, np.int64), np.zeros(0)
        return State(kalman.Motion.empty(), ints, ints, floats, floats, np.zeros(0, bool), np.zeros((0, 4)))

    def take(self, rows: np.ndarray) -> State:
        return State(self.motion.take(rows), *(column[rows] for column in self.columns()))

    def join(self, other: State) -> State:
        return State(self.motion.join(other.motion), *(np.concatenate(both) for both in zip(self.columns(), other.columns(), strict=True)))

    def columns(self) -> tuple[np.ndarray, ...]:
        return self.ids, self.slots, self.seen, self.embedded, self.confirmed, self.last


class DeepSort:
    """Track people in one fixed camera. ``DeepSort(gate=0.4, max_lost=5.0)`` overrides single settings; ids count from ``first_id``.

    Time: ``time`` is in seconds and sets the step of the filter, so frames may be missing or late. The same time may be given again.
    An earlier time raises ValueError and does not change the tracker: call ``reset`` when a stream restarts.
    """

    def __init__(self, settings: TrackerSettings | None = None, first_id: int = 1, **changes: Any) -> None:
        self.settings = (settings or TrackerSettings()).changed(**changes)
        self._gate = UNCALIBRATED_GATE if self.settings.gate is None else self.settings.gate
        self._axes = np.array([1.0, self.settings.vertical_scale, self.settings.size_scale, self.settings.size_scale])
        self._next = first_id
        self._start()

    def _start(self) -> None:
        self._state = State.empty()
        self._gallery = Gallery(self.settings.gallery_size, self.settings.ema_momentum)
        self._time: float | None = None
        self._extent: np.ndarray | None = None

    @property
    def next_id(self) -> int:
        """The id of the next new track."""
        return self._next

    def restart(self) -> None:
        """Forget all tracks and the time, for a stream that begins anew; ids are not used again."""
        self._start()

    def reset(self) -> None:
        """Drop all tracks and the time, and restart ids at 1."""
        self._next = 1
        self._start()

    @property
    def held(self) -> np.ndarray:
        """Ids of all live and lost tracks, confirmed or not."""
        return self._state.ids

    def wanted(self, detections: Detections, time: float) -> np.ndarray:
        """(m,) rows of ``detections`` whose embeddings ``update`` would request; does not change the tracker.

        An engine asks the trackers of all cameras, embeds all rows in one batch, and passes ``update`` an ``embed`` that looks them up.
        Raises ValueError as ``update`` does.
        """
        scene = self._scene(detections, time)
        return scene.order[scene.wanted]

    def update(self, detections: Detections, time: float, embed: Embed | None = None) -> Tracks:
        """Update the tracks with the detections of one frame; returns the confirmed tracks among them.

        Embeddings come from ``detections.embeddings``, or from ``embed``, which is called at most once with the rows (m,) whose
        embeddings are needed and returns (m, d) unit rows. With neither, only motion is used.
        Raises ValueError for an earlier time than the last.
        """
        settings, state = self.settings, self._state
        scene = self._scene(detections, time)
        order, scores, measured, motion, visible, recent = (
            scene.order, scene.scores, scene.measured, scene.motion, scene.visible, scene.recent,
        )  # fmt: skip
        high, low, live = scene.high, scene.low, scene.live
        embeddings = _Embeddings(detections.embeddings, embed, order)
        embeddings.fetch(scene.wanted)

        # 1. high-score detections: by motion, and by appearance where there is an embedding
        cost = costs.negative_log_likelihood(motion.take(live), measured[high], settings.measurement_noise, settings.degrees_of_freedom)
        cost += settings.score_weight * (1 - scores[high])
        distance = self._distance(embeddings, state.slots[live], high)
        r, c = assign(cost + self._appearance(distance, visible[high]), settings.match_limit)
        track_rows, detection_rows = [live[r]], [high[c]]
        left_tracks, left_high = np.setdiff1d(live, live[r]), np.setdiff1d(high, high[c])

        # 2. re-identification of tracks lost inside the scene: by appearance, and by how far a person can have walked
        lost = left_tracks[~recent[left_tracks] & ~self._at_edge(state.last[left_tracks])]
        back = left_high[~self._at_edge(scene.boxes[left_high]) & (visible[left_high] >= settings.min_gallery_visibility)]
        r, c = assign(-self._return_odds(state, lost, embeddings, back, scene.boxes, time), -settings.join_threshold)
        track_rows.append(lost[r])
        detection_rows.append(back[c])
        left_tracks, left_high = np.setdiff1d(left_tracks, lost[r]), np.setdiff1d(left_high, back[c])

        # 3. remaining tracks of the last frame: by IoU with low-score detections (ByteTrack)
        fresh = left_tracks[recent[left_tracks]]
        r, c = assign(1 - costs.iou(scene.predicted[fresh], scene.boxes[low]), 1 - settings.low_iou)
        track_rows.append(fresh[r])
        detection_rows.append(low[c])

        # 4. tentative tracks: by IoU with the remaining high-score detections
        tentative = np.flatnonzero(~state.confirmed)
        r, c = assign(1 - costs.iou(scene.predicted[tentative], scene.boxes[left_high]) * scores[left_high], 1 - settings.tentative_iou)
        track_rows.append(tentative[r])
        detection_rows.append(left_high[c])
        left_high = np.setdiff1d(left_high, left_high[c])

        tracks, found = np.concatenate(track_rows), np.concatenate(detection_rows)
        noise = (settings.measurement_noise * kalman.heights(motion.position[tracks])) ** 2 * np.maximum(1 - scores[found], 0.05)[:, None]
        motion = motion.put(tracks, kalman.correct(motion.take(tracks), measured[found], noise))
        seen, confirmed, embedded = state.seen.copy(), state.confirmed.copy(), state.embedded.copy()
        seen[tracks] = time
        last = state.last.copy()
        last[tracks] = scene.boxes[found]
        if len(high):
            now = costs.extent(scene.boxes[high])
            self._extent = now if self._extent is None else costs.extent(np.stack([self._extent, now]))
        confirmed[tracks] = True
        unseen = seen < time
        motion.velocity[unseen, 2:] = 0  # the size of an unseen person does not keep changing

        storable = embeddings.has[found] & (scores[found] >= settings.high_threshold) & (visible[found] >= settings.min_gallery_visibility)
        self._gallery.add(state.slots[tracks[storable]], embeddings.rows(found[storable]))
        embedded[tracks[storable]] = time

        # a track's detection row, or -1; new tracks follow
        row_of = np.full(len(state.ids), -1)
        row_of[tracks] = found
        stays = np.where(confirmed, time - seen <= settings.max_lost, seen == time)
        self._gallery.release(state.slots[~stays])
        state = State(motion, state.ids, state.slots, seen, embedded, confirmed, last).take(stays)
        row_of = row_of[stays]

        started = left_high[scores[left_high] >= settings.new_track_threshold]
        if len(started):
            state = state.join(
                self._begin(started, measured, embeddings, time, first=self._time is None, visible=visible, boxes=scene.boxes)
            )
            row_of = np.concatenate([row_of, started])
        self._state, self._time = state, time

        shown = np.flatnonzero(state.confirmed & (row_of >= 0))
        at = row_of[shown]
        corners = kalman.to_corners(state.motion.position[shown]).astype(np.float32)
        return Tracks(state.ids[shown].copy(), corners, detections.scores[order[at]], order[at], visible[at].astype(np.float32))

    def _scene(self, detections: Detections, time: float) -> _Scene:
        """Input of the association: sorted detections, tracks predicted to ``time``, and the detections that need an embedding."""
        settings, state = self.settings, self._state
        if not np.isfinite(time):
            raise ValueError(f"time must be a finite number of seconds, not {time}")
        if self._time is not None and time < self._time:
            raise ValueError(f"time goes back from {self._time:.3f} to {time:.3f} s; call reset() when a stream restarts")
        order = np.lexsort((*detections.boxes.T, -detections.scores))  # so that the input order does not matter
        boxes, scores = detections.boxes[order].astype(np.float64), detections.scores[order].astype(np.float64)
        dt = 0.0 if self._time is None else time - self._time
        motion = kalman.predict(state.motion, dt, settings.position_noise, settings.velocity_noise * self._axes)
        high = np.flatnonzero(scores >= settings.high_threshold)
        low = np.flatnonzero((scores >= settings.low_threshold) & (scores < settings.high_threshold))
        visible = np.ones(len(boxes))
        visible[high] = costs.visibility(boxes[high])
        recent = state.seen == (self._time if self._time is not None else time)
        predicted = kalman.to_corners(motion.position)
        live = np.flatnonzero(state.confirmed)
        needed = np.ones(len(high), bool)
        if settings.on_demand and len(live):
            overlap = costs.iou(predicted[live], boxes[high])
            easy = self._easy(overlap, recent[live])
            needed = ~easy | (self._due(overlap, easy, state.embedded[live], time) & (visible[high] >= settings.min_gallery_visibility))
        return _Scene(order, boxes, scores, kalman.to_centre(boxes), motion, predicted, visible, recent, high, low, live, high[needed])

    def _at_edge(self, boxes: np.ndarray) -> np.ndarray:
        """(n,) bool: boxes at the edge of the area in which people were ever seen by this camera."""
        return np.ones(len(boxes), bool) if self._extent is None else costs.at_edge(boxes, self._extent, self.settings.edge_margin)

    def _return_odds(
        self, state: State, lost: np.ndarray, embeddings: _Embeddings, back: np.ndarray, boxes: np.ndarray, time: float
    ) -> np.ndarray:
        """(lost, back) log odds that a lost track reappears as a detection; -inf without an embedding."""
        settings = self.settings
        if not len(lost) or not len(back) or self._extent is None or not self._gate:
            return np.full((len(lost), len(back)), -np.inf)
        gap = (time - state.seen[lost])[:, None]
        odds = costs.return_odds(state.last[lost], boxes[back], gap, self._extent, settings.reach, settings.reach_per_second)
        appearance = settings.appearance_weight * (1 - self._distance(embeddings, state.slots[lost], back) / self._gate)
        return np.where(np.isnan(appearance), -np.inf, odds + appearance - np.log(max(len(lost), 2) / 2))

    def _easy(self, overlap: np.ndarray, recent: np.ndarray) -> np.ndarray:
        """(m,) bool: detections that overlap exactly one track of the last frame, which overlaps no other: motion is sufficient."""
        contact = overlap > 0.2
        sole = contact & (contact.sum(0) == 1)[None] & (contact.sum(1) == 1)[:, None] & recent[:, None]
        return (sole & (overlap > 0.5)).any(0)

    def _due(self, overlap: np.ndarray, easy: np.ndarray, embedded: np.ndarray, time: float) -> np.ndarray:
        """(m,) bool: easy detections whose track was last embedded longer ago than the refresh interval."""
        return easy & (time - embedded[overlap.argmax(0)] >= self.settings.refresh_interval)

    def _distance(self, embeddings: _Embeddings, slots: np.ndarray, high: np.ndarray) -> np.ndarray:
        """(tracks, high) cosine distance to a track's gallery, by the ``similarity`` setting; NaN without an embedding."""
        out = np.full((len(slots), len(high)), np.nan)
        columns = np.flatnonzero(embeddings.has[high])
        if len(slots) and len(columns):
            compare = self._gallery.distance if self.settings.similarity == "nearest" else self._gallery.distance_to_mean
            distance = compare(slots, embeddings.rows(high[columns]))
            out[:, columns] = np.where(distance < 2, distance, np.nan)  # 2: the gallery is empty
        return out

    def _appearance(self, distance: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """Appearance cost (nats) of ``distance``, scaled down with occlusion: a crop that shows two people says little about either."""
        settings = self.settings
        if not self._gate:
            return np.zeros(distance.shape)
        trust = np.clip((visible - settings.min_appearance_visibility) / (1 - settings.min_appearance_visibility), 0, 1)
        cost = np.clip(
            settings.appearance_weight * (distance / self._gate - 1), -settings.max_appearance_gain, settings.max_appearance_cost
        )
        return np.nan_to_num(cost * trust)

    def _begin(
        self,
        rows: np.ndarray,
        measured: np.ndarray,
        embeddings: _Embeddings,
        time: float,
        first: bool,
        visible: np.ndarray,
        boxes: np.ndarray,
    ) -> State:
        settings = self.settings
        slots = self._gallery.acquire(len(rows))
        known = embeddings.has[rows] & (visible[rows] >= settings.min_gallery_visibility)
        self._gallery.add(slots[known], embeddings.rows(rows[known]))
        ids = np.arange(self._next, self._next + len(rows))
        self._next += len(rows)
        motion = kalman.initiate(measured[rows], settings.measurement_noise, settings.initial_velocity * self._axes)
        when = np.full(len(rows), time)
        return State(motion, ids, slots, when, np.where(known, time, -np.inf), np.full(len(rows), first), boxes[rows])


@dataclass(frozen=True)
class _Scene:
    """Sorted detections, predicted tracks, which tracks were seen in the last frame, and which detections need an embedding."""

    order: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    measured: np.ndarray
    motion: kalman.Motion
    predicted: np.ndarray
    visible: np.ndarray
    recent: np.ndarray
    high: np.ndarray
    low: np.ndarray
    live: np.ndarray
    wanted: np.ndarray


class _Embeddings:
    """The embeddings of one frame: given with the detections, computed by row on demand, or none. Rows are in the tracker's order."""

    def __init__(self, given: np.ndarray | None, embed: Embed | None, order: np.ndarray) -> None:
        self._embed, self._order = embed, order
        self._rows = None if given is None else given[order]
        self.has = np.full(len(order), given is not None)

    def fetch(self, rows: np.ndarray) -> None:
        rows = rows[~self.has[rows]]
        if self._embed is None or not len(rows):
            return
        got = np.asarray(self._embed(self._order[rows]), np.float32)
        if got.ndim != 2 or len(got) != len(rows):
            raise ValueError(f"embed must return ({len(rows)}, d) rows, not {got.shape}")
        if self._rows is None:
            self._rows = np.zeros((len(self._order), got.shape[1]), np.float32)
        self._rows[rows] = got
        self.has[rows] = True

    def rows(self, rows: np.ndarray) -> np.ndarray:
        return np.zeros((len(rows), 0), np.float32) if self._rows is None else self._rows[rows]
