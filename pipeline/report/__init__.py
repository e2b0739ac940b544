"""What is shown of a run: ``run.json`` and ``index.html``."""
