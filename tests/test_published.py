"""Re-ID models that others publish: downloaded, checked, and used like a bundle."""

from __future__ import annotations

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from command import passerby

from detectors.runtime import openvino_engine
from detectors.runtime.errors import ModelError, OutputError
from reid import Embedder, published
from reid.bundle import BundleFacts
from reid.embedder import EmbedderSettings
from reid.published import PUBLISHED, Published, downloaded, facts_file, folder, get

NEEDS_OPENVINO = pytest.mark.skipif(not openvino_engine.installed(), reason="needs the extra [openvino]")


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and counts what it was asked for."""

    asked: list[str] = []  # noqa: RUF012  # one server a test

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """The address of a server of ``tmp_path/served``."""
    (tmp_path / "served").mkdir()
    Quiet.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def publish(monkeypatch, tmp_path, url, **files):
    """``made``: a published model of these files, by suffix, that the server serves."""
    hashes = {}
    for suffix, content in files.items():
        (tmp_path / f"served/made.{suffix}").write_bytes(content)
        hashes[f"made.{suffix}"] = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(PUBLISHED, "made", Published(url, hashes, "a licence", "somebody"))


def test_what_is_pinned_is_what_was_calibrated(shared):
    """The files of the publisher, beside the project, have the SHA-256 that is pinned, and the metadata of this package."""
    model = PUBLISHED["retail-0287"]
    path = shared / "data/reference-models/person-reidentification-retail-0287" / model.model
    assert facts_file(path) is not None


def test_the_metadata_in_the_package_are_complete():
    for name in PUBLISHED:
        facts = BundleFacts.model_validate_json((published.FACTS / f"{name}.json").read_text(encoding="utf-8"))
        assert facts.name == name and facts.pooled is not None and facts.evidence is not None and facts.licence == PUBLISHED[name].licence


def test_a_download_is_checked_kept_and_not_repeated(tmp_path, server, monkeypatch):
    publish(monkeypatch, tmp_path, f"{server}/", xml=b"model", bin=b"weights")
    with pytest.raises(ModelError, match=r"not downloaded; passerby reid get made downloads it \(a licence, somebody\)"):
        downloaded("made")
    assert get("made") == downloaded("made") == folder("made") / "made.xml"
    assert (folder("made") / "made.bin").read_bytes() == b"weights" and Quiet.asked == ["/made.xml", "/made.bin"]
    get("made")
    assert len(Quiet.asked) == 2
    (folder("made") / "made.bin").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"made\.bin: SHA-256 mismatch"):
        downloaded("made")
    get("made")
    assert downloaded("made") and Quiet.asked[2:] == ["/made.bin"]


def test_a_wrong_file_is_not_kept(tmp_path, server, monkeypatch):
    publish(monkeypatch, tmp_path, server, xml=b"model", bin=b"weights")
    (tmp_path / "served/made.bin").write_bytes(b"other weights")
    with pytest.raises(ModelError, match=r"made\.bin: SHA-256 mismatch: [0-9a-f]{64}, expected [0-9a-f]{64}; nothing was kept"):
        get("made")
    assert not (folder("made") / "made.bin").exists()
    monkeypatch.setattr(published, "MAX_BYTES", 3)
    with pytest.raises(ModelError, match="more than 0 MB; nothing was kept"):
        get("made")


def test_messages_say_what_to_do_and_no_password(tmp_path, server, monkeypatch):
    publish(monkeypatch, tmp_path, "http://127.0.0.1:9", xml=b"model")
    with pytest.raises(ModelError, match=r"made\.xml: cannot be downloaded .*or put made\.xml into .* yourself"):
        get("made")
    with pytest.raises(ModelError) as refused:
        get("made", "http://me:secret@127.0.0.1:9/there")
    assert "secret" not in str(refused.value)
    with pytest.raises(ModelError, match="404"):
        get("made", f"{server}/nowhere")
    assert get("made", (tmp_path / "served").as_uri()).read_bytes() == b"model"
    with pytest.raises(ModelError, match="to download are retail-0287"):
        get("market-0001")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError):
        get("made")


@NEEDS_OPENVINO
def test_a_downloaded_model_is_a_bundle_like_any_other(tmp_path, server, monkeypatch):
    """A small network with a fixed batch: the mean colour of four strips."""
    import openvino
    from openvino import opset13 as ops

    crops = ops.parameter([1, 3, 16, 8], np.float32, name="data")
    pooled = ops.avg_pool(crops, [4, 8], [0, 0], [0, 0], [4, 8], exclude_pad=False).output(0)
    flat = ops.reshape(pooled, np.array([0, 12]), special_zero=True)
    openvino.save_model(openvino.Model([ops.result(flat)], [crops]), tmp_path / "served/made.xml", compress_to_fp16=False)
    files = {suffix: (tmp_path / f"served/made.{suffix}").read_bytes() for suffix in ("xml", "bin")}
    publish(monkeypatch, tmp_path, "http://127.0.0.1:9", **files)
    facts = json.loads((published.FACTS / "retail-0287.json").read_text()) | {"name": "made", "height": 16, "width": 8, "dimension": 12}
    monkeypatch.setattr(published, "FACTS", tmp_path)
    (tmp_path / "made.json").write_text(json.dumps(facts))

    done = passerby("reid", "get", "made", "--url", server)
    assert done.returncode == 0 and "use it with --reid made" in done.stdout, done.stderr
    pictures = [np.full((32, 16, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 128, 0), (0, 0, 9))]
    for model in ("made", str(tmp_path / "served/made.xml")):  # anywhere, if it is the same file
        for device in ("cpu", "openvino"):
            rows = Embedder(model, EmbedderSettings(device=device, batch=2)).embed(pictures)
            assert np.abs(rows @ rows.T - np.eye(3)).max() < 1e-3  # blue, green and red
            assert rows[0, :4].min() > 0.49  # blue first
    (tmp_path / "served/made.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"no made\.json beside it|OpenVINO cannot load it"):
        Embedder(str(tmp_path / "served/made.xml"))
    (tmp_path / "other.xml").write_bytes(files["xml"])
    (tmp_path / "other.bin").write_bytes(files["bin"])
    with pytest.raises(ModelError, match=r"no other\.json beside it"):
        Embedder(str(tmp_path / "other.xml"))
    (tmp_path / "other.json").write_text(json.dumps(facts))
    assert Embedder(str(tmp_path / "other.xml")).dimension == 12


@NEEDS_OPENVINO
def test_the_published_model_tells_people_apart(shared, monkeypatch):
    served = shared / "data/reference-models/person-reidentification-retail-0287"
    assert passerby("reid", "get", "retail-0287", "--url", served.as_uri()).returncode == 0
    embedder = Embedder("retail-0287", EmbedderSettings(device="cpu"))
    rng = np.random.default_rng(0)
    crops = [np.kron(rng.integers(0, 255, (8, 4, 3)), np.ones((20, 16, 1))).astype(np.uint8) for _ in range(3)]
    rows = embedder.embed(crops)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    again = embedder.embed([np.clip(crop * 0.9 + 5, 0, 255).astype(np.uint8) for crop in crops])
    assert ((rows @ again.T).argmax(1) == np.arange(3)).all() and embedder.dimension == 256


def test_without_openvino_the_message_says_what_to_install(tmp_path, server, monkeypatch):
    publish(monkeypatch, tmp_path, server, xml=b"model", bin=b"weights")
    monkeypatch.setattr(openvino_engine, "installed", lambda: False)
    done = passerby("reid", "get", "made")
    assert done.returncode == 0 and "pip install 'passerby[openvino]'" in done.stderr
    with pytest.raises(ModelError, match=r"pip install 'passerby\[openvino\]'"):
        Embedder("made")
