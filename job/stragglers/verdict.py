"""One line a person can act on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from job.stragglers.model import MIN_IMAGES, Factor, HostFactor, compare_hosts
from job.stragglers.wording import STAGE_NAMES, count, duration, significant
from job.stragglers.work import STAGES, image_rows, numbers, stage_ms, warm

NAMED = 3  # slow hosts the line names; the rest are counted


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``text`` for people; ``straggler`` is true if any of ``hosts`` is slow."""

    text: str
    straggler: bool
    hosts: tuple[HostFactor, ...]

    @property
    def slow(self) -> str:
        """Which hosts are slow, in words; empty where none is."""
        return _slow([host for host in self.hosts if host.slow], self.hosts)

    def __post_init__(self) -> None:
        if self.straggler != any(host.slow for host in self.hosts):
            raise ValueError("straggler says the same as the hosts")


def verdict(
    timings: pa.Table,
    *,
    images: int | None = None,
    seconds: float | None = None,
    failed: int = 0,
    seed: int = 0,
) -> Verdict:
    """Say what ``timings`` (rows as in the run directory) tell about the hosts.

    ``images`` finished in ``seconds`` of wall time, as the run counted them; left out, the rows
    say it. ``failed`` images could not be processed. ``seed`` fixes the bootstrap.
    """
    rows = image_rows(timings)
    if images is None:
        images = len(rows["image_id"].unique()) if rows.num_rows else 0
    if seconds is None:
        seconds = _span(rows)
    hosts = compare_hosts(timings, seed=seed)
    return Verdict(
        text=_text(rows, hosts, images=images, seconds=seconds, failed=failed),
        straggler=any(host.slow for host in hosts),
        hosts=hosts,
    )


def _text(
    rows: pa.Table,
    hosts: tuple[HostFactor, ...],
    *,
    images: int,
    seconds: float | None,
    failed: int,
) -> str:
    if images == 0:
        others = f"; {failed:,} could not be processed." if failed else "."
        return f"No image was finished{others}"
    did = f"finished {count(images, 'image')}"
    if seconds:
        did += f" in {duration(seconds)} ({significant(images / seconds)} images/s)"
    if not hosts:
        return f"The run {did}; no timings were kept, so there is nothing to compare."
    most = _most_work(rows)
    if len(hosts) == 1:
        return f"{hosts[0].host} {did}{most}; one host, so no straggler to find."
    did = f"{len(hosts)} hosts {did}"
    slow = _slow([host for host in hosts if host.slow], hosts)
    return f"{slow}; {did}." if slow else _none_slow(hosts, did=f"{did}{most}")


def _none_slow(hosts: tuple[HostFactor, ...], *, did: str) -> str:
    worst = max(hosts, key=lambda host: host.factor or 0)
    if worst.factor is None:
        return (
            f"{did}; fewer than two of them have the {MIN_IMAGES} images outside warm-up that a "
            "comparison takes."
        )
    return f"{none_slow(worst, per='image', what=count(worst.images, 'image'))}; {did}."


def _slow(slow: list[HostFactor], hosts: tuple[HostFactor, ...]) -> str:
    if not slow:
        return ""
    slow = sorted(slow, key=lambda host: -(host.factor or 0))
    stage = slow[0].stage
    detail = f", most of it in {STAGE_NAMES[stage]}" if stage else ""
    return slow_hosts(slow, [host.host for host in hosts], detail=detail)


def slow_hosts(slow: Sequence[Factor], hosts: Sequence[str], *, detail: str = "") -> str:
    """That the first of ``slow``, the slowest first, is slower than its peers, and who else is.

    ``hosts`` are all that were compared; ``detail`` follows the first one's interval.
    """
    first = slow[0]
    assert first.factor is not None and first.low is not None and first.high is not None
    peers = [host for host in hosts if host != first.host]
    text = f"{first.host} is {first.factor:.2f}x slower than "
    text += peers[0] if len(peers) == 1 else "its peers"
    text += f" (95 % interval {first.low:.2f} to {first.high:.2f}{detail})"
    for other in slow[1:NAMED]:
        text += f", {other.host} {other.factor:.2f}x"
    return text + (f", and {len(slow) - NAMED} more" if len(slow) > NAMED else "")


def none_slow(worst: Factor, *, per: str, what: str) -> str:
    """That no host is slow for certain; the ``worst`` took most ``per`` image, say.

    ``what`` are those it was judged by, as in "10 images".
    """
    assert worst.factor is not None and worst.low is not None and worst.high is not None
    if worst.suspect:
        return (
            f"No straggler for certain: {worst.host} looks {worst.factor:.2f}x slower than its "
            f"peers, but its {what} leave {worst.low:.2f}x to {worst.high:.2f}x open"
        )
    return (
        f"No straggler: the slowest host, {worst.host}, takes {round((worst.factor - 1) * 100)} % "
        f"longer per {per} than its peers (95 % interval {worst.low:.2f}x to {worst.high:.2f}x)"
    )


def _most_work(rows: pa.Table) -> str:
    """The stage that takes most of the work, as a clause; nothing where none was measured."""
    stages = stage_ms(rows)
    if warm(rows).any():
        stages = stages[warm(rows)]
    measured = ~np.isnan(stages).all(axis=0)
    means = np.zeros(len(STAGES))
    means[measured] = np.nanmean(stages[:, measured], axis=0)
    top = int(np.argmax(means))
    if means[top] <= 0:
        return ""
    return f"; {STAGE_NAMES[STAGES[top]]} takes {means[top] / means.sum() * 100:.0f} % of the work"


def _span(rows: pa.Table) -> float | None:
    """Wall seconds from the first start to the last end, where the rows hold starts."""
    starts = numbers(rows, "started_at")
    starts_known = ~np.isnan(starts)
    if not starts_known.any():
        return None
    ends = starts + np.nan_to_num(numbers(rows, "total_ms")) / 1000
    return float(ends[starts_known].max() - starts[starts_known].min())
