"""The product's own analysis, as a judge."""

from cluster.bench.stragglers.faults import KINDS
from cluster.bench.stragglers.judging import HostJudgement, Judgement
from cluster.bench.stragglers.simulator import Run


def ours(run: Run) -> Judgement:
    """What ``job.stragglers`` says."""
    return {
        host.host: HostJudgement(
            slow=host.slow,
            factor=host.factor,
            low=host.low,
            high=host.high,
            cause=next((each.kind for each in host.findings if each.kind in KINDS), None),
            since=host.since,
        )
        for host in run.analysis.hosts
    }
