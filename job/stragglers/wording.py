"""Numbers as people read them."""

STAGE_NAMES = {
    "fetch": "reading",
    "decode": "decoding",
    "preprocess": "preprocessing",
    "wait": "waiting for a request",
    "infer": "inference",
    "postprocess": "post-processing",
    "emit": "writing",
}


def significant(value: float, digits: int = 2) -> str:
    """``digits`` significant digits, never fewer than the whole part has: 3.8, 0.041, 1,240."""
    if value == 0:
        return "0"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    if whole >= digits:
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return f"{float(text):f}".rstrip("0").rstrip(".") if "e" in text else text


def duration(seconds: float) -> str:
    """6.1 s, 97 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 120:
        return f"{significant(seconds)} s"
    if seconds < 7200:
        return f"{round(seconds) // 60} min {round(seconds) % 60} s"
    return f"{round(seconds / 60) // 60} h {round(seconds / 60) % 60} min"


def count(number: int, noun: str) -> str:
    """1 image, 2 images, 12,000 images."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
