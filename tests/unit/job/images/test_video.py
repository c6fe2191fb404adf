import random

import numpy as np
import pytest

from job.images.decode import ImageError
from job.images.video import NEAR, Video, count_frames
from tests.unit.job.images.image_files import FRAMES, delay, number_shown, vary_rate, video

MP4 = (".mp4", "mp4v")
KINDS = {
    "mp4": lambda: video(*MP4),
    "mp4 fast, then slow": lambda: vary_rate(video(*MP4), 0.5),
    "mp4 slow, then fast": lambda: vary_rate(video(*MP4), 1.5),
    "avi": lambda: video(".avi", "MJPG"),
    "avi with delay": lambda: delay(video(".avi", "XVID")),
    "webm": lambda: video(".webm", "VP80"),
    "mkv": lambda: video(".mkv", "mp4v"),
    "mpg": lambda: video(".mpg", "mpg1"),
}


@pytest.fixture(params=KINDS)
def path(request, tmp_path):
    file = tmp_path / f"clip.{request.param[:4].strip()}"
    file.write_bytes(KINDS[request.param]())
    return file


@pytest.fixture
def mp4(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(video(*MP4))
    return path


def test_counts_every_frame(path):
    assert count_frames(str(path)) == FRAMES


def test_ranges_hold_what_decoding_from_the_start_does(path):
    whole = Video(str(path))
    frames = [whole.frame(number) for number in range(FRAMES)]
    assert [number_shown(frame) for frame in frames] == list(range(FRAMES))
    for start in range(0, FRAMES, 65):
        part = Video(str(path))
        for number in range(start, min(start + 65, FRAMES)):
            np.testing.assert_array_equal(part.frame(number), frames[number])


def test_frames_in_any_order(path):
    order = [FRAMES - 1, 0, NEAR + 1, NEAR, *random.Random(0).sample(range(FRAMES), 12)]
    clip = Video(str(path))
    assert [number_shown(clip.frame(number)) for number in order] == order


def test_a_seek_does_not_decode_from_the_start(mp4):
    clip = Video(str(mp4))
    grabbed = []
    grab = clip._grab
    clip._grab = lambda: (grabbed.append(1), grab())
    assert number_shown(clip.frame(FRAMES - 1)) == FRAMES - 1
    assert len(grabbed) < 10


def test_a_video_that_changed_is_counted_again(mp4):
    assert count_frames(str(mp4)) == FRAMES
    mp4.write_bytes(video(*MP4, 12))
    assert count_frames(str(mp4)) == 12


def test_a_single_frame_can_be_had_twice(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(video(*MP4, 1))
    clip = Video(str(path))
    assert [number_shown(clip.frame(0)) for _ in range(2)] == [0, 0]


def test_names_the_frame_where_a_video_ends(path):
    clip = Video(str(path))
    for number in (FRAMES + 5, FRAMES, FRAMES + 500):
        with pytest.raises(ImageError, match=f"ends or is damaged at frame {FRAMES}") as caught:
            clip.frame(number)
        assert caught.value.stage == "read"
    assert number_shown(clip.frame(FRAMES - 1)) == FRAMES - 1


def test_does_not_look_for_the_end_again(mp4):
    clip = Video(str(mp4))
    with pytest.raises(ImageError):
        clip.frame(FRAMES)
    clip._rewind = lambda: pytest.fail("decodes from the start for each missing frame")
    with pytest.raises(ImageError):
        clip.frame(FRAMES + 500)


@pytest.mark.parametrize("data", [b"", b"no video", video(*MP4)[:3000]])
def test_a_damaged_video_is_refused(tmp_path, data):
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    assert count_frames(str(path)) == 0
    with pytest.raises(ImageError, match="cannot be opened"):
        Video(str(path))


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    """OpenCV 4.10 ends the process on one."""
    path = tmp_path / "caf\udce9.mp4"
    path.write_bytes(video(*MP4))
    assert count_frames(str(path)) == 0
    with pytest.raises(ImageError, match="not UTF-8"):
        Video(str(path))


def test_a_name_that_reads_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:clip é 1.mp4").write_bytes(video(*MP4))
    assert count_frames("concat:clip é 1.mp4") == FRAMES
