"""Train MPN. Needs the extra ``[train]``."""
