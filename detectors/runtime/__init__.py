"""What detectors and re-ID share at run time: ONNX sessions, precision, atomic files."""
