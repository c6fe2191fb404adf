import dataclasses

import numpy as np
import pytest

from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.simulator import simulate
from tests.unit.cluster.bench.stragglers.conftest import QUIET


@pytest.mark.parametrize("fields", [{"hosts": 0}, {"hosts": 2, "cpus": (0.5,), "lab": False}])
def test_a_cluster_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="has"):
        Cluster(**fields)  # type: ignore[arg-type]


def test_hosts_have_their_cpus_by_turns_less_what_daemons_take() -> None:
    cluster = Cluster(hosts=4, cpus=(1.0, 2.0, 4.0), lab=False)
    assert cluster.quota.tolist() == [1, 2, 4, 1]
    assert cluster.threads.tolist() == [1, 2, 4, 1] and cluster.streams.tolist() == [1, 1, 2, 1]
    np.testing.assert_allclose(cluster.cpus_for_job(QUIET), cluster.quota - QUIET.daemon_cpus)
    # 100 images of 0.6 s on 7.7 CPUs.
    assert cluster.ideal_s(100, QUIET) == pytest.approx(60 / 7.7)
    assert not cluster.even and Cluster(hosts=2, cpus=(4.0,)).even


def test_daemons_leave_the_smallest_host_something() -> None:
    noise = dataclasses.replace(QUIET, daemon_cpus=0.6)
    assert Cluster(hosts=1, cpus=(0.25,)).cpus_for_job(noise)[0] == pytest.approx(0.05)
    trial = simulate(Cluster(hosts=2, cpus=(0.25, 1.0)), images=60, noise=noise)
    assert set(trial.run.timings["host"].to_pylist()) == {"host-0001", "host-0002"}


def test_a_host_cannot_use_more_cpus_than_it_has_threads_for() -> None:
    # 1.4 CPUs are one thread, and another lane for what is not inference.
    cluster = Cluster(hosts=1, cpus=(1.4,))
    assert cluster.cpus_for_job(QUIET)[0] == pytest.approx(1.23)
