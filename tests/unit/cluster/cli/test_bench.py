import json

from tests.unit.cluster.cli.conftest import Cluster


def test_json_is_one_object_with_figures_and_targets(cluster: Cluster) -> None:
    done = cluster("bench", "accuracy", "--scenes", 3, "--format", "json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"bench", "machine", "rows", "figures", "targets"} <= result.keys()
    assert result["bench"] == "accuracy"
    assert 0 < result["figures"]["mask_ap50_fp32"] <= 1
    assert result["targets"]["mask_ap50_fp32"] == [">=", 0.8]


def test_assert_fails_the_command_where_a_target_is_missed(cluster: Cluster) -> None:
    measured = json.loads(cluster("bench", "accuracy", "--scenes", 1, "--format", "json").stdout)
    figures, targets = measured["figures"], measured["targets"]
    reached = all(
        figures[name] >= bound if sign == ">=" else figures[name] <= bound
        for name, (sign, bound) in targets.items()
    )
    done = cluster("bench", "accuracy", "--scenes", 1, "--assert")
    assert done.returncode == (0 if reached else 1)
    assert ("to reach" in done.stderr) is not reached
