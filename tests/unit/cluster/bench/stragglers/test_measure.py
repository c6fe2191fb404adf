import json

from click.testing import CliRunner

from cluster.bench.stragglers.measure import JUDGES, OURS, by_kind, judge, tables
from cluster.bench.stragglers.scoring import HostOutcome, Outcome
from cluster.bench.stragglers.trials import specs
from cluster.cli import main
from tests.unit.cluster.bench.stragglers.conftest import QUIET

SMALL = 69  # the seed whose first five trials have the fewest images


def test_the_command_prints_figures_of_ours_beside_those_of_others() -> None:
    words = ["bench", "stragglers", "--trials", "5", "--seed", str(SMALL), "--processes", "1"]
    done = CliRunner().invoke(main, [*words, "--format", "json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["bench"] == "stragglers"
    assert {"host_recall", "cause_macro_f1"} <= {*result["figures"]}
    assert {*result["targets"]} >= {"host_precision", "false_alarms_per_100"}
    rows = [row for row in result["rows"] if "judge" in row]
    assert {row["judge"] for row in rows} == {*JUDGES}
    assert all(row["low"] <= row["value"] <= row["high"] and row["of"] > 0 for row in rows)
    named = {row["judge"] for row in rows if row["figure"] == "cause_macro_f1"}
    assert named == {OURS}


def test_a_trial_gives_the_same_outcomes_again() -> None:
    spec = next(iter(specs(1, seed=SMALL)))
    assert judge(spec, QUIET) == judge(spec, QUIET)
    assert {*judge(spec, QUIET)} == {*JUDGES}


def of_hosts(*hosts: HostOutcome) -> Outcome:
    return Outcome(hosts=hosts, wrong=(), wrongly_slow=0, clean=False, even=True)


def host(*kinds: str, factor: float = 2.0, slow: bool = True, said: str = "clean") -> HostOutcome:
    return HostOutcome(kinds=kinds, factor=factor, slow=slow, said=said, error=None, onset_s=None)


def test_kinds_are_shown_by_what_each_judge_finds_of_them() -> None:
    cold = host("cold", factor=1.0)
    ours = of_hosts(
        host("link", said="link"),
        host("link", slow=False),
        host("link", factor=1.2),
        host("link", "disk"),
        cold,
    )
    late = of_hosts(host("link"), host("link"), cold)
    rows = by_kind({OURS: [ours], "LATE": [late]})
    assert [(row["kind"], row["hosts"]) for row in rows] == [("cold", 1), ("link", 2)]
    assert (rows[1][OURS], rows[1]["named"], rows[1]["LATE"]) == (0.5, 0.5, 1.0)


def test_tables_have_a_column_for_each_judge() -> None:
    figure = {"value": 0.5, "low": 0.25, "high": 0.75, "of": 12}
    first, second = tables(
        [
            {"judge": OURS, "figure": "host_recall", **figure},
            {"judge": "LATE", "figure": "host_recall", **figure, "of": 3},
            {"kind": "link", "hosts": 2},
        ]
    )
    assert first[0][OURS] == "0.5 (0.25 to 0.75; 12)"
    assert first[0]["LATE"] == "0.5 (0.25 to 0.75; 3)"
    assert first[0]["Sparklens"] == "-"
    assert second == [{"kind": "link", "hosts": 2}]
