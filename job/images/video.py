"""The frames of a video by number."""

import functools
import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from job.images.decode import ImageError, Pixels

# A damaged video is one sentence in errors.jsonl; FFmpeg and OpenCV would also print to stderr.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.setLogLevel(0)

Times = npt.NDArray[np.float64]

NEAR = 100
"""Frames up to here ahead are reached by decoding on: cheaper than to seek."""
SAME_MS = 0.1
"""Two times of one frame differ by less; 1000 frames a second are 1 ms apart."""


def count_frames(path: str) -> int:
    """Count the frames of a video, 0 where it cannot be opened.

    Splits the container into packets without decoding them: the number in a header is missing in
    some containers and in others a guess from length and rate.
    """
    try:
        return len(_packet_times(path, _changed_at(path)))
    except (ImageError, OSError):
        return 0


class Video:
    """The frames of one video; number k is the k-th that decoding from the start yields.

    Not safe between threads. Ask in ascending order: the way back, or far ahead, is a seek.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._times: Times | None = None
        self._end: int | None = None
        self._rewind()

    def frame(self, number: int) -> Pixels:
        """Return frame ``number`` (from 0), turned upright as the video says.

        Raises ImageError (stage ``read``) where the video ends or breaks before it.
        """
        if self._end is not None and number >= self._end:
            raise ImageError("read", f"the video ends or is damaged at frame {self._end}")
        try:
            return self._reach(number)
        except ImageError:
            if self._from_start:
                self._end = self._next
                raise
            # After a seek OpenCV ends a video of varying rate too early: it counts frames by time.
            self._times = np.empty(0)
            self._rewind()
            return self.frame(number)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _reach(self, number: int) -> Pixels:
        if not self._next <= number <= self._next + NEAR:
            self._seek(number)
        while self._next < number:
            self._grab()
        self._grab()
        return self._retrieve()

    def _rewind(self) -> None:
        # One thread: a worker's cores belong to inference.
        self._capture = _open(self._path, cv2.CAP_PROP_N_THREADS, 1)
        if not self._capture.isOpened():
            raise ImageError("read", "the video cannot be opened: damaged or of an unknown format")
        self._next, self._from_start = 0, True

    def _grab(self) -> None:
        if not self._capture.grab():
            raise ImageError("read", f"the video ends or is damaged at frame {self._next}")
        self._next += 1

    def _retrieve(self) -> Pixels:
        done, frame = self._capture.retrieve()
        if not done:
            raise ImageError("read", f"frame {self._next - 1} of the video cannot be decoded")
        pixels: Pixels = frame
        return pixels

    def _seek(self, number: int) -> None:
        """Go some frames before ``number``, or to the start where no seek is known to be exact.

        OpenCV seeks to a time and works the frame number out from an even rate, which is wrong
        without a word where the rate varies, as in many videos from telephones. So where a seek
        has landed is looked up among the times of all packets.
        """
        self._rewind()
        if number <= NEAR or number >= len(times := self._frame_times()):
            return
        for before in (1, NEAR):
            self._capture.set(cv2.CAP_PROP_POS_MSEC, times[number - before])
            if self._capture.grab():
                now = self._capture.get(cv2.CAP_PROP_POS_MSEC)
                (landed,) = np.nonzero(np.abs(times - now) < SAME_MS)
                if len(landed) == 1 and landed[0] < number:
                    self._next, self._from_start = int(landed[0]) + 1, False
                    return
        self._rewind()

    def _frame_times(self) -> Times:
        """Give the time of every frame, or nothing where packets do not tell (as in MPEG-PS)."""
        if self._times is None:
            times = np.sort(_packet_times(self._path, _changed_at(self._path)))
            self._grab()
            self._grab()
            second = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            told = len(times) > 1 and abs(times[1] - second) < SAME_MS
            self._times = times if told and np.diff(times).min() > SAME_MS else times[:0]
            self._rewind()
        return self._times


def _changed_at(path: str) -> int:
    return Path(path).stat().st_mtime_ns


@functools.lru_cache(maxsize=8)  # for the next tasks of a worker
def _packet_times(path: str, changed_at: int) -> Times:
    capture = _open(path, cv2.CAP_PROP_FORMAT, -1)
    times = []
    while capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    return np.array(times, np.float64)


def _open(path: str, *settings: int) -> cv2.VideoCapture:
    name = str(Path(path).absolute())  # FFmpeg takes a name like "concat:x.mp4" for an address
    try:
        name.encode()
    except UnicodeEncodeError as error:  # OpenCV would crash
        raise ImageError("read", "the name of the video is not UTF-8: rename it") from error
    return cv2.VideoCapture(name, cv2.CAP_FFMPEG, settings)
