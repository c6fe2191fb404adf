import os
import pickle
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest

from job.errors import JobError, UsageError
from job.images.source import list_images
from tests.unit.job.images.image_files import FRAMES, no_rights, video


def put(root, *names, data=b"12345"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def ids(source):
    return [ref.image_id for ref in list_images(str(source)).images]


def test_a_folder_with_all_below_it_in_order(tmp_path):
    put(tmp_path, "b.JPG", "a/z.png", "a/b/c.TiFf", "B.webp", "a.jpeg")
    assert ids(tmp_path) == ["B.webp", "a.jpeg", "a/b/c.TiFf", "a/z.png", "b.JPG"]


def test_a_reference_says_where_the_image_is(tmp_path, monkeypatch):
    put(tmp_path, "in/a/x.png")
    monkeypatch.chdir(tmp_path)
    (ref,) = list_images("in").images
    assert ref.path == str(tmp_path / "in/a/x.png")  # whatever folder a worker runs in
    assert (ref.bytes, ref.member, ref.frame) == (5, None, None)
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert len(pickle.dumps(ref)) < 300


def test_one_file(tmp_path):
    put(tmp_path, "one.png", "two.png")
    assert ids(tmp_path / "one.png") == ["one.png"]


def test_equal_names_spaces_and_letters(tmp_path):
    names = ["a/im 1.jpg", "b/im 1.jpg", "b/größe_例.jpg", "b/na[1]me.jpg"]
    put(tmp_path, *names)
    assert ids(tmp_path) == sorted(names)
    assert ids(tmp_path / "b/na[1]me.jpg") == ["na[1]me.jpg"]


def test_a_name_that_is_not_utf8_gets_an_id_that_is(tmp_path):
    put(tmp_path, os.fsdecode(b"caf\xe9.jpg"))
    assert ids(tmp_path) == ["caf\\xe9.jpg"]
    (ref,) = list_images(str(tmp_path)).images
    assert Path(ref.path).read_bytes() == b"12345"


def test_hidden_files_are_passed_over_and_others_named(tmp_path):
    put(tmp_path, "a.jpg", ".b.jpg", ".git/c.jpg", "__MACOSX/d.jpg", "x/__MACOSX/._e.jpg")
    put(tmp_path, "x/notes.txt", "readme", "more.zip")
    listing = list_images(str(tmp_path))
    assert [ref.image_id for ref in listing.images] == ["a.jpg"]
    assert listing.ignored == ("more.zip", "readme", "x/notes.txt")


def test_an_input_below_a_hidden_folder(tmp_path):
    put(tmp_path, ".cache/a.jpg")
    assert ids(tmp_path / ".cache") == ["a.jpg"]


def test_a_folder_named_like_an_image(tmp_path):
    put(tmp_path, "x.jpg/y.png")
    assert ids(tmp_path) == ["x.jpg/y.png"]
    assert ids(tmp_path / "x.jpg") == ["y.png"]
    assert ids(tmp_path / "*" / "*") == ["x.jpg/y.png"]
    with pytest.raises(JobError, match="no image"):
        list_images(str(tmp_path / "*.jpg"))


def test_links(tmp_path):
    put(tmp_path, "real/a.jpg", "in/b.jpg")
    (tmp_path / "in/linked").symlink_to(tmp_path / "real")
    (tmp_path / "in/c.jpg").symlink_to(tmp_path / "in/b.jpg")
    (tmp_path / "in/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in/round.jpg").symlink_to(tmp_path / "in/round.jpg")
    assert ids(tmp_path / "in") == ["b.jpg", "c.jpg", "gone.jpg", "linked/a.jpg", "round.jpg"]
    sizes = {ref.image_id: ref.bytes for ref in list_images(str(tmp_path / "in")).images}
    assert (sizes["c.jpg"], sizes["gone.jpg"]) == (5, 0)


def test_a_pipe_is_no_image(tmp_path):
    put(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert list_images(str(tmp_path)).ignored == ("pipe.jpg",)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("set/*.jpg", ["a.jpg", "b.jpg"]),
        ("set/**/*.jpg", ["a.jpg", "b.jpg", "x/a.jpg", "x/y/a.jpg"]),
        ("set/**", ["a.jpg", "b.jpg", "c.png", "x/a.jpg", "x/y/a.jpg"]),
        ("set/**/**/a.jpg", ["a.jpg", "x/a.jpg", "x/y/a.jpg"]),
        ("s?t/x/*.jpg", ["set/x/a.jpg"]),
        ("set/[ab].jpg", ["a.jpg", "b.jpg"]),
        ("set/x/../*.png", ["c.png"]),
    ],
)
def test_a_glob(tmp_path, monkeypatch, pattern, expected):
    put(tmp_path, "set/a.jpg", "set/b.jpg", "set/c.png", "set/x/a.jpg", "set/x/y/a.jpg")
    put(tmp_path, "set/.h.jpg", "other/a.jpg")
    assert ids(tmp_path / pattern) == expected
    monkeypatch.chdir(tmp_path)
    assert ids(pattern) == expected
    assert all(Path(ref.path).is_file() for ref in list_images(pattern).images)


