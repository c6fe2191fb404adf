import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO

from job.errors import JobError, UsageError
from job.parts import FolderSink, PartWriter
from job.rundir import RunDirectory
from job.timing import ImageRecord

CATEGORIES = [{"id": 7, "name": "star"}]
OBJECT = {
    "category_id": 7,
    "score": 0.5,
    "bbox": [1.0, 2.0, 3.0, 4.0],
    "area": 12.0,
    "segmentation": {"size": [8, 10], "counts": "1234"},
}


def record(image_id: str, *, objects: int = 1, error: bool = False) -> ImageRecord:
    made = ImageRecord(image_id=image_id, width=10, height=8)
    made.objects = [OBJECT] * objects
    if error:
        with made.stage("decode"):
            pass
        made.fail(ValueError("broken"))
    made.emitted()
    return made


def write(run: RunDirectory, name: str, *records: ImageRecord) -> None:
    writer = PartWriter(FolderSink(run.parts), name)
    for entry in records:
        writer.add(entry)
    writer.close()


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run")


def test_merge_makes_the_files_of_the_contract(run: RunDirectory) -> None:
    write(run, "000-000000-0", record("a.jpg", objects=2), record("ü b.jpg", error=True))
    write(run, "000-000001-0", record("dir/c.jpg", objects=0))
    counts = run.merge(CATEGORIES)
    assert (counts.done, counts.errors, counts.detections) == (2, 1, 2)
    timings = pq.read_table(run.path / "timings.parquet").to_pylist()
    assert [row["image_id"] for row in timings] == ["a.jpg", "dir/c.jpg"]
    assert timings[0]["infer_ms"] is None  # never measured, so never invented
    found = pq.read_table(run.path / "detections.parquet").to_pylist()
    assert [row["image_id"] for row in found] == ["a.jpg", "a.jpg"]
    assert found[0]["segmentation"] == OBJECT["segmentation"]
    line = json.loads((run.path / "errors.jsonl").read_text(encoding="utf-8"))
    assert line == {"image": "ü b.jpg", "stage": "decode", "message": "ValueError: broken"}


def test_calibration_has_a_timing_row_and_is_no_result(run: RunDirectory) -> None:
    calibrating, broken = record("a.jpg", objects=2), record("b.jpg", error=True)
    calibrating.timing["kind"] = broken.timing["kind"] = "calibration"
    write(run, "000-000000-0", calibrating, broken)
    assert (run.progress(), run.processed()) == (0, set())
    write(run, "000-000001-0", record("a.jpg"))
    assert (run.progress(), run.processed()) == (1, {"a.jpg"})
    counts = run.merge(CATEGORIES)
    assert (counts.done, counts.errors, counts.detections) == (1, 0, 1)
    timings = pq.read_table(run.path / "timings.parquet").to_pylist()
    assert [row["kind"] for row in timings] == ["calibration", "image"]


def test_detections_json_is_coco_that_pycocotools_loads(run: RunDirectory) -> None:
    write(run, "000-000000-0", record("a.jpg", objects=2), record("b.jpg", objects=0))
    run.merge(CATEGORIES)
    coco = COCO(str(run.path / "detections.json"))
    assert {entry["file_name"] for entry in coco.imgs.values()} == {"a.jpg", "b.jpg"}
    assert len(coco.anns) == 2
    assert coco.cats[7]["name"] == "star"
    empty = json.loads((run.path / "detections.json").read_text(encoding="utf-8"))
    assert empty["annotations"][0]["score"] == 0.5


def test_detections_json_can_be_left_out(run: RunDirectory) -> None:
    write(run, "000-000000-0", record("a.jpg"))
    run.merge(CATEGORIES, coco=False)
    assert not (run.path / "detections.json").exists()


def test_a_second_attempt_adds_its_timing_row_but_no_second_result(run: RunDirectory) -> None:
    write(run, "000-000000-0", record("a.jpg"))
    write(run, "000-000000-1", record("a.jpg"))
    counts = run.merge(CATEGORIES)
    assert (counts.done, counts.detections) == (1, 1)
    assert pq.read_table(run.path / "timings.parquet").num_rows == 2


def test_an_unfinished_part_is_not_seen(run: RunDirectory) -> None:
    write(run, "000-000000-0", record("a.jpg"))
    (run.parts / ".000-000001-0-00000-n5.jsonl.tmp").write_bytes(b"half a file")
    assert run.progress() == 1
    assert run.processed() == {"a.jpg"}
    assert run.merge(CATEGORIES).done == 1


def test_progress_counts_images_of_all_parts(run: RunDirectory) -> None:
    write(run, "000-000000-0", *(record(f"{n}.jpg") for n in range(12)))
    write(run, "000-000001-0", record("x.jpg"))
    assert run.progress() == 13


def test_parts_of_a_resumed_run_have_names_of_their_own(run: RunDirectory) -> None:
    assert run.next_session() == 0
    write(run, "003-000000-0", record("a.jpg"))
    assert run.next_session() == 4


def test_a_folder_with_another_run_is_refused_untouched(run: RunDirectory) -> None:
    run.write({"status": "finished"})
    before = (run.path / "run.json").read_bytes()
    with pytest.raises(UsageError, match=r"holds another run.*--resume"):
        RunDirectory.create(run.path)
    assert (run.path / "run.json").read_bytes() == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UsageError, match="not an empty folder"):
        RunDirectory.create(tmp_path)


def test_an_output_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(JobError, match="cannot be made"):
        RunDirectory.create(tmp_path / "file" / "run")


def test_only_one_process_at_a_time_works_in_a_run(run: RunDirectory) -> None:
    with (
        run.locked(),
        pytest.raises(UsageError, match="going on"),
        RunDirectory(run.path).locked(),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no run.json"), ("{", "damaged"), ('{"schema_version": 99}', "schema_version 99")],
)
def test_a_run_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        RunDirectory(tmp_path).read()
