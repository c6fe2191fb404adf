import pytest

from job.host import HostFacts
from job.images.source import ImageRef
from job.planner import (
    TASK_IMAGES,
    Plan,
    calibration,
    expected_speeds,
    plan,
    task_price,
)


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


SPEEDS = (20.0, 10.0, 5.0)
HOSTS = ("a", "b", "c")


def makespan(planned: Plan, speeds: tuple[float, ...]) -> float:
    """Hosts pull their own task, then others in order, each at its price."""
    free, todo = [0.0] * len(speeds), list(zip(planned.tasks, planned.places, strict=True))
    while todo:
        host = free.index(min(free))
        own = [at for at, (_, place) in enumerate(todo) if place == HOSTS[host]]
        task, _ = todo.pop(own[0] if own else 0)
        free[host] += (len(task) + TASK_IMAGES) / speeds[host]
    return max(free)


@pytest.mark.parametrize("count", [1, 2, 10, 100, 1000, 5000])
@pytest.mark.parametrize("engine", ["native", "orca"])
def test_unequal_hosts_get_every_image_once(engine: str, count: int) -> None:
    images = [image(f"{number}.jpg", 100 * number) for number in range(count)]
    planned = plan(images, slots=1, engine=engine, speeds=SPEEDS)
    assert sorted(ids(planned.tasks)) == sorted(ref.image_id for ref in images)


@pytest.mark.parametrize("speeds", [SPEEDS, (10.0, 10.0, 10.0), (24.0, 3.0)])
@pytest.mark.parametrize("hosts", [(), HOSTS], ids=["declared", "known"])
def test_unequal_hosts_end_together(speeds: tuple[float, ...], hosts: tuple[str, ...]) -> None:
    images = [image(f"{n}.jpg") for n in range(3000)]
    planned = plan(images, slots=1, engine="native", speeds=speeds, hosts=hosts[: len(speeds)])
    ideal = 3000 / sum(speeds)
    assert makespan(planned, speeds) < 1.12 * ideal
    # Also where the slowest is twice as slow as it was thought to be.
    slower = (*speeds[:-1], speeds[-1] / 2)
    assert makespan(planned, slower) < 1.3 * 3000 / sum(slower)


def test_hosts_of_known_speed_are_given_their_part_first() -> None:
    images = [image(f"{n}.jpg", 1000 if n % 3 else 100_000) for n in range(1400)]
    planned = plan(images, slots=1, engine="native", speeds=SPEEDS, hosts=HOSTS)
    assert planned.places[:4] == ("a", "b", "c", None) and set(planned.places[3:]) == {None}
    parts = planned.tasks[:3]
    assert [len(part) for part in parts] == pytest.approx([400, 200, 100], abs=2)
    for part in parts:  # of both cost classes, the costly ones first
        costly = [ref.bytes > 1000 for ref in part]
        assert costly == sorted(costly, reverse=True)
        assert sum(costly) == pytest.approx(len(part) * 467 / 700, abs=2)
    # What a host loses with its task is bounded.
    long = plan(images * 10, slots=1, engine="native", speeds=SPEEDS, hosts=HOSTS)
    assert [len(part) for part in long.tasks[:3]] == pytest.approx([600, 300, 150], abs=2)
    assert max(map(len, long.tasks[3:])) <= 200


def test_without_a_known_speed_no_host_is_given_a_part() -> None:
    planned = plan([image(f"{n}.jpg") for n in range(600)], slots=1, engine="native", speeds=SPEEDS)
    assert set(planned.places) == {None}


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


def test_a_task_costs_more_images_where_they_are_cheap() -> None:
    hosts = [host("a", 0.5), host("b", 0.25)]
    assert task_price(hosts, {}) == TASK_IMAGES
    assert task_price(hosts, {"a": 15.0, "b": 7.5}) == pytest.approx(2.7)
    assert task_price(hosts, {"a": 0.3}) == 1.0
    images = [image(f"{n}.jpg") for n in range(3000)]
    few, many = (
        plan(images, slots=1, engine="native", speeds=SPEEDS, hosts=HOSTS, price=price)
        for price in (10.0, 1.0)
    )
    assert len(few.tasks) < len(many.tasks)


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
