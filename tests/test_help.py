"""The command's help imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys


def test_help_needs_no_heavy_library():
    heavy = ("numpy", "pydantic", "cv2", "av", "torch", "onnxruntime", "pyarrow", "scipy")
    code = f"import sys, pipeline.cli.app; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
