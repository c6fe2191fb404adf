"""What was found of hosts and what a run would have taken otherwise, for pages and terminals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from job.stragglers.findings import COLD, FREEZE, MISCONFIGURED, SKEW, WEAK
from job.stragglers.verdict import REPLAYED
from job.stragglers.wording import duration

CARDS = REPLAYED  # stragglers told in full, those with a cost; of more, a line each
LABELS = {
    "cpu-quota": "CPU quota",
    "cpu-neighbour": "CPU neighbour",
    "link": "slow link",
    "memory": "memory short",
    "disk": "slow disk",
    "cpu-slow": "slow CPU",
    "unknown": "cause unknown",
    FREEZE: "stood still",
    MISCONFIGURED: "misconfigured",
    SKEW: "data skew",
    COLD: "cold start",
    WEAK: "weak by design",
    # Of an event log.
    "gc": "garbage collection",
    "fetch_wait": "waits for shuffle blocks",
    "shuffle_write": "slow shuffle writes",
    "cpu_wait": "waits for a CPU",
    "cpu_slow": "slow CPU",
    "held": "held tasks up",
}
IDEAL = (
    "Ideal is the work divided by the sum of the hosts' speeds: no host slow, and none ever waits"
    " for another. No plan does better."
)
_OTHERS = (MISCONFIGURED, SKEW, COLD, WEAK)  # the weightiest first


@dataclass(frozen=True, kw_only=True)
class Card:
    """A straggler: ``labels`` of its causes, and of each the evidence and the action.

    ``factor`` with its 95 % interval is None where its pace is not what makes it one, ``cost_s``
    where no replay tells it.
    """

    host: str
    labels: tuple[str, ...]
    told: tuple[tuple[str, str], ...]
    factor: float | None = None
    low: float | None = None
    high: float | None = None
    when: str = ""
    cost_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Remarks:
    """What keeps nobody waiting, of one kind: host, text and action of each."""

    kind: str
    label: str
    told: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a run takes: ``share`` percent of the longest bar, ``less`` seconds than replayed."""

    kind: str
    label: str
    seconds: float
    share: float
    less: float | None = None

    @property
    def saved(self) -> str:
        """``less`` in words; empty where it is next to nothing."""
        if self.less is None or abs(self.less) < 0.05:
            return ""
        return f"{duration(abs(self.less))} {'less' if self.less > 0 else 'more'}"


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """Bars from as it was to the least; ``replayed_s`` is what the replay makes of as it was."""

    title: str
    bars: tuple[Bar, ...]
    replayed_s: float
    notes: tuple[str, ...] = field(default=())


def cards(verdict: Mapping[str, Any]) -> tuple[Card, ...]:
    """The stragglers of report.json's ``verdict``, in its order."""
    by_host: dict[str, list[Mapping[str, Any]]] = {}
    for finding in verdict["findings"]:
        if finding["straggler"]:
            by_host.setdefault(finding["host"], []).append(finding)
    return tuple(_card(host, own) for host, own in by_host.items())


def _card(host: str, findings: Sequence[Mapping[str, Any]]) -> Card:
    slow = next((each for each in findings if each["kind"] != FREEZE), findings[0])
    return Card(
        host=host,
        labels=tuple(LABELS[each["kind"]] for each in findings),
        told=tuple((each["text"], each["action"]) for each in findings),
        **{name: slow[name] for name in ("factor", "low", "high", "cost_s")},
        when=when(slow["since_s"], slow["until_s"]),
    )


def when(since: float | None, until: float | None) -> str:
    """A stretch of a run in words: seconds from its start, None from the start, to the end."""
    if since is None and until is None:
        return "all along"
    if since is None:
        return f"until {duration(until or 0)} into the run"
    if until is None:
        return f"from {duration(since)} into the run on"
    return f"from {duration(since)} to {duration(until)} into the run"


@dataclass(frozen=True, kw_only=True)
class Marked:
    """Where a host was found slow or standing still, in seconds on the axis of report.json."""

    begin: float
    end: float
    what: str


