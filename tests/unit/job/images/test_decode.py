import pickle
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from job.images.decode import ImageError, decode
from tests.unit.job.images.image_files import encode, noise, png_of_size

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

HEIGHT, WIDTH = 48, 64
RED, WHITE = (0, 0, 255), (255, 255, 255)


def photograph():
    """RGB, with structure that survives compression and no symmetry that hides a turn."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [rows * 5, columns * 4, (rows + columns) * 2]
    return Image.fromarray(np.stack(planes, axis=2).clip(0, 255).astype(np.uint8))


def bgr(image):
    return np.asarray(image.convert("RGB"))[:, :, ::-1]


def assert_shows(payload, expected, tolerance=0):
    pixels = decode(payload)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 16),
        ("JPEG", {"quality": 95, "progressive": True}, 16),
        ("MPO", {"quality": 95}, 16),
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("DIB", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("PPM", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG2000", {}, 0),
        ("AVIF", {"quality": 95}, 16),
    ],
)
def test_every_format(kind, options, tolerance):
    image = photograph()
    assert_shows(encode(image, kind, **options), bgr(image), tolerance)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpegs_as_opencv_decodes_them(options):
    payload = encode(photograph(), "JPEG", **options)
    assert_shows(payload, cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR))


def test_a_video_frame_passes_as_it_is():
    frame = noise(4, 6)
    assert decode(frame) is frame


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind):
    image = photograph()
    assert_shows(encode(image.convert("CMYK"), kind, quality=95), bgr(image), 16)


def test_cmyk_without_the_mark_of_adobe():
    """Few programs write such files; like Adobe's they hold inverted ink."""
    payload = encode(photograph().convert("CMYK"), "JPEG", quality=95)
    at = payload.index(b"\xff\xee")
    assert payload[at + 4 : at + 9] == b"Adobe"
    (length,) = struct.unpack(">H", payload[at + 2 : at + 4])
    plain = payload[:at] + payload[at + 2 + length :]
    assert_shows(plain, bgr(photograph()), 16)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "PPM"])
def test_grey(kind):
    image = photograph().convert("L")
    assert_shows(encode(image, kind), bgr(image), 2)


