"""Reports of a run: ``run.json`` and ``index.html``."""
