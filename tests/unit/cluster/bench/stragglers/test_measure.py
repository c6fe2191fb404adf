import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from cluster.bench.stragglers import forecasts, simulator
from cluster.bench.stragglers.capacity import Cluster
from cluster.bench.stragglers.faults import Fault
from cluster.bench.stragglers.measure import (
    JUDGES,
    OURS,
    RECORDED,
    SIMULATED,
    by_kind,
    judge,
    tables,
)
from cluster.bench.stragglers.scoring import HostOutcome, Outcome
from cluster.bench.stragglers.trials import Spec, specs
from cluster.cli import main
from job.stragglers.findings import Analysis, analyse
from tests.unit.cluster.bench.stragglers.conftest import QUIET
from tests.unit.cluster.bench.stragglers.test_traces import order, trace

SMALL = 69  # the seed whose first five trials have the fewest images


def test_the_command_prints_figures_of_ours_beside_those_of_others(tmp_path: Path) -> None:
    words = ["bench", "stragglers", "--trials", "5", "--seed", str(SMALL), "--processes", "1"]
    words += ["--traces", str(tmp_path)]
    for number in (1, 2):
        trace(f"0{number - 1}-clean").write(tmp_path)
    fault = Fault(kind="cpu-quota", host=1, factor=2.0)
    trace("01-cpu-quota", fault, ordered=(order(0.0),)).write(tmp_path)
    done = CliRunner().invoke(main, [*words, "--format", "json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["bench"] == "stragglers"
    assert {"host_recall", "cause_macro_f1"} <= {*result["figures"]}
    recorded = [row for row in result["rows"] if row["data"] == RECORDED]
    assert {row["kind"] for row in recorded if "kind" in row} == {"cpu-quota"}
    (error,) = (
        row["value"]
        for row in recorded
        if (row.get("judge"), row.get("figure")) == (OURS, "slowdown_error_median")
    )
    assert result["figures"]["slowdown_error_real"] == error
    assert {*result["targets"]} >= {"host_precision", "false_alarms_per_100"}
    rows = [row for row in result["rows"] if "judge" in row]
    assert {row["judge"] for row in rows} == {*JUDGES}
    assert all(row["low"] <= row["value"] <= row["high"] and row["of"] > 0 for row in rows)
    named = {row["judge"] for row in rows if row["figure"] == "cause_macro_f1"}
    assert named == {OURS}


def test_a_trial_gives_the_same_outcomes_again() -> None:
    spec = next(iter(specs(1, seed=SMALL)))
    assert judge(spec, QUIET) == judge(spec, QUIET)
    assert {*judge(spec, QUIET).outcomes} == {*JUDGES}


def test_a_whole_run_is_analysed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Fault(kind="cpu-quota", host=1, factor=2.0)
    cluster = Cluster(hosts=3, cpus=(1.0,), lab=True)
    spec = Spec(cluster=cluster, images=120, faults=(fault,), seed=1)
    seen: list[int] = []

    def counted(timings: pa.Table, *rest: Any) -> Analysis:
        seen.append(timings.num_rows)
        return analyse(timings, *rest)

    for module in (simulator, forecasts):
        monkeypatch.setattr(module, "analyse", counted)
    judged = judge(spec, QUIET)
    assert judged.what_if_error is not None and judged.verdict_at is not None
    assert seen.count(max(seen)) == 1


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


def test_tables_have_a_line_for_each_judge_and_a_column_for_each_kind_of_data() -> None:
    figure = {"value": 0.5, "low": 0.25, "high": 0.75, "of": 12}
    first, second = tables(
        [
            {"judge": OURS, "data": SIMULATED, "figure": "host_recall", **figure},
            {"judge": "LATE", "data": SIMULATED, "figure": "host_recall", **figure, "of": 3},
            {"judge": "LATE", "data": RECORDED, "figure": "host_recall", **figure, "of": 4},
            {"kind": "link", "data": RECORDED, "hosts": 2},
        ]
    )
    assert [row["figure"] for row in first] == ["host_recall", f"  {OURS}", "  LATE"]
    assert first[1][SIMULATED] == "0.500 (0.250 to 0.750; 12)"
    assert first[1][RECORDED] == "-"
    assert first[2][SIMULATED] == "0.500 (0.250 to 0.750; 3)"
    assert first[2][RECORDED] == "0.500 (0.250 to 0.750; 4)"
    assert second == [{"fault, recorded": "link", "hosts": 2}]
