import pytest

from job.host import HostFacts
from job.images.source import ImageRef
from job.planner import calibration, expected_speeds, plan


def image(name: str, size: int = 1000) -> ImageRef:
    return ImageRef(image_id=name, path=f"/in/{name}", bytes=size)


def frame(video: str, number: int) -> ImageRef:
    return ImageRef(image_id=f"{video}#{number:06}", path=f"/in/{video}", bytes=1000, frame=number)


def ids(tasks: tuple[tuple[ImageRef, ...], ...]) -> list[str]:
    return [ref.image_id for task in tasks for ref in task]


@pytest.mark.parametrize("engine", ["native", "orca"])
@pytest.mark.parametrize("count", [1, 2, 49, 50, 51, 101, 1000])
def test_every_image_is_in_one_task(engine: str, count: int) -> None:
    images = [image(f"{number}.jpg", 100 * number) for number in range(count)]
    for slots in (1, 3):
        planned = plan(images, slots=slots, engine=engine)
        assert sorted(ids(planned.tasks)) == sorted(ref.image_id for ref in images)
        assert all(planned.tasks)


def test_native_tasks_are_long_enough_to_hide_the_drain() -> None:
    planned = plan([image(f"{n}.jpg") for n in range(1000)], slots=2, engine="native")
    assert {len(task) for task in planned.tasks} == {50}
    assert "2%" in planned.reasons[0]


def test_few_images_still_use_every_slot() -> None:
    assert len(plan([image(f"{n}.jpg") for n in range(8)], slots=4, engine="native").tasks) == 4


def test_orca_gets_one_task_for_each_slot() -> None:
    planned = plan([image(f"{n}.jpg") for n in range(1000)], slots=2, engine="orca")
    assert [len(task) for task in planned.tasks] == [500, 500]


def test_partitions_asked_for_are_made() -> None:
    images = [image(f"{n}.jpg") for n in range(100)]
    assert len(plan(images, slots=1, engine="native", partitions=7).tasks) == 7


def test_costly_classes_come_first_and_are_shuffled_inside() -> None:
    images = [image(f"{n:03}.jpg", 1100 + n) for n in range(40)]
    images += [image(f"big{n:03}.jpg", 70_000 + n) for n in range(10)]
    order = ids(plan(images, slots=1, engine="native").tasks)
    assert all(name.startswith("big") for name in order[:10])
    assert order[10:] != sorted(order[10:])
    assert order == ids(plan(images[::-1][::-1], slots=1, engine="native").tasks)


def test_frames_of_a_video_stay_together_and_in_order() -> None:
    frames = [frame("a.mp4", n) for n in range(120)] + [frame("b.mp4", n) for n in range(30)]
    for task in plan(frames, slots=2, engine="native").tasks:
        for video in {ref.path for ref in task}:
            numbers = [ref.frame for ref in task if ref.path == video]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_plan_of_nothing_has_no_task() -> None:
    assert plan([], slots=2, engine="native").tasks == ()


SPEEDS = (4.0, 2.0, 1.0)


def makespan(tasks: tuple[tuple[ImageRef, ...], ...], speeds: tuple[float, ...]) -> float:
    """Hosts pull tasks in order, an image takes 1 / speed."""
    free = [0.0] * len(speeds)
    for task in tasks:
        host = free.index(min(free))
        free[host] += len(task) / speeds[host]
    return max(free)


@pytest.mark.parametrize("count", [1, 2, 10, 100, 1000, 5000])
@pytest.mark.parametrize("engine", ["native", "orca"])
def test_unequal_hosts_get_every_image_once(engine: str, count: int) -> None:
    images = [image(f"{number}.jpg", 100 * number) for number in range(count)]
    planned = plan(images, slots=1, engine=engine, speeds=SPEEDS)
    assert sorted(ids(planned.tasks)) == sorted(ref.image_id for ref in images)


@pytest.mark.parametrize("speeds", [SPEEDS, (1.0, 1.0, 1.0), (8.0, 1.0)])
def test_unequal_hosts_end_together(speeds: tuple[float, ...]) -> None:
    tasks = plan([image(f"{n}.jpg") for n in range(600)], slots=1, engine="native", speeds=speeds)
    ideal = 600 / sum(speeds)
    assert makespan(tasks.tasks, speeds) < 1.02 * ideal
    # Also where the slowest is twice as slow as it was thought to be.
    slower = (*speeds[:-1], speeds[-1] / 2)
    assert makespan(tasks.tasks, slower) < 1.05 * 600 / sum(slower)
    assert len(tasks.tasks[0]) > 10 * len(tasks.tasks[-1])


def test_orca_uses_every_host_and_compiles_seldom() -> None:
    few = plan([image(f"{n}.jpg") for n in range(24)], slots=1, engine="orca", speeds=(1.0,) * 3)
    assert [len(task) for task in few.tasks] == [8, 8, 8]
    many = plan([image(f"{n}.jpg") for n in range(600)], slots=1, engine="orca", speeds=SPEEDS)
    assert all(len(task) >= 16 for task in many.tasks[:-1])


def host(name: str, cpus: float) -> HostFacts:
    return HostFacts(
        host=name, cpus_visible=8, cpus_quota=cpus, memory_mb=4096, cpu_model="", bf16=False
    )


def test_a_host_does_what_it_did_or_what_its_quota_says() -> None:
    hosts = [host("a", 4.0), host("b", 2.0), host("c", 1.0)]
    assert expected_speeds(hosts, {}) == (4.0, 2.0, 1.0)
    # c was not there: a CPU of a does 2 images/s, one of b 3.
    assert expected_speeds(hosts, {"a": 8.0, "b": 6.0, "gone": 1.0}) == (8.0, 6.0, 2.5)


def test_every_host_calibrates_on_a_few_usual_images() -> None:
    images = [image(f"{n}.jpg", 1000 + n) for n in range(1000)]
    images += [frame("a.mp4", n) for n in range(1000)]
    chosen = calibration(images, 3)
    assert [ref.image_id for ref in chosen] == ["498.jpg", "499.jpg", "500.jpg", "501.jpg"]
    # No more than a hundredth of the work, and nothing where there is no other host.
    assert len(calibration(images[:700], 3)) == 2
    assert calibration(images[:299], 3) == ()
    assert calibration(images, 1) == ()
    assert calibration(images[1000:], 3) == ()
