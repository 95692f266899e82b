"""Frames of videos: what reaches the model, which frame each token looks at, and bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from samples_of_subjects import picture

from semascope.corpus.sample import Sample, Turn, Video
from semascope.errors import SubjectError
from semascope.subject import Kind, Subject, geometry
from semascope.subject.geometry.base import VideoClaims
from semascope.subject.geometry.verify import prove_videos
from semascope.subject.heatmap import heat
from semascope.subject.inputs.pictures_shown import STILLS
from semascope.subject.testing import tiny
from semascope.subject.types import looking_at
from semascope.subject.video.frames import READERS

FAMILIES = (
    "llava_next_video", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl",
    "smolvlm",
)  # fmt: skip
QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
SIZES = ((150, 70), (60, 160))
REFERENCE = Path(__file__).with_name("frames_reference.jsonl")
"""What transformers 5.23's own video processors made of ``drawn``, with torchvision 0.28."""


def video(frames: int, width: int = 90, height: int = 50, seed: int = 0, every: float = 0.25):
    shown = tuple(picture(width, height, 100 * seed + n) for n in range(frames))
    return Video(shown, tuple(n * every for n in range(frames)))


def asked(*videos: Video, images: tuple[Image.Image, ...] = (), name: str = "q") -> Sample:
    turns = (Turn("user", "What?", len(images), len(videos)),)
    return Sample(name, turns=turns, images=images, videos=videos)


