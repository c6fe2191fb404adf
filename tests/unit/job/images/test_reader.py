import zipfile
from contextlib import closing

import pytest

from job import origins
from job.images.decode import ImageError, decode
from job.images.source import ImageRef, Reader, list_images
from tests.unit.job.images.image_files import FRAMES, no_rights, noise, number_shown, video


@pytest.fixture
def reader():
    with closing(Reader()) as it:
        yield it


def ref(path, **more):
    return ImageRef(image_id="x", path=str(path), bytes=0, **more)


def read_fault(reader, where):
    with pytest.raises(ImageError) as caught:
        reader.fetch(where)
    assert caught.value.stage == "read"
    assert "\n" not in caught.value.message
    return caught.value.message


def test_fetches_what_a_listing_names(tmp_path, reader):
    names = ["a/im 1.jpg", "b/im 1.jpg", "größe_例.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    refs = list_images(str(tmp_path)).images
    assert [reader.fetch(each).decode() for each in refs] == names


def test_fetches_members(tmp_path, reader):
    for number in (1, 2):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/größe.jpg", b"a%d" % number)
            archive.writestr("b/größe.jpg", b"b%d" % number)
    refs = [each for n in (1, 2, 1) for each in list_images(str(tmp_path / f"{n}.zip")).images]
    assert [reader.fetch(each) for each in refs] == [b"a1", b"b1", b"a2", b"b2", b"a1", b"b1"]


def test_fetches_frames_of_several_videos(tmp_path, reader):
    for name in ("1.mp4", "2.mp4"):
        (tmp_path / name).write_bytes(video(".mp4", "mp4v"))
    refs = list_images(str(tmp_path)).images
    for each in (refs[3], refs[4], refs[FRAMES + 9], refs[2]):
        assert number_shown(decode(reader.fetch(each))) == each.frame


def test_fetches_from_a_zip_and_a_video_in_turn(tmp_path, reader):
    (tmp_path / "clip.mp4").write_bytes(video(".mp4", "mp4v"))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.png", b"1")
    for number in (0, 5, 120):
        assert number_shown(reader.fetch(ref(tmp_path / "clip.mp4", frame=number))) == number
        assert reader.fetch(ref(tmp_path / "set.zip", member="a.png")) == b"1"


def test_a_closed_reader_opens_again(tmp_path, reader):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.png", b"1")
    (tmp_path / "clip.mp4").write_bytes(video(".mp4", "mp4v"))
    for _ in range(2):
        assert reader.fetch(ref(tmp_path / "set.zip", member="a.png")) == b"1"
        assert number_shown(reader.fetch(ref(tmp_path / "clip.mp4", frame=7))) == 7
        reader.close()


@pytest.mark.parametrize("more", [{}, {"member": "a.jpg"}, {"frame": 0}])
def test_a_file_that_has_gone(tmp_path, reader, more):
    message = read_fault(reader, ref(tmp_path / "gone", **more))
    assert message == "the file cannot be read: No such file or directory"


@pytest.mark.parametrize("more", [{}, {"member": "a.jpg"}, {"frame": 0}])
def test_a_file_without_the_right_to_read_it(tmp_path, reader, more):
    path = tmp_path / "x.jpg"
    path.write_bytes(b"1")
    with no_rights(path):
        message = read_fault(reader, ref(path, **more))
    assert message == "the file cannot be read: Permission denied"


def test_a_folder_in_place_of_a_file(tmp_path, reader):
    assert read_fault(reader, ref(tmp_path)) == "the file cannot be read: Is a directory"


def test_a_file_that_the_system_cannot_read(tmp_path, reader):
    """Nothing is mapped at the start of a process's memory: reading it is a real I/O error."""
    (tmp_path / "x.jpg").symlink_to("/proc/self/mem")
    (where,) = list_images(str(tmp_path)).images
    assert read_fault(reader, where) == "the file cannot be read: Input/output error"


def test_a_file_too_large_for_an_image(tmp_path, reader):
    with (tmp_path / "x.jpg").open("wb") as file:
        file.truncate(origins.MAX_BYTES + 1)  # a hole: it takes no room
    (where,) = list_images(str(tmp_path)).images
    assert "1,073,741,825 bytes" in read_fault(reader, where)


@pytest.fixture
def archive_path(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.jpg", b"good")
        archive.writestr("bad.jpg", noise(20, 20).tobytes())
    return path


def fetch_damaged(reader, archive_path, data):
    archive_path.write_bytes(data)
    good, bad = sorted(list_images(str(archive_path)).images, key=lambda each: each.bytes)
    message = read_fault(reader, bad)
    assert reader.fetch(good) == b"good"  # the rest of the ZIP is still read
    return message


def test_a_damaged_member(archive_path, reader):
    data = bytearray(archive_path.read_bytes())
    middle = data.rindex(b"bad.jpg", 0, data.index(b"PK\x01\x02")) + 500
    data[middle : middle + 40] = bytes(40)
    assert "the ZIP member cannot be read" in fetch_damaged(reader, archive_path, data)


def test_an_encrypted_member(archive_path, reader):
    data = bytearray(archive_path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.rindex(signature) + flags] |= 1  # APPNOTE 4.4.4, bit 0
    assert "encrypted" in fetch_damaged(reader, archive_path, data)


def test_a_member_of_unknown_compression(archive_path, reader):
    data = bytearray(archive_path.read_bytes())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.rindex(signature) + method] = 97
    assert "the ZIP member cannot be read" in fetch_damaged(reader, archive_path, data)


def test_a_member_too_large_for_an_image(archive_path, reader):
    data = bytearray(archive_path.read_bytes())
    size = data.rindex(b"PK\x01\x02") + 24
    data[size : size + 4] = (2**31).to_bytes(4, "little")
    assert "2,147,483,648 bytes" in fetch_damaged(reader, archive_path, data)


def test_a_member_that_has_gone(archive_path, reader):
    assert "cannot be read" in read_fault(reader, ref(archive_path, member="other.jpg"))


def test_a_video_that_cannot_be_opened(tmp_path, reader):
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    (where,) = list_images(str(tmp_path)).images
    assert "cannot be opened" in read_fault(reader, where)
