import os
from pathlib import Path

from cluster.lab import image


def repository(folder: Path) -> Path:
    tasks = folder / "ansible/roles/java/tasks"
    tasks.mkdir(parents=True)
    (tasks / "install.yml").write_text("one")
    (tasks / "service.yml").write_text("one")
    return folder


def test_the_install_part_of_a_role_names_the_image(tmp_path: Path) -> None:
    root = repository(tmp_path)
    first = image.digest(root)
    (root / "ansible/roles/java/tasks/service.yml").write_text("two")
    assert image.digest(root) == first
    (root / "ansible/roles/java/tasks/install.yml").write_text("two")
    assert image.digest(root) != first


def test_an_image_that_is_there_is_taken_and_old_ones_go(tmp_path: Path) -> None:
    root, cache = repository(tmp_path / "repository"), tmp_path / "cache"
    images = cache / "images"
    wanted = images / image.digest(root)
    base = images / image.BASES / image._base_name()
    base.mkdir(parents=True)
    wanted.mkdir()
    for age in range(5):
        (images / f"old{age}").mkdir()
        os.utime(images / f"old{age}", (1000 - age, 1000 - age))
    (images / "broken.part").mkdir()
    said: list[str] = []
    lower = image.ensure(
        repository=root, cache=cache, used={f"{images}/old4:{base}"}, say=said.append
    )
    assert lower == f"{wanted}:{base}"
    assert said == []  # nothing was built
    left = {path.name for path in images.glob("*/")}
    assert left == {image.BASES, wanted.name, "old0", "old1", "old4"}
