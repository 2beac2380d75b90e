"""Streams: what can be watched before a video is done, and of a voice that is still arriving."""

import io

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from paha_core.cli import app
from paha_core.inference.inputs import InputError, read_voice
from paha_core.inference.live import live_segments
from paha_core.inference.pipeline import Settings, window_view
from paha_core.inference.stream import read_pcm, stream_live, stream_video
from paha_core.inference.trace import Trace
from paha_core.inference.video_file import Request
from paha_core.media.fragments import FragmentedVideo
from paha_core.models.audio_encoder import SAMPLES_PER_FRAME, LogMel

SEGMENT, MARGIN = 6, 2


def voice(frames, extra=0):
    draw = np.random.default_rng(frames)
    wave = draw.normal(0, 0.2, frames * SAMPLES_PER_FRAME + extra)
    return wave.clip(-1, 1).astype(np.float32)


def chunked(wave, size):
    return (wave[start : start + size] for start in range(0, len(wave), size))


@pytest.mark.parametrize("frames", [2, 5, 6, 7, 11, 12, 90])
@pytest.mark.parametrize(("size", "extra"), [(700, 0), (64_000, 100)])
def test_a_voice_that_arrives_has_the_windows_of_the_whole_voice(frames, size, extra):
    wave = voice(frames, extra)
    features = LogMel().encode(wave[: frames * SAMPLES_PER_FRAME], frames).astype(np.float32)
    expected = window_view(features, MARGIN)
    made = list(live_segments(chunked(wave, size), LogMel(), SEGMENT, MARGIN))
    windows = [s.windows[1 if i else 0 :] for i, s in enumerate(made)]
    windows = np.concatenate([w[: s.new_frames] for w, s in zip(windows, made, strict=True)])
    np.testing.assert_allclose(windows, expected, atol=1e-2)
    sound = np.concatenate([s.wave for s in made])
    assert np.array_equal(sound, wave[: frames * SAMPLES_PER_FRAME])


def test_a_segment_begins_before_the_rest_is_spoken():
    taken = []

    def spoken():
        for i, chunk in enumerate(chunked(voice(40), SAMPLES_PER_FRAME)):
            taken.append(i)
            yield chunk

    segments = live_segments(spoken(), LogMel(), SEGMENT, MARGIN)
    next(segments)
    assert len(taken) == SEGMENT + MARGIN + 1
    next(segments)
    assert len(taken) == 2 * SEGMENT - 1 + MARGIN + 1


def test_no_sound_is_no_voice():
    with pytest.raises(InputError, match="two frames"):
        next(live_segments(iter([voice(1)]), LogMel(), SEGMENT, MARGIN))


def test_pcm_of_a_pipe_comes_in_whole_samples():
    class Pipe(io.BytesIO):
        def read1(self, size=-1):
            return super().read(3)

    pcm = np.array([0, 16384, -32768, 5], "<i2")
    got = np.concatenate(list(read_pcm(Pipe(pcm.tobytes()))))
    assert got.tolist() == [0, 0.5, -1, 5 / 32768]


def decoded(data):
    with av.open(io.BytesIO(data)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    with av.open(io.BytesIO(data)) as container:
        samples = sum(f.samples for f in container.decode(audio=0))
        return frames, samples, container.metadata.get("comment", "")


def test_what_was_added_can_be_watched_at_once():
    data = bytearray()
    still = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), np.uint8)
    pictures = np.repeat(still, 12, axis=0)  # new noise in each would be a keyframe each
    with FragmentedVideo(data.extend, (32, 32), sample_rate=16000, comment="made") as video:
        video.add(pictures[:6], voice(6))
        frames, samples, comment = decoded(bytes(data))
        assert len(frames) == 6
        assert samples >= 1024
        assert comment == "made"
        assert video.position == len(data)
        video.add(pictures[6:], voice(6))
    frames, samples, _ = decoded(bytes(data))
    assert len(frames) == 12
    assert samples >= 12 * SAMPLES_PER_FRAME
    with av.open(io.BytesIO(bytes(data))) as container:
        decoded_frames = list(container.decode(video=0))
    assert [i for i, f in enumerate(decoded_frames) if int(f.pict_type) == 1] == [0, 6]
    assert [round(f.time * 25) for f in decoded_frames] == list(range(12))


SETTINGS = Settings(mode="unguided", steps=1)


def test_a_spoken_voice_shows_the_pictures_of_the_file(pipeline, inputs, tmp_path):
    """Also in the command: the same bytes from a pipe."""
    image, audio = inputs
    whole = bytearray()
    request = Request(image, audio, tmp_path / "a.mp4", SETTINGS, 64)
    stream_video(pipeline, request, whole.extend, lambda done, total: None)
    frames, _, comment = decoded(bytes(whole))
    assert len(frames) == 15
    assert "generated" in comment
    assert "sidecar" not in comment

    spoken, done = bytearray(), []
    wave = read_voice(audio)
    stream_live(
        pipeline, image, chunked(wave, 1600), SETTINGS, spoken.extend, size=64,
        on_segment=lambda n, _: done.append(len(spoken)),
    )  # fmt: skip
    again, _, _ = decoded(bytes(spoken))
    assert len(done) > 1
    assert 0 < done[1] < len(spoken)
    assert np.abs(np.stack(again).astype(int) - np.stack(frames)).mean() < 1


def test_guidance_of_a_spoken_voice_follows_its_face(pipeline, inputs):
    settings = Settings(mode="sequential", steps=1, force=True)
    trace = Trace()
    made = list(
        pipeline.stream_live(inputs[0], chunked(read_voice(inputs[1]), 1600), settings, trace)
    )
    assert sum(len(frames) for frames, _ in made) == 15
    assert trace.segments == len(made) == len(trace.steps)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--audio", "-", "--out", "a.mp4"), "give --out - as well"),
        (("--text", "hello", "--out", "-"), "leave out --text"),
        (("--audio", "a.wav", "--out", "-", "--stream", "b.mp4"), "leave out --stream"),
        (("--audio", "none.wav", "--out", "-"), "no file none.wav"),
    ],
)
def test_streams_that_can_not_be_are_refused_in_a_sentence(arguments, words):
    command = ["generate", "--image", "a.png", *arguments]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert words in done.output or "no file a.png" in done.output


def test_a_stream_beside_the_file_and_one_to_a_pipe(inputs, trained_store, tmp_path):
    def paha(*options):
        common = ("--preset", "smoke", "--mode", "unguided", "--steps", 1, "--size", 64)
        given = ("--image", inputs[0], "--audio", inputs[1], "--store", trained_store.root)
        return CliRunner().invoke(app, ["generate", *map(str, (*common, *given, *options))])

    made = paha("--out", tmp_path / "a.mp4", "--stream", tmp_path / "b.mp4")
    assert made.exit_code == 0, made.output
    assert len(decoded((tmp_path / "b.mp4").read_bytes())[0]) == 15
    assert (tmp_path / "a.json").exists()
    again = paha("--out", tmp_path / "c.mp4", "--stream", tmp_path / "b.mp4")
    assert "b.mp4 exists" in again.output
    piped = paha("--out", "-")
    assert piped.exit_code == 0
    assert len(decoded(piped.stdout_bytes)[0]) == 15
