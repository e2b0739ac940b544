"""Names of settings in earlier versions and in other tools (DeepSORT, ByteTrack, BoT-SORT, SORT, ultralytics), for error messages."""

from __future__ import annotations

from typing import NamedTuple

RENAMED = {
    "tracker.high": "tracker.high_threshold",
    "tracker.low": "tracker.low_threshold",
    "tracker.new": "tracker.new_track_threshold",
    "tracker.tail": "tracker.degrees_of_freedom",
    "tracker.vertical": "tracker.vertical_scale",
    "tracker.growth": "tracker.size_scale",
    "tracker.appearance": "tracker.appearance_weight",
    "tracker.appearance_for": "tracker.max_appearance_gain",
    "tracker.appearance_against": "tracker.max_appearance_cost",
    "tracker.gallery": "tracker.gallery_size",
    "tracker.momentum": "tracker.ema_momentum",
    "tracker.refresh": "tracker.refresh_interval",
    "tracker.visible": "tracker.min_gallery_visibility",
    "tracker.visible_least": "tracker.min_appearance_visibility",
    "tracker.keep": "tracker.max_lost",
    "tracker.edge": "tracker.edge_margin",
    "tracker.join": "tracker.join_threshold",
    "association.visits": "association.expected_matches",
    "association.revisit": "association.revisit_time",
    "association.shared": "association.shared_weight",
    "association.missing": "association.missing_odds",
    "association.uncertain": "association.uncertain_threshold",
    "association.sigma": "association.ground_noise",
    "association.area": "association.floor_area",
    "linker.enough": "linker.min_weight",
    "linker.patience": "linker.max_wait",
    "linker.margin": "linker.revision_margin",
    "linker.settle": "linker.settle_time",
    "linker.most": "linker.max_people",
    "refine.split": "refine.split_threshold",
    "refine.split_looks": "refine.min_split_embeddings",
    "refine.gap": "refine.max_join_gap",
    "refine.join": "refine.join_threshold",
    "refine.edge": "refine.edge_margin",
    "refine.fill": "refine.max_fill_gap",
    "refine.acceleration": "refine.acceleration_noise",
    "reading.ahead": "reading.prefetch",
    "motion_gate.most": "motion_gate.max_skipped",
    "motion_gate.change": "motion_gate.change_threshold",
    "output.quality": "output.video_crf",
    "output.fill": "output.max_fill_gap",
    "links.least": "links.min_time",
    "links.typical": "links.typical_time",
    "links.most": "links.max_time",
}


class Ours(NamedTuple):
    """Our setting for another tool's name: ``key``, and how it differs. ``same`` False: no equivalent exists; ``difference`` says why."""

    key: str
    difference: str = ""
    same: bool = True

    def __str__(self) -> str:
        if not self.same:
            return self.difference
        return f"the setting is {self.key}" + (f" ({self.difference})" if self.difference else "")


