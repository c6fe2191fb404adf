"""The pages' templates: one look, and one file each that opens offline."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jinja2

from job.report import charts
from job.report.cards import CARDS, IDEAL
from job.stragglers import STAGES
from job.stragglers.wording import DASH, STAGE_NAMES, count, duration, significant

ROWS = 200  # of a table on a page; the JSON holds all
MESSAGE = 300  # characters of an error's text or an image's name


def fill(template: str, values: Mapping[str, Any]) -> str:
    """The page. Every value is escaped: names of images and hosts are anybody's."""
    page = _environment().get_template(template).render(**values)
    # A name that is no text (a lone surrogate) can be shown, not encoded.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("job.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        rows_shown=ROWS,
        cards_shown=CARDS,
        ideal=IDEAL,
        names=STAGE_NAMES,
        work_stages=STAGES,
        segments=charts.stage_segments,
    )
    environment.filters.update(
        ms=lambda value: _unbroken(charts.milliseconds(value)),
        duration=lambda value: DASH if value is None else _unbroken(duration(value)),
        number=_number,
        percent=lambda share: DASH if share is None else f"{_number(100 * share)} %",
        size=_size,
        moment=_moment,
        short=lambda text: text if len(text) <= MESSAGE else text[: MESSAGE - 1] + "…",
        count=count,
        upper_first=lambda text: text[:1].upper() + text[1:],
        plain=json.dumps,
        commands=lambda text: list(_commands(text)),
    )
    return environment


def _commands(text: str) -> Iterator[dict[str, Any]]:
    """The parts of TEXT, and whether each is a command, which stands between backquotes."""
    for number, part in enumerate(text.split("`")):
        command = number % 2 == 1
        if part:
            told = part if command else part.replace(" %", "\N{NO-BREAK SPACE}%")
            yield {"text": told, "command": command}


def _unbroken(text: str) -> str:
    """No line break between a number and its unit."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _number(value: float | None, digits: int = 2) -> str:
    return DASH if value is None else significant(value, digits)


def _size(value: float | None) -> str:
    """Bytes as kB or MB."""
    if value is None:
        return DASH
    return f"{significant(value / 1e3)} kB" if value < 1e6 else f"{significant(value / 1e6)} MB"


def _moment(epoch: float | None) -> str:
    if epoch is None:
        return DASH
    return datetime.fromtimestamp(epoch, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
