"""Real image and video files for the tests of job.images."""

import functools
import io
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

FRAMES = 260  # more than two seeks ahead


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG of a few bytes, whatever size its header gives."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@functools.cache
def video(suffix: str, codec: str, frames: int = FRAMES) -> bytes:
    """A video whose frames show their numbers, as nine bars of black and white."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"made{suffix}"
        writer = cv2.VideoWriter(
            str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25, (180, 120)
        )
        assert writer.isOpened()
        for number in range(frames):
            bars = np.array([255 * (number >> bit & 1) for bit in range(9)], np.uint8)
            writer.write(np.tile(np.repeat(bars, 20)[None, :, None], (120, 1, 3)))
        writer.release()
        return path.read_bytes()


def number_shown(frame: npt.NDArray[np.uint8]) -> int:
    assert frame.shape == (120, 180, 3)
    bars = frame[60, 10::20].mean(axis=1) > 128
    return int(sum(1 << bit for bit, white in enumerate(bars) if white))


def vary_rate(mp4: bytes, first: float) -> bytes:
    """The same frames, the first half shown ``first`` times as long, the whole as long as before.

    Rewrites the "stts" box of an MP4 of even rate whose "moov" comes last (ISO 14496-12, 8.6.1.2).
    """
    at = mp4.rindex(b"stts") - 4
    size, _, _, entries, count, length = struct.unpack(">I4sIIII", mp4[at : at + 24])
    assert (size, entries, count % 2, length % 2) == (24, 1, 0, 0)
    halves = (count // 2, int(length * first), count // 2, int(length * (2 - first)))
    varied = bytearray(mp4[:at] + struct.pack(">I4sIIIIII", 32, b"stts", 0, 2, *halves))
    varied += mp4[at + 24 :]
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        here = mp4.rindex(box) - 4
        (old,) = struct.unpack(">I", mp4[here : here + 4])
        varied[here : here + 4] = struct.pack(">I", old + 8)
    return bytes(varied)


def delay(avi: bytes) -> bytes:
    """The same frames, each of which a decoder holds back for one, as where there are B-frames.

    Clears the bit "low_delay" in each header of an MPEG-4 video (ISO 14496-2, 6.2.3).
    """
    header = b"\x00\x00\x01\x20\x00\xc4\x8d"
    assert header + b"\x88" in avi
    return avi.replace(header + b"\x88", header + b"\x08")


@contextmanager
def no_rights(path: Path) -> Iterator[None]:
    """Takes the right to read a path away for a while, from root too."""
    before = path.stat().st_mode
    path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        path.chmod(before)
