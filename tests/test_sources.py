"""Reading: every trap where data is lost without a word has a clip here that is made for it."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from clips import numbered, write_clip

from pipeline.errors import SourceError
from pipeline.sources.frame import Selection
from pipeline.sources.open import open_source
from pipeline.sources.prefetch import Prefetch


def read(source, **selection):
    return list(source.read(Selection(**selection)))


def test_time_comes_from_timestamps_not_from_the_index(tmp_path):
    times = np.cumsum([0.0] + [0.04, 0.2, 0.04, 0.5] * 10)[:40]
    source = open_source(write_clip(tmp_path / "vfr.mp4", numbered(40), times=times))
    frames = read(source)
    assert [frame.index for frame in frames] == list(range(40))
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=2e-3)


def test_b_frames_come_in_order_of_presentation(tmp_path):
    path = write_clip(tmp_path / "b.mp4", numbered(50), options={"bf": "3", "g": "25", "preset": "medium"})
    frames = read(open_source(path))
    brightness = [frame.image.mean() for frame in frames]
    assert len(frames) == 50
    assert np.all(np.diff(brightness) > 0)
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(50) / 25, atol=2e-3)


def test_ten_bit_video_is_read(tmp_path):
    path = write_clip(tmp_path / "ten.mkv", numbered(12), pixels="yuv420p10le")
    frames = read(open_source(path))
    assert len(frames) == 12
    assert frames[0].image.dtype == np.uint8
    assert frames[5].image.mean() == pytest.approx(8 + 10 + 2.5, abs=3)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path, degrees):
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:48, :80] = 255  # a white corner at the top left of the stored picture
    plain = write_clip(tmp_path / "plain.mp4", [picture] * 5)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(rotated(plain.read_bytes(), degrees))
    source = open_source(turned)
    frame = read(source)[0]
    expected = np.rot90(picture, -degrees // 90)  # players turn clockwise by the matrix
    assert (source.height, source.width) == frame.image.shape[:2] == expected.shape[:2]
    assert np.abs(frame.image.astype(int) - expected).mean() < 12
    assert not source.progress.warnings


def rotated(mp4: bytes, degrees: int) -> bytes:
    """The same mp4 with a display matrix that turns by ``degrees`` clockwise in its track header."""
    one = 0x10000
    matrix = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    a, b, c, d = (value & 0xFFFFFFFF for value in matrix)
    at = mp4.index(b"tkhd") + 4 + 40
    packed = b"".join(value.to_bytes(4, "big") for value in (a, b, 0, c, d, 0, 0, 0, 0x40000000))
    return mp4[:at] + packed + mp4[at + 36 :]


def test_half_an_mp4_gives_its_half_and_says_so(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", numbered(200), container_options={"movflags": "+faststart"})
    half = tmp_path / "half.mp4"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = open_source(half)
    frames = read(source)
    assert 40 < len(frames) < 160
    assert source.progress.error
    assert "half.mp4" in source.progress.error


def test_damaged_packets_cost_their_own_frames_alone(tmp_path):
    path = write_clip(tmp_path / "ok.ts", numbered(100), options={"g": "10", "preset": "ultrafast"})
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    middle = rng.integers(len(data) // 3, 2 * len(data) // 3, 200)
    data[:] = bytes(byte ^ 0xFF if at in set(middle.tolist()) else byte for at, byte in enumerate(data))
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(data)
    source = open_source(damaged)
    frames = read(source)
    progress = source.progress
    assert len(frames) >= 60
    assert frames[-1].time > 3.5  # the part behind the damage is there
    assert progress.frames_in == progress.given + progress.failed
    assert progress.failed > 0
    assert progress.warnings


def test_frames_behind_a_lost_one_keep_their_numbers(tmp_path):
    whole = write_clip(tmp_path / "whole.mkv", numbered(20), codec="mjpeg", pixels="yuvj420p", rate=10, options={})
    broken = tmp_path / "broken.mkv"
    with av.open(str(whole)) as reader, av.open(str(broken), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for number, packet in enumerate(packet for packet in reader.demux(video=0) if packet.size):
            if number == 5:
                empty = av.Packet(bytes(packet.size))
                empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
                packet = empty
            packet.stream = stream
            writer.mux(packet)
    source = open_source(broken)
    frames = read(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4, *range(6, 20)]
    np.testing.assert_allclose([frame.time for frame in frames], [frame.index / 10 for frame in frames], atol=1e-3)
    assert source.progress.failed == 1


def test_an_avi_with_dropped_frames_is_whole(tmp_path):
    kept = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14]
    path = tmp_path / "dropped.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuvj420p"
        for picture, at in zip(numbered(len(kept)), kept, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = at, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    source = open_source(path)
    frames = read(source)
    np.testing.assert_allclose([frame.time for frame in frames], np.array(kept) / 10, atol=1e-3)
    assert source.progress.error is None


def test_metadata_in_another_alphabet_and_an_unknown_codec(tmp_path):
    path = write_clip(tmp_path / "a.avi", numbered(10), codec="mpeg4", options={})
    data = path.read_bytes()
    odd = tmp_path / "odd.avi"
    odd.write_bytes(data.replace(b"FMP4", b"ZZZZ"))
    with pytest.raises(SourceError, match="no decoder"):
        open_source(odd)
    assert b"Lavf" in data
    titled = tmp_path / "titled.avi"
    titled.write_bytes(data.replace(b"Lavf", b"Caf\xe9"))
    assert len(read(open_source(titled))) == 10


def test_a_change_of_codec_is_read_on(tmp_path):
    first = write_clip(tmp_path / "a.ts", numbered(100)).read_bytes()
    second = write_clip(tmp_path / "b.ts", numbered(100), codec="mpeg2video", options={"g": "10"}, start=4.0).read_bytes()
    path = tmp_path / "both.ts"
    path.write_bytes(first + second)
    source = open_source(path)
    frames = read(source)
    assert len(frames) >= 180
    assert np.all(np.diff([frame.time for frame in frames]) > 0)
    assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})
    assert any("codec" in warning for warning in source.progress.warnings)


def test_a_change_of_size_keeps_both_sizes_and_time_goes_on(tmp_path):
    first = write_clip(tmp_path / "a.ts", numbered(30)).read_bytes()
    second = write_clip(tmp_path / "b.ts", numbered(30, 320, 192)).read_bytes()  # its clock starts over
    path = tmp_path / "both.ts"
    path.write_bytes(first + second)
    source = open_source(path)
    frames = read(source)
    assert {frame.image.shape for frame in frames} == {(96, 160, 3), (192, 320, 3)}
    assert np.all(np.diff([frame.time for frame in frames]) > 0)
    assert any("frame size changes" in warning for warning in source.progress.warnings)


def test_an_mp4_without_its_index_is_said_in_one_message(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", numbered(60))  # its moov lies at the end
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(SourceError, match="cannot be opened as a video"):
        open_source(cut)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"this is a letter, not a video\n" * 50, "cannot be opened as a video"), (None, "no such file")],
)
def test_what_is_no_video_is_said_in_one_message(tmp_path, content, words):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=words) as caught:
        open_source(path)
    assert "clip.mp4" in str(caught.value)


def test_every_start_and_end_choose_frames_and_count_the_rest(tmp_path):
    path = write_clip(tmp_path / "c.mp4", numbered(100))
    source = open_source(path)
    frames = read(source, every=3, start=1.0, end=2.0)
    assert [frame.index for frame in frames] == [27, 30, 33, 36, 39, 42, 45, 48]
    assert source.progress.given == 8
    assert source.progress.skipped == 50 - 8
    assert source.progress.error is None


def images(folder, count=6):
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index + 1:06d}.jpg"), np.full((40, 60, 3), 10 * index, np.uint8))
    return folder


def test_folders_globs_and_sequences_of_images(tmp_path):
    folder = images(tmp_path / "seq/img1")
    (tmp_path / "seq/seqinfo.ini").write_text("[Sequence]\nname=seq\nimDir=img1\nframeRate=10\nseqLength=6\n")
    assert [frame.time for frame in read(open_source(tmp_path / "seq"))] == pytest.approx(np.arange(6) / 10)
    assert len(read(open_source(folder, rate=5.0))) == 6
    assert len(read(open_source(f"{folder}/00000[1-3].jpg"))) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no images"):
        open_source(tmp_path / "empty")


def test_an_unreadable_image_is_named_and_counted(tmp_path):
    folder = images(tmp_path / "pictures")
    (folder / "000003.jpg").write_bytes(b"broken")
    source = open_source(folder)
    assert [frame.index for frame in read(source)] == [0, 1, 3, 4, 5]
    assert source.progress.failed == 1
    assert any("000003.jpg" in text for text in source.progress.warnings)


def test_prefetch_hands_items_and_errors_over_and_closes_early():
    def items():
        yield from range(3)
        raise SourceError("broken")

    ahead = Prefetch(items(), 2)
    got = []
    with pytest.raises(SourceError, match="broken"):
        for item in ahead:
            got.append(item)
    assert got == [0, 1, 2]
    endless = Prefetch(iter(int, 1), 2)
    assert next(iter(endless)) == 0
    endless.close()


# what recorders and cameras leave behind


def test_a_path_is_a_path_whatever_characters_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "2026-11-25T10:15:00.mp4",
        "100%d.mp4",
        "-dash.mp4",
        "a|b?.mp4",
        "concat:x.mp4",
        "new\nline.mp4",
        "subfile,,start,0,end,0,,:x.mp4",
    ):
        clip = write_clip(tmp_path / "plain.mp4", numbered(4), rate=10)
        clip.rename(tmp_path / name)
        assert len(list(open_source(name).read(Selection()))) == 4, name


def test_the_default_video_stream_is_read_and_said(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for width, height in ((160, 96), (320, 192)):
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        streams[0].disposition = 0
        for picture in numbered(5, 320, 192):
            for stream in streams:
                small = np.ascontiguousarray(picture[: stream.height, : stream.width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="bgr24")))
        for stream in streams:
            container.mux(stream.encode(None))
    source = open_source(path)
    frames = list(source.read(Selection()))
    assert (source.width, source.height) == (320, 192) and frames[0].image.shape == (192, 320, 3)
    assert any("2 video streams" in text for text in source.progress.warnings)


def test_pictures_are_read_in_natural_order_without_hidden_files(tmp_path):
    for number in (1, 2, 9, 10, 11, 100):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((40, 40, 3), number, np.uint8))
    (tmp_path / "._1.png").write_bytes(b"mac")
    frames = list(open_source(tmp_path, 10).read(Selection()))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 9, 10, 11, 100]
    assert [int(f.image[0, 0, 0]) for f in open_source(f"{tmp_path}/*.png", 10).read(Selection())] == [1, 2, 9, 10, 11, 100]


def test_an_assumed_rate_is_said_and_a_given_one_holds(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", numbered(20), rate=10)
    raw = tmp_path / "clip.264"
    with av.open(str(clip)) as source, av.open(str(raw), "w", format="h264") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assumed = open_source(raw)
    assert assumed.rate == 25 and any("25 frames per second are assumed" in text for text in assumed.progress.warnings)
    given = open_source(raw, 10.0)
    times = [frame.time for frame in given.read(Selection())]
    assert len(times) == 20 and times[-1] == pytest.approx(1.9, abs=0.02) and not given.progress.warnings
    own = open_source(clip, 50.0)
    assert own.rate == 10 and any("reading.rate is not used" in text for text in own.progress.warnings)
    cv2.imwrite(str(tmp_path / "a1.png"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "a2.png"), np.zeros((8, 8, 3), np.uint8))
    assert any("assumed" in text for text in open_source(f"{tmp_path}/a*.png").progress.warnings)


def test_high_bit_pictures_are_stretched_alike_and_said_once(tmp_path):
    scene = np.tile(np.linspace(7000, 9000, 64).astype(np.uint16), (48, 1))
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.tiff"), scene + np.uint16(100 * number))
    source = open_source(tmp_path, 10)
    frames = list(source.read(Selection()))
    assert frames[0].image.dtype == np.uint8 and frames[0].image.min() == 0 and frames[0].image.max() == 255
    assert frames[1].image[:, 30].mean() > frames[0].image[:, 30].mean()  # one range for all: brighter stays brighter
    assert sum("uint16" in text for text in source.progress.warnings) == 1
