"""Train, evaluate and export detectors. Needs the extra ``[train]``."""
