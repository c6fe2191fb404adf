"""The command on real Spark, real OpenVINO and the shipped model."""

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

import job.report
from job.host import host_facts
from job.model import Model
from job.yolact.compare import differences
from tests.unit.cluster.cli.conftest import CLUSTER, SAMPLES, Cluster

MODEL = Model.find("yolact-shapes")
STAGES = ("fetch", "decode", "preprocess", "wait", "infer", "postprocess", "emit", "total")


def detections(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows by image_id; an image without objects has an empty list."""
    done = pq.read_table(run / "timings.parquet", columns=["image_id"])["image_id"].to_pylist()
    found: dict[str, list[dict[str, Any]]] = {image_id: [] for image_id in done}
    for row in pq.read_table(run / "detections.parquet").to_pylist():
        found[row["image_id"]].append(row)
    return found


def rows(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(run / "timings.parquet").to_pylist()
    return found


def run_json(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="session")
def runs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The shipped images by each engine, in two tasks."""
    made = {}
    for engine in ("native", "orca"):
        made[engine] = tmp_path_factory.mktemp("runs") / engine
        arguments = ["run", "--mode", "local", "--input", SAMPLES, "--output", made[engine]]
        done = cluster(*arguments, "--engine", engine, "--partitions", 2)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Verdict:") == 1
    return made


def test_both_engines_find_the_same_on_every_shipped_image(runs: dict[str, Path]) -> None:
    native, orca = detections(runs["native"]), detections(runs["orca"])
    shipped = {p.relative_to(SAMPLES).as_posix() for p in SAMPLES.rglob("*.jpg")}
    assert set(native) == set(orca) == shipped
    assert sum(map(len, native.values())) >= len(shipped)
    assert differences(native, orca, model=MODEL) == []


def test_native_times_every_stage_and_orca_what_it_can(runs: dict[str, Path]) -> None:
    for row in rows(runs["native"]):
        assert all(row[f"{stage}_ms"] is not None for stage in STAGES), row
        assert row["total_ms"] >= row["infer_ms"]
        assert row["cpu_ms"] is not None and row["bytes_in"] > 0 and row["pixels"] > 0
    for row in rows(runs["orca"]):
        assert row["wait_ms"] is None
        assert row["infer_ms"] > 0 and row["postprocess_ms"] > 0 and row["decode_ms"] > 0
    for made in runs.values():
        warm = [row["warmup"] for row in rows(made)]
        assert any(warm) and not all(warm)
        assert {row["kind"] for row in rows(made)} == {"image"}


def test_run_json_keeps_the_contract(runs: dict[str, Path]) -> None:
    folder = Path(job.report.__file__).parent
    schema = json.loads((folder / "run.schema.json").read_text(encoding="utf-8"))
    for engine, made in runs.items():
        run = run_json(made)
        jsonschema.validate(run, schema)
        assert (run["status"], run["engine"], run["precision"]) == ("finished", engine, "f32")
        assert run["model"]["digest"] == MODEL.digest
        assert run["plan"]["partitions"] == 2
        assert run["versions"]["java"].startswith("17.")
        assert {phase["name"] for phase in run["phases"]} == {
            *("submit", "executor_start", "model_load", "first_image", "steady", "write")
        }
        pids = {row["worker_pid"] for row in rows(made)}
        assert {worker["worker_pid"] for worker in run["workers"]} == pids


def test_a_model_is_loaded_once_for_each_native_worker(runs: dict[str, Path]) -> None:
    run = run_json(runs["native"])
    assert (len(run["workers"]), run["plan"]["partitions"]) == (1, 2)
    assert len({row["partition"] for row in rows(runs["native"])}) == 2


def test_the_host_is_sampled_for_the_length_of_the_job(runs: dict[str, Path]) -> None:
    for made in runs.values():
        samples = pq.read_table(made / "hosts.parquet").to_pylist()
        phases = [p for p in run_json(made)["phases"] if p["name"] in ("submit", "steady")]
        assert samples[0]["at"] <= phases[0]["started_at"] + phases[0]["seconds"]
        assert len(samples) >= 3
        assert {sample["host"] for sample in samples} == {host_facts().host}


def test_the_run_directory_holds_what_the_contract_names_and_no_leftovers(
    runs: dict[str, Path],
) -> None:
    expected = {
        *("run.json", "timings.parquet", "hosts.parquet", "spark-events", "detections.parquet"),
        *("detections.json", "errors.jsonl", "report.json", "report.html", "spark.log", ".lock"),
    }
    for made in runs.values():
        assert {path.name for path in made.iterdir()} == expected
        assert list((made / "spark-events").iterdir())


BAD = {"text.jpg", "empty.png", "cut.jpg", "bomb.png", "broken.webp"}
GOOD = {"grey.png", "sixteen.png", "cmyk.jpg", "two words ü.jpg", "a/same.jpg", "b/same.jpg"}


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("mixed images")
    scene = next(SAMPLES.rglob("*.jpg"))
    picture = Image.open(scene).convert("RGB")
    (folder / "text.jpg").write_text("not a picture", encoding="utf-8")
    (folder / "empty.png").touch()
    (folder / "cut.jpg").write_bytes(scene.read_bytes()[: scene.stat().st_size // 2])
    Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")
    (folder / "broken.webp").write_bytes(b"RIFF\x10\x00\x00\x00WEBPVP8 " + bytes(20))
    picture.convert("L").save(folder / "grey.png")
    depth = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    cv2.imwrite(str(folder / "sixteen.png"), depth)
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.save(folder / "two words ü.jpg")
    for name in ("a", "b"):
        (folder / name).mkdir()
        picture.save(folder / name / "same.jpg")
    (folder / "notes.txt").write_text("no picture by its name", encoding="utf-8")
    return folder


@pytest.mark.parametrize("engine", ["native", "orca"])
def test_bad_images_are_lines_in_errors_jsonl_and_the_job_goes_on(
    cluster: Cluster, mixed: Path, tmp_path: Path, engine: str
) -> None:
    output = tmp_path / "run"
    done = cluster(
        *("run", "--mode", "local", "--input", mixed, "--output", output),
        *("--engine", engine, "--overlays", "--format", "json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["errors"] == len(BAD)
    assert done.stderr == ""
    errors = [
        json.loads(line)
        for line in (output / "errors.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert sorted(error["image"] for error in errors) == sorted(BAD)
    assert all(error["stage"] == "decode" and error["message"] for error in errors)
    found = detections(output)
    assert set(found) == GOOD
    assert found["a/same.jpg"]
    for name in GOOD:
        assert cv2.imread(str(output / "overlays" / f"{name}.jpg")) is not None


def test_a_zip_and_a_video_are_read_member_by_member(cluster: Cluster, tmp_path: Path) -> None:
    scenes = sorted(SAMPLES.rglob("scene-*.jpg"))[:3]
    with zipfile.ZipFile(tmp_path / "scenes.zip", "w") as archive:
        for scene in scenes:
            archive.write(scene, f"in/{scene.name}")
    source = tmp_path / "source"
    source.mkdir()
    writer = cv2.VideoWriter(
        str(source / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240)
    )
    for number in range(12):
        picture = cv2.imread(str(scenes[number % 3]))
        writer.write(cv2.resize(picture, (320, 240)))
    writer.release()
    expected = {
        tmp_path / "scenes.zip": {f"in/{scene.name}" for scene in scenes},
        source: {f"film.mp4#{number:06}" for number in range(12)},
    }
    for number, (given, ids) in enumerate(expected.items()):
        output = tmp_path / f"run{number}"
        done = cluster("run", "--mode", "local", "--input", given, "--output", output)
        assert done.returncode == 0, done.stderr
        assert set(detections(output)) == ids


def test_options_reach_spark_and_the_plan(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = cluster(
        *("run", "--mode", "local", "--input", f"{SAMPLES}/**/scene-*.jpg", "--output", output),
        *("--limit", 7, "--partitions", 3, "--executor-cores", 2, "--fail-on", "straggler"),
        *("--conf", "spark.speculation=true", "--precision", "auto"),
    )
    assert done.returncode == 0, done.stderr
    run = run_json(output)
    assert run["counts"]["images"] == run["counts"]["done"] == 7
    assert (run["plan"]["slots"], run["plan"]["partitions"]) == (2, 3)
    assert run["spark_conf"]["spark.speculation"] == "true"
    assert run["precision"] == ("bf16" if host_facts().bf16 else "f32")
    assert "Starting Spark" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Enough images for some seconds of work."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(600):
        shutil.copy(SAMPLES / "scenes" / "scene-000.jpg", folder / f"{number:04}.jpg")
    return folder


@pytest.fixture
def started(many: Path, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A run that is going on and has written parts."""
    output = tmp_path / "run"
    command = [CLUSTER, "run", "--mode", "local", "--input", many, "--output", output]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        try:
            for _ in range(1200):
                if list(output.glob("_parts/[!.]*.jsonl")):
                    break
                assert process.poll() is None, process.communicate()
                time.sleep(0.1)
            yield process
        finally:
            process.kill()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, left = psutil.wait_procs(processes, timeout=30)
    return [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


def test_a_killed_run_leaves_no_process_and_is_resumed(
    cluster: Cluster, many: Path, tmp_path: Path, started: "subprocess.Popen[str]"
) -> None:
    output = tmp_path / "run"
    children = psutil.Process(started.pid).children(recursive=True)
    assert any("java" in child.name() for child in children)
    busy = cluster("run", "--resume", output)
    assert busy.returncode == 2 and "going on" in busy.stderr
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert alive(children) == []
    assert run_json(output)["status"] == "running"

    done = cluster("run", "--resume", output)
    assert done.returncode == 0, done.stderr
    run = run_json(output)
    assert run["status"] == "finished"
    assert 0 < run["counts"]["resumed"] < run["counts"]["done"] == 600
    attempts = [row["image_id"] for row in rows(output)]
    assert len(attempts) == len(set(attempts)) == 600
    undisturbed = tmp_path / "undisturbed"
    cluster("run", "--mode", "local", "--input", many, "--output", undisturbed)
    assert differences(detections(output), detections(undisturbed), model=MODEL) == []
    assert not list(output.glob("_*"))

    again = cluster("run", "--resume", output)
    assert again.returncode == 0
    assert run_json(output) == run


def test_an_interrupt_while_spark_starts_leaves_no_process(many: Path, tmp_path: Path) -> None:
    def starting() -> list[psutil.Process]:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "pyspark-shell" in child.cmdline()]

    command = [CLUSTER, "run", "--mode", "local", "--input", many, "--output", tmp_path / "run"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        jvm: list[psutil.Process] = []
        try:
            while not (jvm := starting()):
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)  # long before the JVM has answered
            assert process.wait(60) == 1
            assert alive(jvm) == []
        finally:
            for left in alive(jvm):
                left.kill()
            process.kill()


def test_an_interrupt_keeps_what_is_done_and_takes_everything_down(
    tmp_path: Path, started: "subprocess.Popen[str]"
) -> None:
    children = psutil.Process(started.pid).children(recursive=True)
    os.kill(started.pid, signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 1
    assert "cluster run --resume" in errors
    assert "Traceback" not in errors
    assert alive(children) == []
    run = run_json(tmp_path / "run")
    assert run["counts"]["done"] > 0 and run["counts"]["missing"] > 0
    assert run["status"] != "running"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--input", SAMPLES], 2, "--output is missing"),
        (["--input", "nowhere", "--output", "out"], 2, "nowhere"),
        (["--input", SAMPLES, "--output", "out", "--model", "none"], 2, "no model in"),
        (["--input", SAMPLES, "--output", "out", "--precision", "int8"], 2, "int8"),
        (["--input", SAMPLES, "--output", "out", "--conf", "x"], 2, "--conf x"),
        (["--input", SAMPLES.parent / "yolact-shapes", "--output", "out"], 1, "no image in"),
        (["--input", SAMPLES, "--output", "out", "--avoid", "b"], 2, "--avoid is for a cluster"),
        (["--input", SAMPLES, "--output", "out", "--plan-from", "none"], 2, "no run.json"),
        (["--resume", "out", "--engine", "orca"], 2, "--engine cannot be given with --resume"),
        (["--resume", "out"], 2, "no run.json"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_writes_nothing(
    cluster: Cluster, tmp_path: Path, arguments: list[Any], code: int, words: str
) -> None:
    arguments = [tmp_path / "out" if argument == "out" else argument for argument in arguments]
    mode = [] if "--resume" in arguments else ["--mode", "local"]
    done = cluster("run", *mode, *arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_output_with_another_run_is_left_alone(cluster: Cluster, runs: dict[str, Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs["native"].rglob("*")}
    done = cluster("run", "--mode", "local", "--input", SAMPLES, "--output", runs["native"])
    assert done.returncode == 2
    assert "holds another run" in done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in runs["native"].rglob("*")}


def test_bfloat16_is_computed_or_refused(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = cluster(
        *("run", "--mode", "local", "--input", SAMPLES, "--output", output),
        *("--precision", "bf16", "--limit", 2),
    )
    if host_facts().bf16:
        assert run_json(output)["precision"] == "bf16"
    else:
        assert done.returncode == 2
        assert "does not compute in bfloat16" in done.stderr
        assert not output.exists()


def test_a_report_is_written_again(cluster: Cluster, runs: dict[str, Path]) -> None:
    (runs["native"] / "report.html").unlink()
    done = cluster("report", runs["native"], "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"]["straggler"] is False
    assert (runs["native"] / "report.html").exists()


def test_two_runs_are_compared(cluster: Cluster, runs: dict[str, Path]) -> None:
    done = cluster("report", runs["native"], runs["orca"])
    assert done.returncode == 0, done.stderr
    assert "engine" in done.stdout and '"orca"' in done.stdout
    assert "images in" in done.stdout.splitlines()[-1]


def test_help_has_examples(cluster: Cluster) -> None:
    for command in ([], ["run"], ["report"], ["model"], ["bench"]):
        done = cluster(*command, "--help")
        assert done.returncode == 0
        assert "Examples:" in done.stdout