def test_a_zip(tmp_path):
    path = tmp_path / "Set.ZIP"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("b/x 1.jpg", "a/x 1.jpg", "größe.PNG", "notes.txt", "clip.mp4", "x/"):
            archive.writestr(name, b"1234567" if name != "x/" else b"")
        for name in ("__MACOSX/a/._x.jpg", ".h.jpg"):
            archive.writestr(name, b"")
        for name in ("../up.jpg", "/root.jpg"):
            archive.writestr(name, b"1")
    listing = list_images(str(path))
    assert [ref.image_id for ref in listing.images] == ["a/x 1.jpg", "b/x 1.jpg", "größe.PNG"]
    assert listing.ignored == ("../up.jpg", "/root.jpg", "clip.mp4", "notes.txt")
    ref = listing.images[0]
    assert (ref.path, ref.member, ref.bytes) == (str(path), "a/x 1.jpg", 7)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_in_a_zip_is_one_image(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.jpg", b"1")
        archive.writestr("x.jpg", b"22")
    (ref,) = list_images(str(tmp_path / "a.zip")).images
    assert ref.bytes == 2  # the later one, as unzip has it


@pytest.mark.parametrize("data", [b"", b"no ZIP"])
def test_a_damaged_zip(tmp_path, data):
    put(tmp_path, "a.zip", data=data)
    with pytest.raises(JobError, match=r"a\.zip cannot be read as a ZIP") as caught:
        list_images(str(tmp_path / "a.zip"))
    assert not isinstance(caught.value, UsageError)


def test_videos_and_images_in_one_folder(tmp_path):
    put(tmp_path, "in/clip.MP4", data=video(".mp4", "mp4v"))
    put(tmp_path, "in/broken.avi", "in/still.jpg")
    refs = list_images(str(tmp_path / "in")).images
    assert refs[0].image_id == "broken.avi#000000"  # for its fault to be recorded
    assert refs[-1].image_id == "still.jpg"
    frames = refs[1:-1]
    assert [ref.image_id for ref in frames] == [f"clip.MP4#{n:06d}" for n in range(FRAMES)]
    assert [ref.frame for ref in frames] == list(range(FRAMES))
    size = (tmp_path / "in/clip.MP4").stat().st_size
    assert size - FRAMES < sum(ref.bytes for ref in frames) <= size
    assert ids(tmp_path / "in/clip.MP4") == [ref.image_id for ref in frames]


@pytest.mark.parametrize("source", ["", "nowhere", "nowhere/a.jpg", "a.jpg/b.jpg", "n" * 300])
def test_a_missing_input_is_wrong_usage(tmp_path, monkeypatch, source):
    put(tmp_path, "a.jpg")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"input '{source}' does not exist"):
        list_images(source)


@pytest.mark.parametrize("source", ["in", "in/*.jpg", "*.jpg", "in/notes.txt", "empty.zip"])
def test_no_image_fails(tmp_path, monkeypatch, source):
    put(tmp_path, "in/notes.txt")
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobError, match="no image in") as caught:
        list_images(source)
    assert not isinstance(caught.value, UsageError)
    assert repr(source) in str(caught.value)


def test_a_folder_that_cannot_be_listed_is_not_left_out_in_silence():
    root = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        root.chmod(0o755)
        put(root, "a.jpg", "closed/b.jpg")
        with no_rights(root / "closed"):
            with pytest.raises(JobError, match="closed cannot be listed: Permission denied"):
                list_images(str(root))
            with pytest.raises(JobError, match="cannot be read: Permission denied"):
                list_images(str(root / "closed/b.jpg"))
    finally:
        shutil.rmtree(root)
