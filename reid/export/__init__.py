"""From checkpoints to bundles. Needs the extra ``[train]``."""
