"""Numbers as people read them."""

DASH = "\N{EN DASH}"  # where there is no number

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
    """``digits`` significant digits, and all of the whole part: 3.8, 0.041, 2.0, 1,240."""
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # once rounded: 9.97 is 10
    return f"{value:,.{max(digits - 1 - exponent, 0)}f}"


def duration(seconds: float) -> str:
    """6.1 s, 97 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 120:
        return f"{significant(seconds)} s"
    if seconds < 7200:
        return f"{round(seconds) // 60} min {round(seconds) % 60} s"
    return f"{round(seconds / 60) // 60} h {round(seconds / 60) % 60} min"


def percent(share: float) -> str:
    """A share of 0.125 as 12 %."""
    return f"{significant(100 * share)} %"


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def count(number: int, noun: str) -> str:
    """1 image, 2 images, 12,000 images."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
