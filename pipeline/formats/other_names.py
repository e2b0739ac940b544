"""Names of settings in earlier versions and in other tools (DeepSORT, ByteTrack, BoT-SORT, SORT, ultralytics). Errors name ours."""

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
    "association.visits": "association.prior_tracklets",
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


class Here(NamedTuple):
    """The setting of ours that does the same, or that comes nearest, and how it differs."""

    key: str
    difference: str = ""
    same: bool = True

    def __str__(self) -> str:
        if not self.same:
            return self.difference
        return f"the setting is {self.key}" + (f" ({self.difference})" if self.difference else "")


ELSEWHERE = {
    # tracks: life and scores
    "max_age": Here("tracker.max_lost", "max_age counts frames, max_lost counts seconds"),
    "track_buffer": Here("tracker.max_lost", "track_buffer counts frames at 30 per second, max_lost counts seconds"),
    "max_time_lost": Here("tracker.max_lost", "max_time_lost counts frames, max_lost counts seconds"),
    "track_thresh": Here("tracker.high_threshold"),
    "track_high_thresh": Here("tracker.high_threshold"),
    "track_low_thresh": Here("tracker.low_threshold"),
    "new_track_thresh": Here("tracker.new_track_threshold"),
    "det_thresh": Here("tracker.new_track_threshold"),
    "min_confidence": Here("tracker.high_threshold", "for the detector's own threshold: detector.confidence"),
    "n_init": Here("tracker.new_track_threshold", "n_init is fixed: the second detection in a row confirms a track that starts at "
                   "tracker.new_track_threshold", same=False),
    "min_hits": Here("tracker.new_track_threshold", "min_hits is fixed: the second detection in a row confirms a track that starts at "
                     "tracker.new_track_threshold", same=False),
    # tracks: matching
    "match_thresh": Here("tracker.match_limit", "match_thresh is an IoU distance, match_limit a negative log likelihood in nats: "
                         "the number does not carry over"),
    "second_match_thresh": Here("tracker.low_iou", "an IoU, not a distance: 1 - second_match_thresh"),
    "max_iou_distance": Here("tracker.low_iou", "an IoU, not a distance: 1 - max_iou_distance; for tentative tracks tracker.tentative_iou"),
    "iou_threshold": Here("tracker.low_iou", "for tentative tracks tracker.tentative_iou; for NMS detector.iou"),
    "proximity_thresh": Here("tracker.match_limit", "there is no IoU gate for appearance: motion and appearance costs add up, to at most "
                             "tracker.match_limit", same=False),
    "fuse_score": Here("tracker.score_weight", "a weight in nats; 0 turns it off"),
    "mahalanobis_threshold": Here("tracker.match_limit", "match_limit bounds the sum of motion, appearance and score costs, in nats"),
    "gating_threshold": Here("tracker.match_limit", "match_limit bounds the sum of motion, appearance and score costs, in nats"),
    "mc_lambda": Here("tracker.appearance_weight", "a weight in nats, not a share"),
    "lambda": Here("tracker.appearance_weight", "a weight in nats, not a share"),
    "gmc_method": Here("tracker.match_limit", "there is no camera motion compensation: cameras must be fixed", same=False),
    "cmc_method": Here("tracker.match_limit", "there is no camera motion compensation: cameras must be fixed", same=False),
    # tracks: appearance
    "max_cosine_distance": Here("tracker.gate", "max_cosine_distance forbids a match, gate is where appearance turns from for to against it; "
                                "leave it out to use the re-ID model's calibration"),
    "max_dist": Here("tracker.gate", "max_dist forbids a match, gate is where appearance turns from for to against it; "
                     "leave it out to use the re-ID model's calibration"),
    "appearance_thresh": Here("tracker.gate", "gate is where appearance turns from for to against a match; "
                              "leave it out to use the re-ID model's calibration"),
    "nn_budget": Here("tracker.gallery_size"),
    "budget": Here("tracker.gallery_size"),
    "ema_alpha": Here("tracker.ema_momentum"),
    "alpha": Here("tracker.ema_momentum"),
    "with_reid": Here("reid.model", "none turns re-ID off"),
    "reid_weights": Here("reid.model"),
    "reid_model": Here("reid.model"),
    "embedder": Here("reid.model"),
    # detector
    "conf": Here("detector.confidence"),
    "conf_thres": Here("detector.confidence"),
    "conf_thresh": Here("detector.confidence"),
    "conf_threshold": Here("detector.confidence"),
    "score_threshold": Here("detector.confidence"),
    "iou_thres": Here("detector.iou"),
    "iou_thresh": Here("detector.iou"),
    "nms_thresh": Here("detector.iou"),
    "nms_threshold": Here("detector.iou"),
    "nms_max_overlap": Here("detector.iou"),
    "nmsthre": Here("detector.iou"),
    "imgsz": Here("detector.size"),
    "img_size": Here("detector.size"),
    "image_size": Here("detector.size"),
    "input_size": Here("detector.size"),
    "weights": Here("detector.model"),
    "yolo_model": Here("detector.model"),
    "half": Here("detector.model", "the model file sets the precision; choose an FP16 or INT8 model in detector.model (person-n is INT8)",
                 same=False),
    "fp16": Here("detector.model", "the model file sets the precision; choose an FP16 or INT8 model in detector.model (person-n is INT8)",
                 same=False),
    "int8": Here("detector.model", "the model file sets the precision; choose an INT8 model in detector.model (person-n)", same=False),
    "classes": Here("detector.model", "only people are detected; other classes of detector.model are ignored", same=False),
    "agnostic_nms": Here("detector.model", "only people are detected, so NMS knows one class", same=False),
    "max_det": Here("detector.confidence", "the number of detections per frame is fixed at 300; raise detector.confidence for fewer",
                    same=False),
    "tracker_type": Here("tracker.match_limit", "there is one tracker, set by the keys of the group tracker; for another one's tracks use "
                         "--tracks", same=False),
    # reading and writing
    "vid_stride": Here("reading.every"),
    "stride": Here("reading.every"),
    "frame_skip": Here("reading.every", "every counts from one frame to the next: frame_skip + 1"),
    "skip_frames": Here("reading.every", "every counts from one frame to the next: skip_frames + 1"),
    "fps": Here("reading.rate", "of image folders; a video has its own"),
    "frame_rate": Here("reading.rate", "of image folders; a video has its own"),
    "buffer_size": Here("reading.prefetch"),
    "save_vid": Here("output.video"),
    "crf": Here("output.video_crf"),
    "line_thickness": Here("output.video", "the drawing style is fixed; output.video turns the video off", same=False),
    "batch_size": Here("reid.batch"),
    "num_threads": Here("detector.threads", "and reid.threads"),
    "workers": Here("detector.threads", "CPU threads per model: detector.threads, reid.threads", same=False),
}  # fmt: skip
