"""Convert ONNX models to half precision or static INT8. Needs the extra ``[train]``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

Precision = Literal["fp32", "fp16", "int8"]


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and arithmetic in fp16; inputs and outputs stay fp32."""
    return convert_float_to_float16(model, keep_io_types=True)


def static_int8(
    path: Path,
    out: Path,
    inputs: Iterator[dict[str, np.ndarray]],
    op_types: list[str],
    excluded: Callable[[onnx.ModelProto], list[str]] = lambda _: [],
) -> None:
    """Quantise ``path`` to static INT8 (QDQ, per-channel weights) and write ``out``.

    ``inputs``: calibration batches by input name; ``op_types``: operators to quantise; ``excluded``: names of the nodes that stay
    in fp32, from the preprocessed model.
    """

    class Inputs(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(inputs, None)

    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(out), Inputs(), quant_format=QuantFormat.QDQ, op_types_to_quantize=op_types, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=excluded(onnx.load(prepared)),
            calibrate_method=CalibrationMethod.MinMax, extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )  # fmt: skip


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """Metadata properties of a model."""
    return {entry.key: entry.value for entry in model.metadata_props}
