import shutil
from pathlib import Path

import pytest

from job.engines import isolated
from job.images.source import list_images
from job.model import SHIPPED, Model
from job.origins import ThisMachine
from job.parts import FolderSink
from job.pipeline import Work

# Python reads it when it starts.
POISON = """
import os
from PIL import Image
decode = Image.open
def poisoned(file, *options, **more):
    if file.getvalue().endswith(b"CRASH!"):
        os.kill(os.getpid(), 11)
    return decode(file, *options, **more)
Image.open = poisoned
"""


def test_an_image_that_kills_is_an_error_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison" / "sitecustomize.py").write_text(POISON)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "poison"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        shutil.copy(SHIPPED / "images" / "scenes" / "scene-002.jpg", photos / name)
    with (photos / "2.jpg").open("ab") as file:
        file.write(b"CRASH!")
    work = Work(
        model=Model.find("yolact-shapes"),
        precision="f32",
        slots=1,
        session=0,
        origin=ThisMachine(),
        sink=FolderSink(tmp_path),
        overlays=None,
        flush_seconds=0,
        instrumentation=True,
        memory_mb=1024,
        sampling=False,
    )
    records = {r.image_id: r for r in isolated.process(work, list_images(str(photos)).images)}
    assert set(records) == {"1.jpg", "2.jpg", "3.jpg"}
    assert records["2.jpg"].error == {
        "stage": "worker",
        "message": "the image ended the process that worked on it (SIGSEGV)",
    }
    for name in ("1.jpg", "3.jpg"):
        assert records[name].error is None
        assert records[name].objects


def test_a_task_of_no_executor_is_not_suspected() -> None:
    assert not isolated.suspected()
