"""Embeddings by a teacher: an OpenVINO IR (``.xml``, needs the extra ``[openvino]``) or a bundle (``.onnx``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from detectors.runtime.errors import ModelError
from detectors.runtime.openvino_engine import weights_of
from detectors.runtime.session import sha256
from reid.bundle import open_bundle
from reid.training.pixels import embeddings

BATCH = 16
Run = Callable[[np.ndarray], np.ndarray]


class Teacher:
    """A model to distil. Only its embeddings are used: its weights are neither copied nor shipped.

    ``height`` and ``width`` of its input; ``sha256`` of the file with its weights. The input of an IR is BGR in 0..255, as of the
    re-ID models of Open Model Zoo; that of a bundle follows its metadata. Raises ModelError for other files, ModuleNotFoundError
    for an IR without openvino.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        self.path, self.sha256 = path, sha256(weights_of(path))
        if path.suffix == ".xml":
            self.height, self.width, self._run = opened_ir(path, threads)
        else:
            session, facts = open_bundle(path, "cpu", threads)
            self.height, self.width = facts.height, facts.width
            self._run = lambda pictures: embeddings(session, pictures, BATCH)

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """(n, height, width, 3) uint8 RGB -> (n, d) float32 unit rows."""
        rows = self._run(pictures)
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


def opened_ir(path: Path, threads: int) -> tuple[int, int, Run]:
    """Height, width and a function that runs an OpenVINO IR with the input (1, 3, height, width), BGR in 0..255."""
    try:
        import openvino
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"{path}: openvino is not installed: pip install 'passerby[openvino]'") from None
    core = openvino.Core()
    try:
        model = core.read_model(path)
        colours, height, width = (int(model.input().shape[axis]) for axis in (1, 2, 3))
        model.reshape([BATCH, colours, height, width])
        compiled = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads} if threads else {})
    except (RuntimeError, IndexError) as error:
        raise ModelError(f"{path}: OpenVINO cannot load it as a re-ID model ({str(error).splitlines()[0][:200]})") from None
    if colours != 3:
        raise ModelError(f"{path}: the input has {colours} channels, not 3")

    def run(pictures: np.ndarray) -> np.ndarray:
        rows = []
        for start in range(0, len(pictures), BATCH):
            some = pictures[start : start + BATCH]
            full = np.zeros((BATCH, 3, height, width), np.float32)
            full[: len(some)] = some[..., ::-1].transpose(0, 3, 1, 2)
            rows.append(compiled(full)[0].reshape(BATCH, -1)[: len(some)].copy())
        return np.concatenate(rows)

    return height, width, run
