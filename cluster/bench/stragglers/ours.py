"""The product's own analysis, as a judge."""

from cluster.bench.stragglers.judging import HostJudgement, Judgement
from cluster.bench.stragglers.simulator import Run
from job.stragglers import verdict


def ours(run: Run) -> Judgement:
    """What ``job.stragglers`` says; it names no causes yet."""
    return {
        host.host: HostJudgement(slow=host.slow, factor=host.factor, low=host.low, high=host.high)
        for host in verdict(run.timings).hosts
    }
