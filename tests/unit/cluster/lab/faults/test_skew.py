import json
from pathlib import Path

import pytest

from cluster.lab.faults.skew import COSTLY, PLAIN, TRUTH, skew
from cluster.places import repository
from job.errors import UsageError
from job.images.decode import decode
from job.images.source import list_images

SCENES = repository() / "models" / "images" / "scenes"


def pixels(path: Path) -> int:
    height, width, _ = decode(path.read_bytes()).shape
    return height * width


def test_the_last_quarter_has_so_many_times_the_pixels(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    names = sorted(path.name for path in SCENES.glob("*.jpg"))[:1] * 8
    for number, name in enumerate(names):
        (source / "part").mkdir(parents=True, exist_ok=True)
        (source / "part" / f"{number}.jpg").write_bytes((SCENES / name).read_bytes())
    truth = skew(source, output, factor=4, share=0.25)
    found = list_images(str(output))
    assert found.ignored == ()  # the truth is no part of the input
    folders = [image.image_id.split("/")[0] for image in found.images]
    assert folders == [PLAIN] * 6 + [COSTLY] * 2  # in a row
    sizes = [pixels(Path(image.path)) for image in found.images]
    assert sizes[0] == pixels(SCENES / names[0])
    assert sizes[-1] == pytest.approx(4 * sizes[0], rel=0.01)
    assert json.loads((output / TRUTH).read_text()) == truth.row()
    assert (truth.kind, truth.host, truth.factor) == ("skew", None, 4)
    assert truth.details["costly"] == 2


def test_what_cannot_be_is_refused_and_nothing_made(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(UsageError, match="--factor is 1"):
        skew(SCENES, output, factor=1, share=0.25)
    with pytest.raises(UsageError, match="--share is 1"):
        skew(SCENES, output, factor=2, share=1)
    with pytest.raises(UsageError, match="--input"):
        skew(tmp_path / "missing", output, factor=2, share=0.5)
    assert not output.exists()
    output.mkdir()
    with pytest.raises(UsageError, match="--output"):
        skew(SCENES, output, factor=2, share=0.5)


def test_an_image_that_cannot_be_enlarged_leaves_nothing(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"broken\.jpg cannot be enlarged"):
        skew(source, output, factor=2, share=0.5)
    assert not output.exists()
