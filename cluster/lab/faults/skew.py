"""The fault of an input: its work is spread unevenly, by large images that come in a row."""

import json
import math
import shutil
import time
from pathlib import Path

import cv2

from cluster.lab.faults.kinds import Truth, check_factor
from job.errors import JobError, UsageError
from job.images.decode import MAX_PIXELS, ImageError, decode
from job.images.source import list_images

# Folders of the new input, in the order that names have.
PLAIN, COSTLY = "1-plain", "2-costly"
# Beside them; an input's hidden files are no part of it.
TRUTH = ".fault.json"
QUALITY = 95


def skew(source: Path, output: Path, *, factor: float, share: float) -> Truth:
    """Copy the images of a folder; a SHARE of them, the last by name, get FACTOR times the pixels.

    So a part of the input that is cut out by name is costly as a whole: its images take FACTOR
    times as long to decode and resize, or longer. Inference takes as long as before, for the
    network's input has one size.

    Raises:
        UsageError: a bad number, an input that is no folder of images, or an output that exists.
    """
    check_factor(factor)
    if not 0 < share < 1:
        raise UsageError(f"--share is {share:g}, and must be above 0 and below 1.")
    if not source.is_dir():
        raise UsageError(f"--input {source} is no folder.")
    if output.exists():
        raise UsageError(f"--output {output} exists: name a new folder.")
    began = time.time()
    images = list_images(str(source)).images
    if inside := next((image for image in images if image.member or image.frame is not None), None):
        raise UsageError(f"{inside.path} is no image: the fault skew takes a folder of images.")
    costly = max(1, round(len(images) * share))
    try:
        for number, image in enumerate(images):
            plain = number < len(images) - costly
            target = output / (PLAIN if plain else COSTLY) / image.image_id
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image.path, target)
            if not plain:
                enlarge(target, factor)
    except JobError:
        shutil.rmtree(output)
        raise
    truth = Truth(
        kind="skew",
        host=None,
        factor=factor,
        details={"output": str(output), "images": len(images), "costly": costly},
        began=began,
        ended=time.time(),
    )
    (output / TRUTH).write_text(f"{json.dumps(truth.row())}\n")
    return truth


def enlarge(file: Path, factor: float) -> None:
    """Give an image FACTOR times the pixels. It is a JPEG then, whatever its name says.

    Raises:
        UsageError: it cannot be read, or would be too large.
    """
    try:
        pixels = decode(file.read_bytes())
    except ImageError as error:
        raise UsageError(f"{file.name} cannot be enlarged: {error}.") from error
    height, width, _ = pixels.shape
    if height * width * factor > MAX_PIXELS:
        raise UsageError(f"{file.name} would have more than {MAX_PIXELS} pixels: lower --factor.")
    scale = math.sqrt(factor)
    size = round(width * scale), round(height * scale)
    larger = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    _, encoded = cv2.imencode(".jpg", larger, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    file.write_bytes(encoded.tobytes())
