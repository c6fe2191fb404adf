"""The bytes of a file to pixels, as an image viewer would show them."""

import io
import logging
import warnings
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

Pixels = npt.NDArray[np.uint8]
"""uint8 [H, W, 3], blue first, C-contiguous."""

MAX_PIXELS = 178_956_970
"""The largest image decoded, 512 MiB as RGB; above it a file is taken for a decompression bomb."""

# What Pillow may try, whatever the file is called. A short list keeps out formats that start other
# programs (EPS calls Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "AVIF", "JPEG2000")

TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}  # EXIF orientation -> what makes the picture upright (EXIF 2.32, tag 0x0112)

# Pillow compares the size in the header, before it allocates, with twice this number.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
# Set once for the process: warnings.catch_warnings() is not safe between decoding threads.
warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class ImageError(Exception):
    """One image cannot be processed; the job goes on.

    ``stage`` is where it failed, ``read`` or ``decode``; ``message`` one sentence for errors.jsonl,
    which names the image itself.
    """

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(stage, message)
        self.stage = stage
        self.message = message

    def __str__(self) -> str:
        return self.message


def decode(payload: bytes | Pixels) -> Pixels:
    """Return the picture in the bytes of an image file; a video frame passes as it is.

    EXIF orientation is applied; transparent parts show white; grey and 16-bit pictures are scaled
    to three channels of 8 bits; of an animation or a file of several pages the first is taken.
    Colour profiles are ignored, as the reference implementation of YOLACT does.
    JPEGs decode to the same pixels as with ``cv2.imdecode``, which would accept truncated ones.

    Raises ImageError (stage ``decode``) for whatever is no such picture.
    """
    if isinstance(payload, np.ndarray):
        return payload
    if not payload:
        raise ImageError("decode", "the file is empty")
    try:
        with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
            image.load()
            return _to_bgr(_upright(image))
    except ImageError:
        raise
    except UnidentifiedImageError:
        # Among them a size of 0: Pillow takes no header that gives it.
        message = "the file is no known image, or its header is damaged or says 0 pixels"
    except Image.DecompressionBombError:
        message = f"the image has more than {MAX_PIXELS:,} pixels, perhaps a decompression bomb"
    except MemoryError:
        message = "the image takes more memory than the worker has left: raise --executor-memory"
    except Exception as error:
        # A damaged file can raise almost anything in Pillow's parsers.
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"the image is damaged or cut short ({reason})"
    raise ImageError("decode", message)


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Damaged EXIF data; the picture itself is whole, and viewers show it unturned.
        return image
    return image if turn is None else image.transpose(turn)


def _to_bgr(image: Image.Image) -> Pixels:
    if image.mode == "F":
        raise ImageError("decode", "the image has floating-point pixels, which have no set white")
    if image.mode.startswith("I"):
        return _from_16_bit(np.asarray(image))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    bgr: Pixels = cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
    return bgr


def _from_16_bit(grey: npt.NDArray[np.integer[Any]]) -> Pixels:
    if grey.min() < 0 or grey.max() > 65535:
        raise ImageError("decode", "the image has 32-bit pixels, which have no set white")
    scaled = ((grey.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    bgr: Pixels = cv2.cvtColor(scaled, cv2.COLOR_GRAY2BGR)
    return bgr