def stretches(data: Mapping[str, Any]) -> dict[str, tuple[Marked, ...]]:
    """Of each straggler with images, when it was one, by host."""
    worked = {
        host["host"]: (host["begin_s"], host["end_s"])
        for host in data["progress"]["hosts"]
        if host["begin_s"] is not None
    }
    found: dict[str, dict[Marked, None]] = {}  # several causes of one stretch are one
    for each in data["verdict"]["findings"]:
        if each["straggler"] and each["host"] in worked:
            begin, end = worked[each["host"]]
            marked = Marked(
                begin=begin if each["since_s"] is None else each["since_s"],
                end=end if each["until_s"] is None else each["until_s"],
                what="standing still" if each["kind"] == FREEZE else "slow",
            )
            found.setdefault(each["host"], {})[marked] = None
    return {host: tuple(marks) for host, marks in found.items()}


def remarks(verdict: Mapping[str, Any]) -> tuple[Remarks, ...]:
    """What else was found, by kind."""
    return tuple(
        Remarks(kind=kind, label=LABELS[kind], told=told)
        for kind in _OTHERS
        if (
            told := tuple(
                (each["host"], each["text"], each["action"])
                for each in verdict["findings"]
                if each["kind"] == kind
            )
        )
    )


def what_if(replay: Mapping[str, Any] | None) -> WhatIf | None:
    """The replays of report.json's verdict; None without."""
    if replay is None:
        return None
    rows: list[tuple[str, str, float | None]] = []
    for host in replay["hosts"]:
        rows.append(("healed", f"{host['host']} at its peers' pace", host["healed_s"]))
        rows.append(("without", f"without {host['host']}", host["without_s"]))
    if len(replay["hosts"]) > 1:
        rows.append(("healed", "no host slow", replay["all_healed_s"]))
    rows.append(("ideal", "ideal", replay["ideal_s"]))
    return WhatIf(
        title="What if",
        bars=tuple(_bars(replay["actual_s"], replay["replayed_s"], rows)),
        replayed_s=replay["replayed_s"],
        notes=(IDEAL,),
    )


def _bars(
    actual: float, replayed: float, rows: Sequence[tuple[str, str, float | None]]
) -> Iterator[Bar]:
    known = [(kind, label, value) for kind, label, value in rows if value is not None]
    longest = max(actual, *(value for _, _, value in known), 1e-9)
    yield Bar(kind="actual", label="as it was", seconds=actual, share=100 * actual / longest)
    for kind, label, value in known:
        yield Bar(
            kind=kind,
            label=label,
            seconds=value,
            share=100 * value / longest,
            less=replayed - value,
        )


def log_cards(log: Mapping[str, Any]) -> tuple[Card, ...]:
    """The stragglers of an event log's data, the slowest first."""
    return tuple(
        Card(
            host=host["host"],
            labels=(LABELS[host["cause"]["kind"]],),
            told=((host["cause"]["text"], host["cause"]["action"]),),
            factor=host["factor"] if host["slow"] else None,
            low=host["low"],
            high=host["high"],
            cost_s=host["cost_s"],
        )
        for host in log_hosts(log)
        if host["straggler"] and host["cause"]
    )


def log_hosts(log: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The hosts of an event log's data, stragglers first."""
    return sorted(
        log["hosts"],
        key=lambda host: (not host["straggler"], not host["slow"], -(host["factor"] or 0)),
    )


def log_what_if(log: Mapping[str, Any], *, most: int) -> tuple[WhatIf, ...]:
    """The replays of an event log's stages, those with the most to gain first."""
    replayed = [stage for stage in log["stages"] if stage["what_if"]]
    replayed.sort(key=lambda stage: stage["what_if"]["all_healed"] - stage["what_if"]["replayed"])
    return tuple(_stage(stage) for stage in replayed[:most])


def _stage(stage: Mapping[str, Any]) -> WhatIf:
    replay = stage["what_if"]
    rows: list[tuple[str, str, float | None]] = []
    for host, healed in replay["healed"].items():
        rows.append(("healed", f"{host} at its peers' pace", healed))
        rows.append(("without", f"without {host}", replay["without"][host]))
    if len(replay["healed"]) != 1:
        rows.append(("healed", "no host slow", replay["all_healed"]))
    retry = f".{stage['attempt']}" if stage["attempt"] else ""
    return WhatIf(
        title=f"Stage {stage['stage']}{retry}" + (f": {stage['name']}" if stage["name"] else ""),
        bars=tuple(_bars(replay["actual"], replay["replayed"], rows)),
        replayed_s=replay["replayed"],
    )
