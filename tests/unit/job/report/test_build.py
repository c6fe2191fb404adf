import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import job.report
from job.errors import UsageError
from job.report import Report, build, write
from job.stragglers import STAGES
from tests.unit.job.report.conftest import MakeRun, MakeTimings, Trouble

SCHEMAS = Path(job.report.__file__).parent
THREE = ["node1", "node2", "node3"]


def valid(report: Report) -> dict[str, Any]:
    """The data as a reader of report.json gets it, checked against the schema."""
    schema = json.loads((SCHEMAS / "report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    data: dict[str, Any] = json.loads(json.dumps(report.data, allow_nan=False))
    jsonschema.validate(data, schema, jsonschema.Draft202012Validator)
    return data


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    index = table.column_names.index(name)
    return table.set_column(index, name, pa.array(values).cast(table.schema.field(name).type))


def without(table: pa.Table, *names: str) -> pa.Table:
    for name in names:
        table = replaced(table, name, pa.nulls(table.num_rows))
    return table


def error(number: int, stage: str = "decode") -> dict[str, str]:
    return {"image": f"bad{number}.jpg", "stage": stage, "message": "not an image"}


def test_the_test_runs_keep_the_contract_of_run_json(make_run: MakeRun) -> None:
    schema = json.loads((SCHEMAS / "run.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    run = json.loads((make_run(THREE) / "run.json").read_text())
    jsonschema.validate(run, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**run, "surprise": 1}, schema)


def test_one_host_has_nothing_to_be_compared_with(make_run: MakeRun) -> None:
    report = build(make_run(images=24))
    data = valid(report)
    assert report.text == data["verdict"]["text"]
    assert report.text.startswith("laptop finished 24 images in 40 s (0.60 images/s); inference")
    assert "one host" in report.text
    assert (data["verdict"]["straggler"], data["verdict"]["hosts"]) == (False, [])
    assert data["hosts"][0]["factor"] is None
    assert data["summary"]["images_per_second"] == 0.6
    assert data["summary"]["first_image_s"] == 9.0
    assert data["notes"] == []


def test_a_slow_host_is_named_with_its_factor(make_run: MakeRun) -> None:
    report = build(make_run(THREE, 180, slow={"node3": 1.9}))
    data = valid(report)
    assert data["verdict"]["straggler"] and data["verdict"]["hosts"] == ["node3"]
    assert report.verdict.straggler and report.text.startswith("node3 is 1.")
    hosts = {host["host"]: host for host in data["hosts"]}
    assert [host["slow"] for host in hosts.values()] == [False, False, True]
    # 240 of 268 ms take 1.9 times as long.
    assert hosts["node3"]["factor"] == pytest.approx(1.8, abs=0.06)
    assert hosts["node3"]["factor_low"] < hosts["node3"]["factor"] < hosts["node3"]["factor_high"]


def test_a_finding_says_when_on_the_axis_of_the_run(make_cluster: MakeRun) -> None:
    troubles = {"node2": Trouble(slow=1.9, slow_from=35), "node3": Trouble(frozen=(30, 52))}
    data = valid(build(make_cluster(5, tasks=90, images=12, **troubles)))
    slow, frozen = data["verdict"]["findings"]
    assert (slow["host"], slow["kind"], slow["straggler"]) == ("node2", "cpu-quota", True)
    assert slow["since_s"] == pytest.approx(35, abs=3) and slow["until_s"] is None
    assert slow["since"] == pytest.approx(data["timeline"]["origin"] + slow["since_s"], abs=0.01)
    assert slow["low"] < slow["factor"] < slow["high"]
    assert slow["factor"] == pytest.approx(1.9, abs=0.15)
    assert (frozen["host"], frozen["kind"], frozen["factor"]) == ("node3", "freeze", None)
    assert (frozen["since_s"], frozen["until_s"]) == pytest.approx((30, 52), abs=1.1)
    costs = {host["host"]: host["cost_s"] for host in data["verdict"]["what_if"]["hosts"]}
    assert costs == {finding["host"]: finding["cost_s"] for finding in (slow, frozen)}
    assert min(costs.values()) > 1


def test_what_is_no_straggler_has_no_figures(make_run: MakeRun) -> None:
    run_dir = make_run(THREE, 180)
    run = json.loads((run_dir / "run.json").read_text())
    run["workers"][1]["threads"] = 64
    (run_dir / "run.json").write_text(json.dumps(run))
    verdict = valid(build(run_dir))["verdict"]
    (finding,) = verdict["findings"]
    assert (finding["kind"], finding["straggler"]) == ("misconfigured", False)
    figures = ("factor", "low", "high", "since", "until", "since_s", "until_s", "cost_s")
    assert {finding[name] for name in figures} == {None}
    assert verdict["what_if"] is None and not verdict["straggler"]


@pytest.mark.parametrize("hosts", [THREE[:2], THREE])
def test_equal_hosts_are_healthy(make_run: MakeRun, hosts: list[str]) -> None:
    data = valid(build(make_run(hosts, 60 * len(hosts))))
    assert not data["verdict"]["straggler"]
    assert data["verdict"]["text"].startswith("No straggler")
    assert [host["images"] for host in data["hosts"]] == [60] * len(hosts)
    assert all(0.9 < host["factor"] < 1.1 for host in data["hosts"])


def test_warm_up_is_kept_out_of_the_medians(make_run: MakeRun, make_timings: MakeTimings) -> None:
    table = make_timings(["laptop"], 24)
    data = valid(build(make_run(timings=table)))
    infer, warmup = table["infer_ms"].to_numpy(), table["warmup"].to_numpy(zero_copy_only=False)
    row = {row["stage"]: row for row in data["stages"]["rows"]}["infer"]
    assert data["stages"]["basis"] == "steady" and data["stages"]["images"] == 23
    assert row["median_ms"] == pytest.approx(np.median(infer[~warmup]), abs=1e-3)
    assert row["p90_ms"] == pytest.approx(np.percentile(infer[~warmup], 90), abs=1e-3)
    apart = {row["stage"]: row for row in data["stages"]["warmup"]["rows"]}["infer"]
    assert apart["median_ms"] == pytest.approx(infer[0], abs=1e-3)
    assert data["hosts"][0]["images"] == 24, "a first image is a finished image all the same"


def test_shares_are_of_the_work_and_waiting_is_none(make_run: MakeRun) -> None:
    rows = {row["stage"]: row for row in valid(build(make_run()))["stages"]["rows"]}
    assert sum(rows[stage]["share"] for stage in STAGES) == pytest.approx(1, abs=1e-4)
    assert rows["infer"]["share"] == pytest.approx(0.9, abs=0.02)
    assert rows["wait"]["share"] is None and rows["wait"]["median_ms"] > 0


def test_every_executor_of_a_host_has_its_row(make_run: MakeRun, make_timings: MakeTimings) -> None:
    table = make_timings(["big"], 40)
    table = replaced(table, "executor_id", ["1", "2", "2", "2"] * 10)
    data = valid(build(make_run(["big"], timings=table)))
    assert [(e["executor_id"], e["images"]) for e in data["executors"]] == [("1", 10), ("2", 30)]
    assert data["executors"][0]["worker_pids"] == [4000]


def test_the_histogram_counts_every_image_once(make_run: MakeRun) -> None:
    cost = valid(build(make_run(THREE, 300, slow={"node3": 3.0})))["image_cost"]
    assert cost["images"] == sum(cost["counts"]) + cost["above"] == 297
    assert len(cost["edges_ms"]) == len(cost["counts"]) + 1 <= 32
    assert cost["edges_ms"][0] <= cost["median_ms"] <= cost["edges_ms"][-1]


def test_the_slowest_images_come_longest_first(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    table = make_timings(["laptop"], 50)
    infer = table["infer_ms"].to_numpy().copy()
    infer[[17, 31]] = 5000, 9000
    slowest = valid(build(make_run(timings=replaced(table, "infer_ms", infer))))["slowest"]
    assert len(slowest) == 10
    assert [image["image_id"][-10:] for image in slowest[:2]] == ["000031.jpg", "000017.jpg"]
    assert slowest[0]["stages_ms"]["infer"] == 9000
    assert slowest[0]["work_ms"] == pytest.approx(sum(slowest[0]["stages_ms"].values()), abs=0.01)


def test_host_samples_are_summarised_and_put_on_the_time_axis(make_run: MakeRun) -> None:
    run_dir = make_run(THREE)
    data = valid(build(run_dir))
    samples = pq.read_table(run_dir / "hosts.parquet")
    own = samples.filter(pc.equal(samples["host"], "node2"))["cpu_busy"].to_numpy()
    summary = {host["host"]: host for host in data["samples"]}["node2"]
    assert summary["samples"] == 40 and summary["cpu_steal"] is None
    assert summary["cpu_busy"]["mean"] == pytest.approx(own.mean(), abs=1e-3)
    assert summary["cpu_busy"]["max"] == pytest.approx(own.max(), abs=1e-3)
    line = {host["host"]: host for host in data["timeline"]["hosts"]}["node2"]
    edges = np.array(data["timeline"]["sample_edges_s"])
    share = np.array(line["cpu_share"], dtype=float)
    assert len(share) == len(edges) - 1 and edges[-1] == 40
    # 3.7 busy CPUs of the quota of 4, after an idle start
    assert np.nanmedian(share[edges[:-1] > 20]) == pytest.approx(3.7 / 4, abs=0.03)
    assert np.nanmedian(share[edges[1:] < 7]) == pytest.approx(0.9 / 4, abs=0.05)


def test_the_evidence_of_a_slow_host_deviates(make_cluster: MakeRun) -> None:
    data = valid(build(make_cluster(5, tasks=60, images=6, node2=Trouble(slow=2.0))))
    readings = {host["host"]: host["readings"] for host in data["evidence"]}
    assert readings["node2"]["throttled"] == {
        "value": pytest.approx(0.5, abs=0.05),
        "peers": pytest.approx(0.01, abs=0.01),
        "side": "above",
    }
    assert readings["node1"]["throttled"]["side"] is None
    assert "cpu_steal" not in readings["node2"], "it was not measured"


def test_images_per_second_add_up_to_the_images(make_run: MakeRun) -> None:
    line = valid(build(make_run(THREE, 180)))["timeline"]
    steps = np.diff(line["image_edges_s"])
    assert np.dot(line["images_per_second"], steps) == pytest.approx(180, abs=0.1)
    for host in line["hosts"]:
        assert np.dot(host["images_per_second"], steps) == pytest.approx(60, abs=0.1)


def test_only_errors(make_run: MakeRun) -> None:
    data = valid(build(make_run(images=0, errors=[error(1), error(2, "fetch"), error(3)])))
    assert data["verdict"]["text"] == "No image was finished; 3 could not be processed."
    assert data["errors"]["count"] == 3 and data["errors"]["stages"] == {"decode": 2, "fetch": 1}
    assert data["image_cost"]["images"] == 0 and data["slowest"] == []
    assert "3 of 3 images could not be processed: see Errors." in data["notes"]


def test_no_image_at_all_and_no_tables(make_run: MakeRun) -> None:
    run_dir = make_run(images=0, status="failed", phases=[], hosts=[], workers=[], seconds=None)
    (run_dir / "timings.parquet").unlink()
    (run_dir / "hosts.parquet").unlink()
    data = valid(write(run_dir))
    assert data["verdict"]["text"].startswith("This run failed. No image was finished")
    assert [note.split()[0] for note in data["notes"]] == ["timings.parquet", "hosts.parquet"]
    assert data["timeline"]["hosts"] == [] and data["samples"] == []


def test_one_image_is_all_warm_up_and_says_so(make_run: MakeRun) -> None:
    data = valid(build(make_run(images=1)))
    assert "finished 1 image in" in data["verdict"]["text"]
    assert data["stages"]["basis"] == "warmup" and data["stages"]["images"] == 1
    assert any("warm-up" in note for note in data["notes"])
    assert data["slowest"][0]["work_ms"] > 0


def test_a_finished_run_without_timings_has_a_report(make_run: MakeRun) -> None:
    run_dir = make_run(images=24, samples=False)
    (run_dir / "timings.parquet").unlink()
    data = valid(write(run_dir))
    assert "no timings were kept" in data["verdict"]["text"]
    assert data["summary"]["done"] == 24


def test_a_run_without_host_samples_is_judged_all_the_same(make_run: MakeRun) -> None:
    data = valid(write(make_run(THREE, 180, slow={"node3": 1.9}, samples=False)))
    assert data["verdict"]["hosts"] == ["node3"]
    assert data["notes"] == ["hosts.parquet is missing: what it would tell is left out."]
    assert data["samples"] == []
    line = data["timeline"]["hosts"][0]
    assert set(line["cpu_share"]) == set(line["rss_mb"]) == {None}
    assert max(line["images_per_second"]) > 0


def test_an_engine_that_does_not_wait_has_no_waiting(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    table = without(make_timings(THREE[:2], 60), "wait_ms")
    data = valid(write(make_run(THREE[:2], timings=table, engine="orca")))
    rows = {row["stage"]: row for row in data["stages"]["rows"]}
    assert (rows["wait"]["measured"], rows["wait"]["median_ms"]) == (0, None)
    assert data["hosts"][0]["stages_median_ms"]["wait"] is None
    assert {image["wait_ms"] for image in data["slowest"]} == {None}
    assert rows["infer"]["measured"] == 58 and data["verdict"]["text"].startswith("No straggler")


def test_images_without_a_name_are_shown(make_run: MakeRun, make_timings: MakeTimings) -> None:
    run_dir = make_run(timings=without(make_timings(["laptop"], 24), "image_id"))
    assert valid(write(run_dir))["slowest"][0]["image_id"] is None


def test_work_too_short_for_the_clock_has_a_histogram(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    table = make_timings(["laptop"], 24)
    for stage in STAGES:
        table = replaced(table, f"{stage}_ms", np.zeros(24))
    run_dir = make_run(timings=table)
    edges = valid(write(run_dir))["image_cost"]["edges_ms"]
    assert (np.diff(edges) > 0).all()
    assert "nan" not in (run_dir / "report.html").read_text()


def test_columns_that_were_not_measured_are_null_not_zero(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    table = without(make_timings(THREE, 90), "wait_ms", "fetch_ms", "cpu_ms", "bytes_in", "pixels")
    data = valid(write(make_run(THREE, timings=table)))
    rows = {row["stage"]: row for row in data["stages"]["rows"]}
    assert rows["fetch"]["measured"] == 0 and rows["fetch"]["median_ms"] is None
    assert rows["fetch"]["share"] is None
    assert data["hosts"][0]["stages_median_ms"]["fetch"] is None
    assert data["hosts"][0]["cpu_median_ms"] is None
    assert data["slowest"][0]["pixels"] is None
    assert data["verdict"]["text"].startswith("No straggler")


def test_rows_of_nulls_alone_are_counted_and_nothing_else(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    table = make_timings(["laptop"], 12)
    names = set(table.column_names) - {"image_id", "kind"}
    data = valid(write(make_run(timings=without(table, *names), samples=False)))
    assert data["stages"]["images"] == 12
    assert all(row["measured"] == 0 for row in data["stages"]["rows"])
    assert data["slowest"] == [] and data["image_cost"]["images"] == 0


def test_a_stranger_column_and_a_missing_one_do_no_harm(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    table = make_timings(["laptop"], 12).drop_columns(["throttled_ms"])
    table = table.append_column("later", pa.array(["x"] * 12))
    data = valid(build(make_run(timings=table)))
    assert data["hosts"][0]["throttled_median_ms"] is None
    assert data["stages"]["images"] == 11


def test_calibration_rows_are_no_images(make_run: MakeRun, make_timings: MakeTimings) -> None:
    kinds = ["calibration"] * 4 + ["image"] * 20
    table = replaced(make_timings(["laptop"], 24), "kind", kinds)
    data = valid(build(make_run(timings=table, counts={"done": 20, "images": 20})))
    assert data["hosts"][0]["images"] == 20 and data["stages"]["images"] == 20


def test_tables_may_be_folders_and_a_damaged_part_is_left_out(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    table = make_timings(THREE, 90)
    run_dir = make_run(THREE, timings=table)
    (run_dir / "timings.parquet").unlink()
    parts = run_dir / "timings.parquet"
    parts.mkdir()
    pq.write_table(table.slice(0, 30), parts / "part-0.parquet")
    pq.write_table(table.slice(30), parts / "part-1.parquet")
    pq.write_table(table, parts / ".part-2.parquet")
    assert sum(host["images"] for host in valid(build(run_dir))["hosts"]) == 90

    whole = (parts / "part-1.parquet").read_bytes()
    (parts / "part-1.parquet").write_bytes(whole[: len(whole) // 2])
    data = valid(build(run_dir))
    assert sum(host["images"] for host in data["hosts"]) == 30
    assert "timings.parquet: 1 of 2 parts cannot be read: left out." in data["notes"]


def test_many_errors_are_counted_and_the_first_hundred_kept(make_run: MakeRun) -> None:
    run_dir = make_run(errors=[error(number) for number in range(250)])
    with (run_dir / "errors.jsonl").open("a") as lines:
        lines.write('{"image": "torn off')
    data = valid(build(run_dir))
    assert data["errors"]["count"] == 250
    assert [e["image"] for e in data["errors"]["first"]] == [f"bad{n}.jpg" for n in range(100)]
    assert "errors.jsonl: 1 lines cannot be read and are left out." in data["notes"]


def test_a_host_that_did_nothing_is_pointed_out(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    data = valid(build(make_run(THREE, timings=make_timings(THREE[:2], 60))))
    assert data["hosts"][2]["images"] == 0 and data["hosts"][2]["work_median_ms"] is None
    assert "No image was finished by node3." in data["notes"]


def test_unequal_streams_are_pointed_out(make_run: MakeRun) -> None:
    run_dir = make_run(THREE, 90)
    run = json.loads((run_dir / "run.json").read_text())
    run["workers"][1]["streams"] = 8
    (run_dir / "run.json").write_text(json.dumps(run))
    assert any("unequal numbers" in note for note in valid(build(run_dir))["notes"])


@pytest.mark.parametrize(
    ("status", "start"),
    [
        ("running", "This run is still going on, or was killed: 6 of 30 images left. laptop"),
        ("incomplete", "This run is incomplete: 6 of 30 images left. laptop"),
        ("failed", "This run failed: 6 of 30 images left. laptop"),
        ("finished", "laptop"),
    ],
)
def test_the_verdict_says_whether_the_run_finished(
    make_run: MakeRun, status: str, start: str
) -> None:
    counts = {"images": 30, "missing": 6}
    report = build(make_run(status=status, finished_at=None, seconds=None, counts=counts))
    assert valid(report)["verdict"]["text"].startswith(start)


def test_the_pause_before_a_resume_is_no_time_of_the_run(
    make_run: MakeRun, make_timings: MakeTimings
) -> None:
    table = make_timings(["laptop"], 24)
    started = table["started_at"].to_numpy().copy()
    started[:10] -= 86_400  # done the day before
    table = replaced(table, "started_at", started)
    data = valid(build(make_run(timings=table, counts={"resumed": 10})))
    (pause,) = data["timeline"]["pauses"]
    assert pause["seconds"] > 80_000
    assert 40 < data["timeline"]["seconds"] < 100
    assert data["summary"]["seconds"] == pytest.approx(data["timeline"]["seconds"])
    assert max(phase["from_s"] for phase in data["phases"]) < 100


def test_secrets_are_hidden_in_both_files(make_run: MakeRun) -> None:
    conf = {
        "spark.authenticate.secret": "hunter2",
        "spark.executor.extraJavaOptions": "-Xss4m -Dstore.password=hunter2",
        "spark.master": "local[1]",
    }
    run_dir = make_run(spark_conf=conf, input="secrets/images")
    assert (run_dir / "run.json").read_text().count("hunter2") == 3
    shown = valid(write(run_dir))["configuration"]
    assert shown["spark_conf"] == {
        "spark.authenticate.secret": "(hidden)",
        "spark.executor.extraJavaOptions": "(hidden)",
        "spark.master": "local[1]",
    }
    assert shown["options"]["conf"] == {"spark.hadoop.fs.s3a.secret.key": "(hidden)"}
    assert shown["input"] == "secrets/images", "a path is no secret"
    for name in ("report.json", "report.html"):
        assert "hunter2" not in (run_dir / name).read_text()


def test_a_hundred_thousand_images_on_a_hundred_hosts_fit(make_run: MakeRun) -> None:
    hosts = [f"node{number:03}" for number in range(100)]
    run_dir = make_run(hosts, 100_000, slow={"node042": 1.4})
    data = valid(write(run_dir))
    assert data["verdict"]["hosts"] == ["node042"]
    assert data["stages"]["images"] == 99_900
    assert (run_dir / "report.html").stat().st_size <= 2_000_000
    assert (run_dir / "report.json").stat().st_size <= 5_000_000


def test_files_are_written_whole_or_not_at_all(make_run: MakeRun) -> None:
    run_dir = make_run()
    before = {path.name for path in run_dir.iterdir()}
    report = write(run_dir)
    assert {path.name for path in run_dir.iterdir()} == {*before, "report.json", "report.html"}
    assert json.loads((run_dir / "report.json").read_text()) == report.data
    kept = (run_dir / "report.html").read_bytes()
    (run_dir / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json"):
        write(run_dir)
    assert (run_dir / "report.html").read_bytes() == kept


def test_a_folder_without_a_run_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        write(tmp_path)


def test_the_report_needs_no_drawing_library() -> None:
    code = "import sys, job.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
