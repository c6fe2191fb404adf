"""The images of a simulated run: what they look like, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.bench.stragglers.faults import Fault
from cluster.bench.stragglers.noise import CPU_STAGES, Noise
from job.images.source import ImageRef
from job.stragglers.work import Floats

CLIP_FRAMES = 50
"""Costly images are the frames of one video: the planner keeps them together, in one task."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Images in the order of their references: bytes, pixels and objects [images].

    ``cpu_s`` [images, 4] are CPU seconds on a usual host by stage (``CPU_STAGES``); ``remote``
    [images] tells whose bytes come over the link; ``costly`` [images] are those of a skew.
    """

    refs: tuple[ImageRef, ...]
    bytes_in: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.int64]
    detections: npt.NDArray[np.int32]
    cpu_s: Floats
    remote: npt.NDArray[np.bool_]
    costly: npt.NDArray[np.bool_]


def workload(
    images: int, *, faults: Sequence[Fault], noise: Noise, random: np.random.Generator
) -> Workload:
    """Draw so many IMAGES; of a skew among FAULTS, the last ``CLIP_FRAMES`` are the costly ones.

    They have more pixels and more objects, as many as make them ``factor`` times as costly: their
    inference takes no longer than that of others.
    """
    size, content = random.standard_normal((2, images))
    # Half of how sizes of files differ is what is in them.
    pixels = noise.pixels_median * np.exp(noise.bytes_spread * (size + content) / np.sqrt(2))
    # What an object adds is its part of a usual image's post-processing.
    detections = random.poisson(noise.detections_mean, images).astype(float)
    costly = np.zeros(images, dtype=bool)
    for fault in faults:
        if fault.kind == "skew":
            costly[-CLIP_FRAMES:] = True
            decode, _, _, postprocess = noise.shares
            grown = 1 + (fault.factor - 1) / (decode + noise.detections_weight * postprocess)
            pixels[costly] *= grown ** (1 / noise.pixels_power)
            detections[costly] = np.round(detections[costly] * grown)
    usual = noise.cpu_s * np.array(noise.shares)
    cpu_s = np.tile(usual, (images, 1))
    cpu_s[:, CPU_STAGES.index("decode")] *= (pixels / noise.pixels_median) ** noise.pixels_power
    objects = 1 + noise.detections_weight * (detections / noise.detections_mean - 1)
    cpu_s[:, CPU_STAGES.index("postprocess")] *= objects
    cpu_s *= unexplained(images, noise, random)[:, np.newaxis]
    bytes_in = np.maximum(1, noise.bytes_median * np.exp(noise.bytes_spread * size)).astype(
        np.int64
    )
    frames = np.flatnonzero(costly)
    bytes_in[frames] = int(noise.bytes_median)  # a video compresses; each frame counts as the mean
    return Workload(
        refs=tuple(_refs(bytes_in.tolist(), len(frames))),
        bytes_in=bytes_in,
        pixels=pixels.astype(np.int64),
        detections=detections.astype(np.int32),
        cpu_s=cpu_s,
        remote=random.random(images) < noise.remote_share,
        costly=costly,
    )


def unexplained(images: int, noise: Noise, random: np.random.Generator) -> Floats:
    """By how much images [images] cost more or less than they look."""
    tail = random.random(images) < noise.tail_share
    logs = noise.unexplained * random.standard_normal(images)
    logs += np.where(tail, random.exponential(noise.tail_log, images), 0.0)
    return np.asarray(np.exp(logs))


def _refs(sizes: Sequence[int], frames: int) -> list[ImageRef]:
    photos = len(sizes) - frames
    refs = [
        ImageRef(image_id=(name := f"{number:07}.jpg"), path=name, bytes=size)
        for number, size in enumerate(sizes[:photos])
    ]
    return refs + [
        ImageRef(image_id=f"clip.mp4#{frame:06}", path="clip.mp4", bytes=size, frame=frame)
        for frame, size in enumerate(sizes[photos:])
    ]
