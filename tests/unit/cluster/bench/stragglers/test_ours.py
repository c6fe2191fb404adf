from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.faults import Fault
from cluster.bench.stragglers.ours import ours
from cluster.bench.stragglers.simulator import simulate
from tests.unit.cluster.bench.stragglers.conftest import QUIET


def test_the_slow_host_is_judged_slow_with_its_factor() -> None:
    fault = Fault(kind="cpu-quota", host=2, factor=2.0)
    trial = simulate(Cluster(hosts=5), images=500, faults=(fault,), noise=QUIET, seed=1)
    said = ours(trial.run)
    assert {host for host, judged in said.items() if judged.slow} == {"host-0003"}
    found = said["host-0003"]
    assert found.factor is not None and found.low is not None and found.high is not None
    assert found.low <= found.factor <= found.high
    assert abs(found.factor / trial.truth["host-0003"].factor - 1) < 0.15
