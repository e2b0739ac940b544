"""Training of MPN. Needs the extra ``[train]``."""
