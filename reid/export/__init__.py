"""Export checkpoints as bundles. Needs the extra ``[train]``."""