def drawn(frames: int, width: int, height: int) -> np.ndarray:
    """(F, H, W, 3) two gradients and a checkerboard that moves."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1)
    shown = [
        np.stack([red, green, ((x // 7 + y // 5 + n + 1) % 2) * 200], -1) for n in range(frames)
    ]
    return np.stack(shown).astype(np.uint8)


@pytest.mark.parametrize("line", REFERENCE.read_text().splitlines())
def test_frames_are_prepared_as_transformers_own_processors_do(line: str) -> None:
    """Shapes, grids and 24 values of each, to the rounding of a float."""
    case = json.loads(line)
    made = READERS[case["processor"]](**case["settings"])([drawn(case["frames"], *case["size"])])
    pixels = made.get("pixel_values_videos", made.get("pixel_values"))
    assert list(pixels.shape) == case["shape"]
    if case["grid"] is not None:
        assert made["video_grid_thw"].tolist() == case["grid"]
    at = np.linspace(0, pixels.numel() - 1, len(case["values"])).astype(int)
    np.testing.assert_allclose(pixels.flatten()[at], case["values"], atol=1e-3)
    assert float(pixels.mean()) == pytest.approx(case["mean"], abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_change_where_and_when_they_claim_to_look(subject, family: str) -> None:
    """One place of one frame of three is painted: the tokens of another frame, of a transposed
    grid or of a forgotten crop must not be the ones that change."""
    for row in prove_videos(subject(family), SIZES, probes=8):
        assert row.first == row.precision == 1 and row.frames == 3, row
        assert row.leak < 0.1 and row.newline == 0, row


@pytest.mark.parametrize("family", FAMILIES)
def test_of_two_videos_the_second_changes(subject, family: str) -> None:
    (row,) = prove_videos(subject(family), SIZES[:1], videos=2, probes=6)
    assert row.first == 1, row


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "smolvlm"])
def test_a_picture_and_a_video_together(subject, family: str) -> None:
    """The picture is number 0 and the frames go on from there, whatever token stands for them."""
    (row,) = prove_videos(subject(family), SIZES[:1], pictures=1, probes=6)
    assert row.first == 1, row


def test_a_video_between_two_pictures(subject) -> None:
    """InternVL has one token for both: only the order of the text tells them apart."""
    s = subject("internvl")
    images = (picture(32, 32), picture(40, 30))
    turns = (
        Turn("user", "First?", 1, 1), Turn("assistant", "yes"), Turn("user", "Second?", 1),
    )  # fmt: skip
    m = s.encode([Sample("a", turns=turns, images=images, videos=(video(2),))]).maps[0]
    looked = m.image[m.image >= 0]
    assert list(dict.fromkeys(looked.tolist())) == [0, 2, 3, 1]
    assert m.sizes == ((32, 32), (40, 30), (90, 50), (90, 50))


def test_claims_of_the_wrong_frame_would_be_caught() -> None:
    """The proof must be able to fail: here each step is said to look at one frame, not at two."""
    s = tiny("qwen2_vl")

    class Unmerged(geometry.whole.QwenVL):
        def claim_videos(self, seen):
            return [VideoClaims(right.steps) for right in super().claim_videos(seen)]

    wrong = Unmerged()
    geometry.register(wrong)
    try:
        (row,) = prove_videos(s, SIZES[:1], frames=6, probes=10)
    finally:
        geometry.unregister(wrong)
    assert row.unseen > 0 and row.leak > 0.5, row
    assert row.first < 0.95, row


@pytest.mark.parametrize("family", QWEN)
def test_two_frames_are_one_step_and_the_odd_one_stands_alone(subject, family: str) -> None:
    m = subject(family).encode([asked(video(5))], max_tokens=None).maps[0]
    seen = m.kinds == Kind.IMAGE
    pairs = set(zip(m.image[seen].tolist(), m.spans[seen].tolist(), strict=True))
    assert pairs == {(0, 2), (2, 2), (4, 1)}
    assert (looking_at(m, 1) == looking_at(m, 0)).all() and looking_at(m, 1).any()
    assert not (looking_at(m, 4) & looking_at(m, 3)).any()
    values = np.where(m.image == 2, 1.0, 0.0).astype(np.float32)
    assert [bool(heat(m, values, image=n).all()) for n in range(5)] == [False] * 2 + [
        True, True, False,
    ]  # fmt: skip


def test_qwen3_is_told_when_each_step_is_shown(subject) -> None:
    """The middle of the two frames of a step, in seconds; of the odd one its own time."""
    m = subject("qwen3_vl").encode([asked(video(3, every=2.0))], max_tokens=None).maps[0]
    text = "".join(m.tokens)
    assert "<1.0 seconds>" in text and "<4.0 seconds>" in text
    assert not (m.kinds[[t in "seconds" for t in m.tokens]] == Kind.IMAGE).any()


def test_qwen25_is_told_how_fast_time_runs(subject) -> None:
    batch = subject("qwen2_5_vl").encode([asked(video(5, every=0.5))], max_tokens=None)
    assert batch.inputs["second_per_grid_ts"].tolist() == [1.0]
    half = tiny("qwen2_5_vl")
    half.model.to(torch.bfloat16)
    placed = half.encode([asked(video(5, every=0.3))], max_tokens=None)
    assert placed.inputs["second_per_grid_ts"].dtype == torch.float32, "0.6 is none in bfloat16"


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_a_batch_are_as_alone(subject, family: str) -> None:
    """Padding on the left, videos of unlike sizes beside each other, text without one."""
    s: Subject = subject(family)
    samples = [asked(video(3)), asked(video(3, 40, 70, seed=1)), Sample("t", text="a dog and")]
    together = s.generate_batch(samples, max_new_tokens=3)
    for sample, found in zip(samples, together, strict=True):
        (alone,) = s.generate_batch([sample], max_new_tokens=3)
        assert [t.id for t in alone.tokens] == [t.id for t in found.tokens]


@pytest.mark.parametrize("family", FAMILIES)
def test_videos_of_unlike_length_share_a_batch(subject, family: str) -> None:
    s = subject(family)
    samples = [asked(video(2)), asked(video(5, seed=1))]
    batch = s.encode(samples, max_tokens=None)
    both = s.run(batch, ["resid_post.2"])["resid_post.2"]
    for n, sample in enumerate(samples):
        alone = s.run(s.encode([sample], max_tokens=None), ["resid_post.2"])["resid_post.2"][0]
        torch.testing.assert_close(both[n, : len(alone)], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llava_onevision", "internvl", "llava_next_video"])
def test_where_videos_of_unlike_length_do_not_share_a_sample(subject, family: str) -> None:
    with pytest.raises(SubjectError, match="2 and 5 frames"):
        subject(family).encode([asked(video(2), video(5))])


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_vl"])
def test_vision_sites_hold_images_then_videos(subject, family: str) -> None:
    """The tower is passed twice; reading that stops at the first pass would lose the videos."""
    s = subject(family)
    both = s.encode([asked(video(3), images=(picture(40, 30),))], max_tokens=None)
    apart = [s.encode([asked(video(3))]), s.encode([asked(images=(picture(40, 30),))])]
    for site in ("vision.1", "projector"):
        frames, image = (s.run(b, [site])[site] for b in apart)
        torch.testing.assert_close(s.run(both, [site])[site], torch.cat([image, frames]))
        torch.testing.assert_close(
            s.run(both, [site, "resid_post.0"])[site], torch.cat([image, frames])
        )


def test_where_a_vision_site_cannot_hold_both(subject) -> None:
    s = subject("llava_next_video")
    both = s.encode([asked(video(3), images=(picture(40, 30),))], max_tokens=None)
    with pytest.raises(SubjectError, match="into separate samples"):
        s.run(both, ["projector"])


def test_smolvlm_reads_pictures_or_videos(subject) -> None:
    with pytest.raises(SubjectError, match="split it into two samples"):
        subject("smolvlm").encode([asked(video(2), images=(picture(32, 32),))])


def test_a_subject_without_video_is_shown_frames_as_pictures(subject) -> None:
    """At most eight of all, evenly; numbers stay those of the frames."""
    s = subject("llava")
    m = s.encode([asked(video(3, 64, 64), images=(picture(64, 64),))], max_tokens=None).maps[0]
    assert m.geometry == "known" and set(m.image.tolist()) == {-1, 0, 1, 2, 3}
    same = s.encode(
        [Sample("i", turns=(Turn("user", "What?", 4),), images=asked(
            video(3, 64, 64), images=(picture(64, 64),)).pictures)], max_tokens=None
    )  # fmt: skip
    assert same.maps[0].tokens == m.tokens
    long = s.encode([asked(video(20, 64, 64))], max_tokens=None).maps[0]
    shown = sorted(set(long.image.tolist()) - {-1})
    assert len(shown) == STILLS and shown[0] == 0 and shown[-1] == 19
    assert len(long.sizes) == 20
    plain = Sample("p", text="a dog", videos=(video(2, 64, 64),))
    assert set(s.encode([plain]).maps[0].image.tolist()) == {-1, 0, 1}


def test_a_subject_that_only_reads_says_so(subject) -> None:
    with pytest.raises(SubjectError, match="reads text only"):
        subject("llama").encode([asked(video(2))])


def test_turns_that_show_more_videos_than_there_are(subject) -> None:
    sample = Sample("x", turns=(Turn("user", "And?", 0, 2),), videos=(video(2),))
    with pytest.raises(SubjectError, match=r"1 videos.* show 2"):
        subject("qwen2_vl").encode([sample])


@pytest.mark.parametrize("family", ["qwen3_vl", "internvl", "smolvlm"])
def test_a_folder_gives_back_how_frames_are_prepared(subject, family: str, tmp_path: Path) -> None:
    s = subject(family)
    s.model.save_pretrained(tmp_path)
    s.processor.save_pretrained(tmp_path)
    again = Subject.load(tmp_path, device="cpu")
    assert again.processor.video_processor.to_dict() == s.processor.video_processor.to_dict()
    batch, same = s.encode([asked(video(3))]), again.encode([asked(video(3))])
    torch.testing.assert_close(again.logits(same), s.logits(batch))
    # Older checkpoints keep it in a file of its own.
    config = json.loads((tmp_path / "processor_config.json").read_text())
    own = config.pop("video_processor")
    (tmp_path / "processor_config.json").write_text(json.dumps(config))
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(own))
    older = Subject.load(tmp_path, device="cpu")
    assert older.processor.video_processor.to_dict() == s.processor.video_processor.to_dict()


def test_smolvlms_size_is_where_its_checkpoints_keep_it() -> None:
    sampling = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 2048}}
    read = READERS["SmolVLMProcessor"]
    assert read(video_sampling=sampling).size == {"longest_edge": 2048}
    assert read(video_sampling=sampling, size={"longest_edge": 64}).size == {"longest_edge": 64}
    assert read().size == {"longest_edge": 1456}


def test_an_adapter_that_knows_no_videos(subject) -> None:
    s = subject("qwen2_vl")

    class Still:
        model_types = ("qwen2_vl",)

        def claim(self, seen):
            return geometry.whole.QwenVL().claim(seen)

    still = Still()
    geometry.register(still)
    try:
        m = s.encode([asked(video(2))]).maps[0]
    finally:
        geometry.unregister(still)
    assert "claim_videos" in m.geometry and (m.kinds == Kind.IMAGE).any()


def test_one_frame_and_a_thin_one(subject) -> None:
    m = subject("qwen3_vl").encode([asked(video(1))], max_tokens=None).maps[0]
    assert m.geometry == "known" and set(m.image.tolist()) == {-1, 0} and m.spans is None
    with pytest.raises(SubjectError, match="too long and thin"):
        subject("qwen2_vl").encode([asked(video(2, 900, 2))])
