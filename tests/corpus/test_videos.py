"""Videos: which frames are read, when each is shown, and that a bad one costs its row alone."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semascope.corpus import Corpus, Sample, Turn, Video, open_corpus
from semascope.corpus.media import videos as reading
from semascope.corpus.media.videos import decode_video, evenly
from semascope.corpus.tabular.base import BadRow
from semascope.errors import CorpusError

STEP = 20


def frame(number: int, size: tuple[int, int] = (12, 8)) -> Image.Image:
    return Image.new("RGB", size, (number * STEP, 255 - number * STEP, 0))


def animation(frames: int, kind: str = "GIF", duration: int | list[int] = 250) -> bytes:
    buffer = io.BytesIO()
    rest = [frame(n) for n in range(1, frames)]
    options = {"lossless": True} if kind == "WEBP" else {}
    frame(0).save(
        buffer, kind, save_all=True, append_images=rest, duration=duration, loop=0, **options
    )
    return buffer.getvalue()


def numbers(video: Video) -> list[int]:
    """Which frames these are, by their colour."""
    return [round(f.getpixel((3, 3))[0] / STEP) for f in video.frames]


def jsonl(folder: Path, *rows: object) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def everything(corpus: Corpus) -> list[Sample]:
    return [sample for _, sample in corpus.read()]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_frames_and_their_times(kind: str) -> None:
    video = decode_video(animation(4, kind, [500, 100, 250, 250]))
    assert numbers(video) == [0, 1, 2, 3]
    assert video.times == pytest.approx((0.0, 0.5, 0.6, 0.85))
    assert {f.mode for f in video.frames} == {"RGB"} and video.frames[0].size == (12, 8)


def test_of_a_long_video_frames_are_taken_evenly() -> None:
    video = decode_video(animation(11, duration=100), 3)
    assert numbers(video) == [0, 5, 10]
    assert video.times == pytest.approx((0.0, 0.5, 1.0))
    assert numbers(decode_video(animation(3), 32)) == [0, 1, 2]
    assert evenly(1000, 32)[0] == 0 and evenly(1000, 32)[-1] == 999


def test_frames_without_a_time_are_shown_as_browsers_show_them() -> None:
    assert decode_video(animation(3, duration=0)).times == pytest.approx((0.0, 0.1, 0.2))


def test_a_still_picture_is_a_video_of_one_frame() -> None:
    buffer = io.BytesIO()
    frame(2).save(buffer, "PNG")
    video = decode_video(buffer.getvalue())
    assert numbers(video) == [2] and video.times == (0.0,)


def test_a_film(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="films need the package av")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for n in range(12):
            shown = av.VideoFrame.from_ndarray(np.full((16, 32, 3), 20 * n, np.uint8), "rgb24")
            out.mux(stream.encode(shown))
        out.mux(stream.encode())
    video = decode_video(path, 4)
    assert video.frames[0].size == (32, 16)
    grey = [np.asarray(f).mean() / 20 for f in video.frames]
    assert np.allclose(grey, [0, 4, 6, 10], atol=0.6), grey
    assert video.times == pytest.approx((0.0, 0.4, 0.6, 1.0))
    with pytest.raises(BadRow, match="damaged"):
        decode_video(path.read_bytes()[:200])


def test_a_film_without_the_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    corpus = open_corpus(jsonl(tmp_path, {"video": "a.mp4", "text": "x"}, {"text": "kept"}))
    assert [s.text for s in everything(corpus)] == ["kept"]
    ((_, reason),) = corpus.skipped.named
    assert "pip install 'semascope[video]'" in reason


TALK = [{"from": "human", "value": "<video>\nWhat happens?"}, {"from": "gpt", "value": "It turns."}]


@pytest.mark.parametrize("mark", ["<video>", "<image>"])
def test_llava_conversations_about_a_video(tmp_path: Path, mark: str) -> None:
    """LLaVA's own video sets write <image> where the video stands."""
    (tmp_path / "v.gif").write_bytes(animation(5))
    talk = [{**TALK[0], "value": TALK[0]["value"].replace("<video>", mark)}, TALK[1]]
    (sample,) = everything(open_corpus(jsonl(tmp_path, {"video": "v.gif", "conversations": talk})))
    assert sample.turns == (Turn("user", "What happens?", 0, 1), Turn("assistant", "It turns."))
    assert numbers(sample.videos[0]) == [0, 1, 2, 3, 4] and not sample.images
    assert len(sample.pictures) == 5 and sample.moments[4] == (0, 4, 1.0)