ELSEWHERE = {
    # tracks: life and scores
    "max_age": Ours("tracker.max_lost", "max_age counts frames, max_lost counts seconds"),
    "track_buffer": Ours("tracker.max_lost", "track_buffer counts frames at 30 per second, max_lost counts seconds"),
    "max_time_lost": Ours("tracker.max_lost", "max_time_lost counts frames, max_lost counts seconds"),
    "track_thresh": Ours("tracker.high_threshold"),
    "track_high_thresh": Ours("tracker.high_threshold"),
    "track_low_thresh": Ours("tracker.low_threshold"),
    "new_track_thresh": Ours("tracker.new_track_threshold"),
    "det_thresh": Ours("tracker.new_track_threshold"),
    "min_confidence": Ours("tracker.high_threshold", "for the detector's own threshold: detector.confidence"),
    "n_init": Ours("tracker.new_track_threshold", "n_init is fixed: the second detection in a row confirms a track that starts at "
                   "tracker.new_track_threshold", same=False),
    "min_hits": Ours("tracker.new_track_threshold", "min_hits is fixed: the second detection in a row confirms a track that starts at "
                     "tracker.new_track_threshold", same=False),
    # tracks: matching
    "match_thresh": Ours("tracker.match_limit", "match_thresh is an IoU distance, match_limit a negative log likelihood in nats: "
                         "the number does not carry over"),
    "second_match_thresh": Ours("tracker.low_iou", "an IoU, not a distance: 1 - second_match_thresh"),
    "max_iou_distance": Ours("tracker.low_iou", "an IoU, not a distance: 1 - max_iou_distance; for tentative tracks tracker.tentative_iou"),
    "iou_threshold": Ours("tracker.low_iou", "for tentative tracks tracker.tentative_iou; for NMS detector.iou"),
    "proximity_thresh": Ours("tracker.match_limit", "there is no IoU gate for appearance: motion and appearance costs add up, to at most "
                             "tracker.match_limit", same=False),
    "fuse_score": Ours("tracker.score_weight", "a weight in nats; 0 turns it off"),
    "mahalanobis_threshold": Ours("tracker.match_limit", "match_limit bounds the sum of motion, appearance and score costs, in nats"),
    "gating_threshold": Ours("tracker.match_limit", "match_limit bounds the sum of motion, appearance and score costs, in nats"),
    "mc_lambda": Ours("tracker.appearance_weight", "a weight in nats, not a share"),
    "lambda": Ours("tracker.appearance_weight", "a weight in nats, not a share"),
    "gmc_method": Ours("tracker.match_limit", "there is no camera motion compensation: cameras must be fixed", same=False),
    "cmc_method": Ours("tracker.match_limit", "there is no camera motion compensation: cameras must be fixed", same=False),
    # tracks: appearance
    "max_cosine_distance": Ours("tracker.gate", "max_cosine_distance rejects a match, gate is the distance above which appearance counts against it; "
                                "leave it out to use the re-ID model's calibration"),
    "max_dist": Ours("tracker.gate", "max_dist rejects a match, gate is the distance above which appearance counts against it; "
                     "leave it out to use the re-ID model's calibration"),
    "appearance_thresh": Ours("tracker.gate", "gate is the distance above which appearance counts against a match; "
                              "leave it out to use the re-ID model's calibration"),
    "nn_budget": Ours("tracker.gallery_size"),
    "budget": Ours("tracker.gallery_size"),
    "ema_alpha": Ours("tracker.ema_momentum"),
    "alpha": Ours("tracker.ema_momentum"),
    "with_reid": Ours("reid.model", "none turns re-ID off"),
    "reid_weights": Ours("reid.model"),
    "reid_model": Ours("reid.model"),
    "embedder": Ours("reid.model"),
    # detector
    "conf": Ours("detector.confidence"),
    "conf_thres": Ours("detector.confidence"),
    "conf_thresh": Ours("detector.confidence"),
    "conf_threshold": Ours("detector.confidence"),
    "score_threshold": Ours("detector.confidence"),
    "iou_thres": Ours("detector.iou"),
    "iou_thresh": Ours("detector.iou"),
    "nms_thresh": Ours("detector.iou"),
    "nms_threshold": Ours("detector.iou"),
    "nms_max_overlap": Ours("detector.iou"),
    "nmsthre": Ours("detector.iou"),
    "imgsz": Ours("detector.size"),
    "img_size": Ours("detector.size"),
    "image_size": Ours("detector.size"),
    "input_size": Ours("detector.size"),
    "weights": Ours("detector.model"),
    "yolo_model": Ours("detector.model"),
    "half": Ours("detector.model", "the model file sets the precision; choose an FP16 or INT8 model in detector.model (person-n is INT8)",
                 same=False),
    "fp16": Ours("detector.model", "the model file sets the precision; choose an FP16 or INT8 model in detector.model (person-n is INT8)",
                 same=False),
    "int8": Ours("detector.model", "the model file sets the precision; choose an INT8 model in detector.model (person-n)", same=False),
    "agnostic_nms": Ours("detector.model", "only people are detected, so NMS has one class", same=False),
    "max_det": Ours("detector.confidence", "the number of detections per frame is fixed at 300; raise detector.confidence for fewer",
                    same=False),
    "tracker_type": Ours("tracker.match_limit", "there is one tracker, configured in the group tracker; for the tracks of another one use "
                         "--tracks", same=False),
    # reading and writing
    "vid_stride": Ours("reading.every"),
    "stride": Ours("reading.every"),
    "frame_skip": Ours("reading.every", "every counts from one frame to the next: frame_skip + 1"),
    "skip_frames": Ours("reading.every", "every counts from one frame to the next: skip_frames + 1"),
    "fps": Ours("reading.rate", "of image folders; a video has its own"),
    "frame_rate": Ours("reading.rate", "of image folders; a video has its own"),
    "buffer_size": Ours("reading.prefetch"),
    "save_vid": Ours("output.video"),
    "crf": Ours("output.video_crf"),
    "line_thickness": Ours("output.video", "the drawing style is fixed; output.video turns the video off", same=False),
    "batch_size": Ours("reid.batch"),
    "num_threads": Ours("detector.threads", "and reid.threads"),
    "workers": Ours("detector.threads", "CPU threads per model: detector.threads, reid.threads", same=False),
}  # fmt: skip
