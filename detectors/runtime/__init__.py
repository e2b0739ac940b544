"""Shared by detectors and re-ID: ONNX sessions, precision, atomic files, errors."""
