"""One line a person can act on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from job.stragglers.findings import COLD, MISCONFIGURED, SKEW, HostFactor, analyse, worst_first
from job.stragglers.model import SLOW_AT_LEAST, Factor
from job.stragglers.stretches import LEAST_IMAGES
from job.stragglers.whatif import WhatIf, what_if
from job.stragglers.wording import STAGE_NAMES, count, duration, sentence, significant
from job.stragglers.work import STAGES, image_rows, numbers, stage_ms, warm

NAMED = 3  # slow hosts the line names; the rest are counted
REPLAYED = 5  # of those that lost most
NO_SAMPLES = pa.table({"host": pa.array([], pa.string()), "at": pa.array([], pa.float64())})


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``text`` for people; ``straggler`` is true if any of ``hosts`` kept others waiting.

    ``what_if`` is there where one did, and the rows tell times.
    """

    text: str
    straggler: bool
    hosts: tuple[HostFactor, ...]
    what_if: WhatIf | None = None

    @property
    def slow(self) -> str:
        """Which hosts are stragglers, in words; empty where none is."""
        return _stragglers(self.hosts)

    def __post_init__(self) -> None:
        if self.straggler != any(host.straggler for host in self.hosts):
            raise ValueError("straggler says the same as the hosts")


def verdict(
    timings: pa.Table,
    *,
    samples: pa.Table | None = None,
    record: Mapping[str, Any] | None = None,
    images: int | None = None,
    seconds: float | None = None,
    failed: int = 0,
) -> Verdict:
    """Say what ``timings`` (rows as in the run directory) tell about the hosts.

    ``samples`` (rows of hosts.parquet) and ``record`` (run.json, or the part of it that is known)
    tell why. ``images`` finished in ``seconds`` of wall time, as the run counted them; left out,
    the rows say it. ``failed`` images could not be processed.
    """
    rows = image_rows(timings)
    if images is None:
        images = len(rows["image_id"].unique()) if rows.num_rows else 0
    if seconds is None:
        seconds = _span(rows)
    record = record or {}
    analysis = analyse(
        timings,
        NO_SAMPLES if samples is None else samples,
        record,
        (record.get("options") or {}).get("speeds") or {},
    )
    hosts = analysis.hosts
    found = _worst_first(hosts)
    replay = what_if(timings, analysis, [host.host for host in found[:REPLAYED]]) if found else None
    text = _text(rows, hosts, replay, images=images, seconds=seconds, failed=failed)
    return Verdict(text=text, straggler=bool(found), hosts=hosts, what_if=replay)


def _worst_first(hosts: Sequence[HostFactor]) -> list[HostFactor]:
    return worst_first(host for host in hosts if host.straggler)


def _text(
    rows: pa.Table,
    hosts: tuple[HostFactor, ...],
    replay: WhatIf | None,
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
    found = _worst_first(hosts)
    if not found:
        return f"{_none_slow(hosts, did=f'{did}{most}')}{_also(hosts)}"
    first = found[0]
    causes = [cause for cause in first.findings if cause.straggler]
    told = " and ".join(cause.text for cause in causes)
    lost = ""
    if replay and first.host in replay.healed and (cost := replay.cost_s(first.host)) >= 1:
        lost = f"; it cost {duration(cost)} of {duration(replay.actual)} of work"
    headline = _stragglers(hosts) if first.slow else _names(found)
    if sum(host.slow for host in found) > 1:  # what is told is of the first
        headline += f". {first.host}"
    return f"{headline}: {told}{lost}. {sentence(causes[0].action)} The {did}."


def _stragglers(hosts: Sequence[HostFactor]) -> str:
    found = _worst_first(hosts)
    if not found:
        return ""
    first = found[0]
    if not first.slow:
        return f"{_names(found)} stood still"
    detail = f", since {_clock(first.since)}" if first.since else ""
    return slow_hosts([host for host in found if host.slow], _compared(hosts), detail=detail)


def _compared(hosts: Sequence[HostFactor]) -> list[str]:
    return [host.host for host in hosts if host.images >= LEAST_IMAGES]


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"


def _names(found: Sequence[HostFactor]) -> str:
    more = f", and {len(found) - NAMED} more," if len(found) > NAMED else ""
    return ", ".join(host.host for host in found[:NAMED]) + more


def _also(hosts: Sequence[HostFactor]) -> str:
    """The first of what else there is to say, the weightiest kind first."""
    for kind in (MISCONFIGURED, SKEW, COLD):
        for host in hosts:
            for finding in host.findings:
                if finding.kind == kind:
                    return f" {host.host}: {finding.text}. {sentence(finding.action)}"
    return ""


def _none_slow(hosts: tuple[HostFactor, ...], *, did: str) -> str:
    worst = max(hosts, key=lambda host: host.factor or 0)
    if worst.factor is None or len(_compared(hosts)) < 2:
        return (
            f"{did}; fewer than two of them have the {LEAST_IMAGES:g} images outside warm-up that a"
            " comparison takes."
        )
    if worst.suspect and worst.low is not None and worst.low > SLOW_AT_LEAST:
        return (
            f"Cannot tell: {worst.host} looks {worst.factor:.2f}x slower than its peers, and no"
            f" counter tells why; {did}. Run it again, longer, and see whether it is so again."
        )
    return f"{none_slow(worst, per='image', what=count(worst.images, 'image'))}; {did}."


def slow_hosts(slow: Sequence[Factor], hosts: Sequence[str], *, detail: str = "") -> str:
    """That the first of ``slow``, the worst first, is slower than its peers, and who else is.

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
    longer = max(0, round((worst.factor - 1) * 100))
    return (
        f"No straggler: the slowest host, {worst.host}, takes {longer} % longer per {per} than its "
        f"peers (95 % interval {worst.low:.2f}x to {worst.high:.2f}x)"
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