def test_the_same_file_as_a_picture_is_its_first_frame(tmp_path: Path) -> None:
    (tmp_path / "v.gif").write_bytes(animation(5))
    (sample,) = everything(open_corpus(jsonl(tmp_path, {"image": "v.gif", "text": "a"})))
    assert not sample.videos and len(sample.images) == 1 and sample.moments == ()


def test_frames_as_files_pictures_beside_and_several_videos(tmp_path: Path) -> None:
    for n in range(4):
        frame(n).save(tmp_path / f"{n}.png")
    (tmp_path / "v.gif").write_bytes(animation(2))
    names = [f"{n}.png" for n in range(4)]
    said = [
        {"role": "user", "content": [{"type": "video", "video": names}, {"type": "image"},
                                     {"type": "text", "text": "And?"}]},
    ]  # fmt: skip
    rows = [
        {"videos": [names, "v.gif"], "text": "<video><video>two"},
        {"image": "3.png", "messages": said},
        {"video": names, "conversations": [{"from": "human", "value": "no mark"}]},
    ]
    two, beside, unmarked = everything(open_corpus(f"{jsonl(tmp_path, *rows)}?frames=3"))
    assert [numbers(v) for v in two.videos] == [[0, 2, 3], [0, 1]] and two.text == "two"
    assert two.videos[0].times == () and two.moments[0] == (0, 0, None)
    assert beside.turns == (Turn("user", "And?", 1, 1),)
    assert beside.moments == (None, (0, 0, None), (0, 1, None), (0, 2, None))
    assert unmarked.turns[0].videos == 1


def test_text_that_speaks_of_the_html_tag_keeps_it(tmp_path: Path) -> None:
    (sample,) = everything(open_corpus(jsonl(tmp_path, {"text": "the <video> element"})))
    assert sample.text == "the <video> element"


def test_bad_videos_cost_their_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    whole = animation(6)
    (tmp_path / "short.gif").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "empty.gif").write_bytes(b"")
    frame(0).save(tmp_path / "0.png")
    frame(0, (9, 9)).save(tmp_path / "1.png")
    good = {"video": ["0.png", "0.png"], "text": "good"}
    rows = [
        {"video": "short.gif"}, {"video": "empty.gif"}, {"video": "gone.gif"}, {"video": 7},
        {"video": ["0.png", "1.png"]}, {"video": "../../etc/passwd"}, {"video": "http://x/v.mp4"},
        {"video": "0.png", "conversations": [{"from": "human", "value": "<video><video>"}]},
        good,
    ]  # fmt: skip
    corpus = open_corpus(jsonl(tmp_path, *rows))
    assert [s.text for s in everything(corpus)] == ["good"]
    reasons = [reason for _, reason in corpus.skipped.named]
    assert reasons == [
        "video is cut short or damaged", "video file is empty", "missing file",
        "video is of the wrong type", "frames of a video differ in size, or there are none",
        "image path leads out of the dataset", "video is an address on the network",
        "number of videos and of <video> differ",
    ]  # fmt: skip


def test_more_pixels_than_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_PIXELS", 12 * 8 * 4)
    with pytest.raises(BadRow, match="bomb"):
        decode_video(animation(6))
    assert len(decode_video(animation(6), 4).frames) == 4
    monkeypatch.setattr(reading, "MOST_DECODED", 12 * 8 * 5)
    with pytest.raises(BadRow, match="too long"):
        decode_video(animation(6), 4)


def test_a_changed_frame_changes_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "v.gif").write_bytes(animation(5))
    frame(1).save(tmp_path / "1.png")
    path = jsonl(tmp_path, {"video": "v.gif"}, {"video": ["1.png"]})
    before = open_corpus(path).fingerprint()
    assert open_corpus(path).fingerprint() == before
    assert open_corpus(f"{path}?frames=3").fingerprint() != before
    frame(2).save(tmp_path / "1.png")
    changed = open_corpus(path).fingerprint()
    (tmp_path / "v.gif").write_bytes(animation(6))
    assert len({before, changed, open_corpus(path).fingerprint()}) == 3


def test_a_video_is_whole_or_not_at_all() -> None:
    with pytest.raises(CorpusError, match="without frames"):
        Video(())
    with pytest.raises(CorpusError, match="differ in size"):
        Video((frame(0), frame(1, (9, 9))))
    with pytest.raises(CorpusError, match="one a frame"):
        Video((frame(0), frame(1)), (0.0,))
    with pytest.raises(CorpusError, match="rising"):
        Video((frame(0), frame(1)), (1.0, 0.0))