def test_black_and_white():
    image = photograph().convert("1")
    expected = bgr(image)
    assert set(np.unique(expected)) == {0, 255}
    assert_shows(encode(image, "PNG"), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_grey_is_scaled(suffix):
    levels = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    payload = cv2.imencode(suffix, levels)[1].tobytes()
    expected = np.repeat(np.round(levels / 257)[:, :, None], 3, axis=2)
    assert_shows(payload, expected, 1)
    assert decode(payload).max() == 255


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_colour_is_scaled(suffix):
    levels = np.linspace(0, 65535, 8 * 8 * 3).astype(np.uint16).reshape(8, 8, 3)
    assert_shows(cv2.imencode(suffix, levels)[1].tobytes(), np.round(levels / 257), 1)


def test_a_palette():
    image = photograph().quantize(16)
    assert_shows(encode(image, "PNG"), bgr(image))


def test_transparent_parts_show_white():
    image = Image.new("RGBA", (3, 1))
    for column, alpha in enumerate((0, 128, 255)):
        image.putpixel((column, 0), (255, 0, 0, alpha))
    expected = np.array([[WHITE, (127, 127, 255), RED]])
    for kind in ("PNG", "TIFF", "WEBP"):
        assert_shows(encode(image, kind, lossless=True), expected, 1)


def test_a_transparent_palette_colour_shows_white():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        assert_shows(encode(image, kind, transparency=1), np.array([[RED, WHITE]]))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_of_several_frames(kind):
    size = (16, 16)
    later = [Image.new("RGB", size, colour) for colour in ("lime", "blue")]
    payload = encode(
        Image.new("RGB", size, "red"), kind, save_all=True, append_images=later, lossless=True
    )
    assert_shows(payload, np.full((16, 16, 3), RED), 2)


# How the stored picture is turned to become upright (EXIF 2.32, tag 0x0112), in numpy's words.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
    9: lambda stored: stored,  # no such orientation
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    payload = encode(photograph(), kind, exif=exif, quality=95, lossless=True)
    assert_shows(payload, UPRIGHT[orientation](bgr(photograph())), 16)


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12rubbish", b"Exif\0\0??"])
def test_damaged_exif_leaves_the_picture(exif):
    assert_shows(encode(photograph(), "JPEG", exif=exif, quality=95), bgr(photograph()), 16)


def bad_payloads():
    photo = Image.fromarray(noise(200, 300))
    jpeg = encode(photo, "JPEG")
    size_at = jpeg.index(b"\xff\xc0") + 5
    floats = np.ones((4, 4), np.float32)
    wide = Image.fromarray(np.full((4, 4), 100_000, np.int32))
    corrupt = bytearray(encode(photo, "PNG"))
    corrupt[1000:1100] = bytes(100)
    entries = [(256, 4), (257, 4), (258, 8), (262, 2), (277, 60_000)]  # 277: samples a pixel
    table = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in entries)
    many = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4)
    return {
        "empty": (b"", "empty"),
        "text": (b"To be, or not to be: that is the question.\n" * 20, "no known image"),
        "another program's format": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no kn"),
        "zero wide": (png_of_size(0, 5), "0 pixels"),
        "zero high": (jpeg[:size_at] + bytes(2) + jpeg[size_at + 2 :], "0 pixels"),
        "bomb": (png_of_size(50_000, 50_000), "178,956,970 pixels"),
        "bomb just above": (png_of_size(178_956_971, 1), "178,956,970 pixels"),
        "no bomb but cut": (png_of_size(9_500, 9_500), "cut short"),  # Pillow warns of this size
        "JPEG of one byte": (jpeg[:1], "no known image"),
        "JPEG without picture": (jpeg[:100], ""),
        "half a JPEG": (jpeg[: len(jpeg) // 2], "cut short"),
        "JPEG less its end": (jpeg[:-500], "cut short"),
        "corrupt PNG": (bytes(corrupt), "damaged"),
        "too many samples": (many, "no known image"),
        "floats": (cv2.imencode(".tif", floats)[1].tobytes(), "floating-point"),
        "32 bits": (encode(wide, "TIFF"), "32-bit"),
        **{
            f"half a {kind}": (encode(photo, kind)[: len(encode(photo, kind)) // 2], "")
            for kind in ("PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")
        },
    }


BAD = bad_payloads()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_one_sentence(name):
    payload, words = BAD[name]
    with pytest.raises(ImageError) as caught:
        decode(payload)
    assert caught.value.stage == "decode"
    assert words in caught.value.message
    assert "\n" not in str(caught.value)


def test_random_damage_raises_nothing_else():
    random = np.random.default_rng(7)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000"):
        whole = encode(Image.fromarray(noise(40, 60)), kind)
        for _ in range(25):
            damaged = bytearray(whole)
            for at in random.integers(0, len(whole), 12):
                damaged[at] = random.integers(0, 256)
            try:
                assert decode(bytes(damaged)).ndim == 3
            except ImageError as error:
                assert error.stage == "decode"


def test_nothing_is_printed(tmp_path):
    """Of bad files Pillow warns and logs, OpenCV and FFmpeg print: not in a job's output."""
    exif = Image.Exif()
    exif[0x0112] = 6
    half_exif = b"Exif\0\0" + exif.tobytes()[:-6]
    half_known = encode(photograph(), "JPEG", exif=half_exif)
    for number, payload in enumerate([half_known, *(bad for bad, _ in BAD.values())]):
        (tmp_path / f"{number}.jpg").write_bytes(payload)
        (tmp_path / f"{number}.mp4").write_bytes(payload)
    script = """
import sys
from job.images.decode import ImageError, decode
from job.images.source import Reader, list_images
reader = Reader()
for ref in list_images(sys.argv[1]).images:
    try:
        decode(reader.fetch(ref))
    except ImageError as error:
        print(error)
"""
    root = Path(__file__).parents[4]
    command = [sys.executable, "-W", "always", "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) > len(BAD)


def test_the_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(ImageError("read", "the file is gone")))
    assert (error.stage, error.message, str(error)) == ("read", *["the file is gone"] * 2)
