"""What runs a model: OpenVINO beside ONNX Runtime, the check of its accuracy, the warm-up and its memory."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from conftest import ACCELERATE

from detectors import load_detector
from detectors.load import WEIGHTS, DetectorSettings
from detectors.onnx import OnnxDetector
from detectors.runtime import engine_choice, openvino_engine
from detectors.runtime.engine_choice import Choice, compared, memory, remember, remembered
from detectors.runtime.errors import ModelError
from detectors.runtime.session import Session, open_model
from reid import Embedder
from reid.embedder import EmbedderSettings

NEEDS_OPENVINO = pytest.mark.skipif(not openvino_engine.installed(), reason="needs the extra [openvino]")
FEEDS = (np.zeros((1, 3, 8, 8), np.float32),)


class Engine:
    """An engine that takes ``seconds`` a run and gives ``value``."""

    def __init__(self, name, seconds, value=1.0):
        self.providers, self.seconds, self.value, self.runs = (name,), seconds, value, 0
        self.inputs = self.outputs = ()

    def run(self, feeds):
        self.runs += 1
        time.sleep(self.seconds)
        return [np.full(3, self.value)]


@pytest.fixture(autouse=True)
def own_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Session, "accelerate", ACCELERATE)


def test_the_faster_engine_wins_and_a_close_race_changes_nothing():
    slow, fast, close = Engine("slow", 0.02), Engine("fast", 0.004), Engine("close", 0.0195)
    clear = compared(slow, fast, FEEDS)
    assert clear.engine == "fast" and set(clear.batch_ms) == {"slow", "fast"} and clear.batch_ms["fast"] < clear.batch_ms["slow"]
    assert slow.runs <= engine_choice.LEAST_ROUNDS + 1  # a clear result ends the warm-up
    assert compared(fast, slow, FEEDS).engine == "fast"
    began = time.perf_counter()
    assert compared(slow, close, FEEDS).engine == "slow"
    assert engine_choice.SECONDS <= time.perf_counter() - began < engine_choice.SECONDS + 1


def test_choices_are_remembered_per_model_inputs_and_threads(tmp_path):
    choice = Choice("fast", {"slow": 2.0, "fast": 1.0})
    assert remembered("a" * 64, FEEDS, 1) is None
    remember(choice, "a" * 64, FEEDS, 1)
    again = remembered("a" * 64, FEEDS, 1)
    assert again == Choice("fast", {"slow": 2.0, "fast": 1.0}, remembered=True) and "as measured before" in str(again)
    assert remembered("b" * 64, FEEDS, 1) is None and remembered("a" * 64, FEEDS, 2) is None
    assert remembered("a" * 64, (np.zeros((2, 3, 8, 8), np.float32),), 1) is None
    for damage in ("{", "[]", json.dumps({key: {"what": 2} for key in json.loads(memory().read_text())})):
        memory().write_text(damage)
        assert remembered("a" * 64, FEEDS, 1) is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember(Choice("fast", {}), "a" * 64, FEEDS, 1)
    assert remembered("a" * 64, FEEDS, 1) is None


@pytest.fixture
def session(monkeypatch):
    """A session on a slow engine, for which OpenVINO would be ``faster``."""
    opened = open_model(WEIGHTS / "person-n.onnx", "auto")
    opened.engine = Engine("CPUExecutionProvider", 0.01)
    faster = Engine("OpenVINO CPU bf16", 0.001)
    monkeypatch.setattr(openvino_engine, "installed", lambda: True)
    monkeypatch.setattr(openvino_engine, "best_precision", lambda: "bf16")
    made = []
    monkeypatch.setattr(openvino_engine, "OpenVinoEngine", lambda path, precision, threads, any_batch: made.append(precision) or faster)
    return SimpleNamespace(opened=opened, faster=faster, made=made)


def agrees(expected, found):
    return None if np.allclose(expected[0], found[0]) else "all is different"


def test_auto_takes_the_engine_that_wins_and_remembers_it(session):
    session.opened.accelerate(agrees, *FEEDS)
    assert session.opened.providers == ("OpenVINO CPU bf16",) and not session.opened.choice.remembered
    again = open_model(WEIGHTS / "person-n.onnx", "auto")
    again.engine = Engine("CPUExecutionProvider", 0.01)
    again.accelerate(agrees, *FEEDS)
    assert again.providers == ("OpenVINO CPU bf16",) and again.choice.remembered and again.engine.runs == session.faster.runs


def test_an_engine_that_differs_is_refused_with_the_reason(session, caplog):
    session.faster.value = 2.0
    with caplog.at_level("INFO"):
        session.opened.accelerate(agrees, *FEEDS)
    assert session.opened.providers == ("CPUExecutionProvider",) and session.made == ["bf16", "fp32"]
    assert "in bf16 all is different" in caplog.text
    session.opened.device = "openvino"
    with pytest.raises(ModelError, match="device 'openvino' cannot run it: in bf16 all is different"):
        session.opened.accelerate(agrees, *FEEDS)


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_without_openvino_nothing_changes(session, monkeypatch, device):
    monkeypatch.setattr(openvino_engine, "installed", lambda: False)
    session.opened.device = device
    session.opened.accelerate(agrees, *FEEDS)
    assert session.opened.providers == ("CPUExecutionProvider",) and session.opened.choice is None and not session.made
    with pytest.raises(ModelError, match=r"pip install 'passerby\[openvino\]'"):
        open_model(WEIGHTS / "person-n.onnx", "openvino")


def picture():
    """Smooth noise, 180x320."""
    rng = np.random.default_rng(3)
    return np.kron(rng.integers(0, 255, (18, 32, 3)), np.ones((10, 10, 1))).astype(np.uint8)


@NEEDS_OPENVINO
def test_openvino_gives_what_onnxruntime_gives():
    pictures = [picture(), picture()[:, ::-1].copy()]
    expected = OnnxDetector(WEIGHTS / "person-s.onnx", 0.02, 0.6, 320, "cpu").detect(pictures)
    detector = OnnxDetector(WEIGHTS / "person-s.onnx", 0.02, 0.6, 320, "openvino")
    assert detector.session.providers[0].startswith("OpenVINO CPU") and detector.session.metadata["stride"]
    detector.session.engine = openvino_engine.OpenVinoEngine(WEIGHTS / "person-s.onnx", "fp32")
    for one, other in zip(expected, detector.detect(pictures), strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.1)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    crops = [picture()[:, 40 * at : 40 * at + 60] for at in range(5)]
    here, there = (Embedder("mpn-s", EmbedderSettings(device=device)) for device in ("cpu", "openvino"))
    assert there.session.providers[0].startswith("OpenVINO CPU")
    assert (here.embed(crops) * there.embed(crops)).sum(1).min() > 0.99


@NEEDS_OPENVINO
def test_an_ir_is_a_detector_like_its_onnx_file(tmp_path):
    import openvino

    model = openvino.convert_model(WEIGHTS / "person-s.onnx")
    folder = tmp_path / "person_openvino_model"
    folder.mkdir()
    openvino.save_model(model, folder / "person.xml", compress_to_fp16=False)
    facts = open_model(WEIGHTS / "person-s.onnx", "cpu").metadata
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"names": {0: "person"}, "imgsz": [320, 320], "stride": int(facts["stride"])}))
    settings = DetectorSettings(device="cpu", confidence=0.02)
    expected = OnnxDetector(WEIGHTS / "person-s.onnx", 0.02, 0.6, 320, "cpu").detect([picture()])[0]
    for name in (folder, folder / "person.xml"):
        detector = load_detector(str(name), settings)
        assert detector.session.providers == ("OpenVINO CPU fp32",) and detector.size == 320
        found = detector.detect([picture()])[0]
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1)
    assert load_detector(str(folder), DetectorSettings(device="auto")).session.providers[0].startswith("OpenVINO CPU")
    with pytest.raises(ModelError, match="does not run OpenVINO files"):
        load_detector(str(folder), DetectorSettings(device="cuda"))
    (folder / "metadata.yaml").write_text("names: {0: dog}\n")
    with pytest.raises(ModelError, match="none of its classes is a person"):
        load_detector(str(folder), settings)
    (folder / "metadata.yaml").write_text("names: {0: [\n")
    with pytest.raises(ModelError, match=r"metadata\.yaml: cannot be read"):
        load_detector(str(folder), settings)
    (folder / "person.bin").unlink()
    with pytest.raises(ModelError, match=r"person\.bin: no such model file"):
        load_detector(str(folder), settings)
    (folder / "person.bin").write_bytes(b"")
    (folder / "person.xml").write_text("<net>")
    with pytest.raises(ModelError, match="OpenVINO cannot load it"):
        load_detector(str(folder), settings)


@NEEDS_OPENVINO
def test_a_model_that_openvino_misreads_is_not_run_by_it():
    """OpenVINO's INT8 of person-n gives other scores: the accuracy check finds out."""
    with pytest.raises(ModelError, match=r"device 'openvino' cannot run it: in .* scores differ"):
        load_detector("person-n", DetectorSettings(device="openvino"))
    assert load_detector("person-n").session.providers[0] == "CPUExecutionProvider"
