"""Training, measuring and exporting detectors. Needs the extra ``[train]``."""
