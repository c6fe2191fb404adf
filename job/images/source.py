"""What an input names: a folder, one file, a glob, a ZIP or a video, to references and bytes."""

import errno
import fnmatch
import glob
import itertools
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from job.errors import JobError, UsageError
from job.images.decode import ImageError, Pixels
from job.images.video import Video, count_frames
from job.origins import Origin, Part, ThisMachine, check_size
from job.webhdfs import FileStatus, WebHdfs

# fmt: off
IMAGES = frozenset({
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})
VIDEOS = frozenset({
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".webm", ".wmv",
})
# fmt: on

ON_HDFS = "hdfs:"
"""How an input or output on HDFS begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """Where one image is; small, and made without reading it.

    ``image_id`` is unique in its input: the path below it with "/", for a video frame with
    ``#000123`` added. ``path`` is the absolute path of the file: the image, or the ZIP that holds
    it as ``member``, or the video that holds it as ``frame`` (from 0). ``part`` says that the file
    is a part (offset, length in bytes) of the one at ``path``. ``bytes`` tells what it may cost:
    the size of the file or member, 0 where it cannot be told, a mean for a frame.
    """

    image_id: str
    path: str
    bytes: int
    member: str | None = None
    frame: int | None = None
    part: Part | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of an input by image_id in order, and the names of files that are none."""

    images: tuple[ImageRef, ...]
    ignored: tuple[str, ...]


def list_images(source: str) -> Listing:
    """List what ``--input`` names.

    A folder is listed with all folders below it, links followed; a ZIP by its members (a video or
    ZIP in a ZIP is ignored); image_id is relative to the folder, the ZIP, or a glob's part before
    its first wildcard. Hidden files and ``__MACOSX`` are passed over. Images are told by name
    alone. Videos are opened to count their frames; one that cannot be opened counts as one frame,
    and so do links to nothing as one image, for their fault to be recorded when they are read.

    Raises UsageError where there is no such file or folder, JobError where it holds no image, or a
    folder or the ZIP cannot be listed.
    """
    path = Path(source)
    if source and _exists(path):
        if path.is_dir():
            listing = _list_files(path, _walk(path))
        elif path.suffix.lower() == ".zip":
            listing = _list_members(path)
        else:
            listing = _list_files(path.parent, [path.name])
    elif glob.has_magic(source):
        above, pattern = split_glob(path)
        root = Path(above)
        # Not Path.glob: in Python 3.11 its ** finds folders only.
        names = glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207
        listing = _list_files(root, (name for name in names if _is_shown(name)))
    else:
        raise UsageError(f"input {source!r} does not exist: name a file, a folder or a glob")
    if not listing.images:
        raise JobError(
            f"no image in {source!r} ({len(listing.ignored)} other files): "
            "name images, videos, a folder of them or a ZIP of images"
        )
    return listing


def listing_of(files: WebHdfs, source: str) -> Listing:
    """List what an ``hdfs:`` input names: a folder with all below it, a file, or a glob.

    Images alone: videos and ZIPs are ignored there. Raises as ``list_images``.
    """
    path = hdfs_path(source)
    root, pattern = split_glob(PurePosixPath(path))
    found = files.status(root)
    if found is None:
        raise UsageError(f"input {source!r} does not exist: name a file, a folder or a glob")
    if not found.is_folder:
        root = str(PurePosixPath(root).parent)
    everything = _walk_hdfs(files, root) if found.is_folder else iter((found,))
    images: list[ImageRef] = []
    ignored: list[str] = []
    for file in everything:
        name = file.path.removeprefix(root.rstrip("/") + "/")
        if pattern and not _matches(name, pattern):
            continue
        if Path(name).suffix.lower() in IMAGES:
            images.append(ImageRef(image_id=name, path=file.path, bytes=file.bytes))
        else:
            ignored.append(name)
    if not images:
        raise JobError(f"no image in {source!r} ({len(ignored)} other files): name images")
    images.sort(key=lambda image: image.image_id)
    return Listing(images=tuple(images), ignored=tuple(ignored))


def split_glob(path: PurePath) -> tuple[str, str]:
    """The part of a pattern before its first wildcard, and the rest; empty where there is none."""
    fixed = tuple(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    return str(type(path)(*fixed)), "/".join(path.parts[len(fixed) :])


def hdfs_path(source: str) -> str:
    """The path of hdfs:///a/b, hdfs:/a/b or hdfs://namenode:8020/a/b; a cluster has one HDFS."""
    rest = source.removeprefix("hdfs:")
    if rest.startswith("//"):
        rest = "/" + rest[2:].partition("/")[2]
    return "/" + rest.strip("/")


def _walk_hdfs(files: WebHdfs, folder: str) -> Iterator[FileStatus]:
    for entry in files.list(folder):
        if _is_shown(entry.name):
            if entry.is_folder:
                yield from _walk_hdfs(files, entry.path)
            else:
                yield entry


def _matches(name: str, pattern: str) -> bool:
    """As glob does: ``*`` inside a folder, ``**`` over any number of them."""
    expression = "/".join(
        "(?:.+/)?" if part == "**" else fnmatch.translate(part)[4:-3] for part in pattern.split("/")
    ).replace("(?:.+/)?/", "(?:.+/)?")
    expression = expression.replace(".*", "[^/]*")
    return re.fullmatch(expression, name, re.DOTALL) is not None


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        # The name may be too long for the file system and still be a glob.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return False
        raise JobError(f"input {str(path)!r} cannot be read: {error.strerror}") from error
    return True


def _is_shown(name: str) -> bool:
    return not any(
        part == "__MACOSX" or (part.startswith(".") and part != "..") for part in name.split("/")
    )


def _walk(root: Path) -> Iterator[str]:
    seen = set()  # for links that lead back up
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_refuse):
        here = Path(folder)
        identity = here.stat().st_dev, here.stat().st_ino
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if _is_shown(name))
        below = here.relative_to(root)
        yield from (str(below / name) for name in files if _is_shown(name))


def _refuse(error: OSError) -> None:
    raise JobError(f"folder {error.filename} cannot be listed: {error.strerror}") from error


def _list_files(root: Path, names: Iterable[str]) -> Listing:
    images: list[ImageRef] = []
    ignored: list[str] = []
    base = root.absolute()
    for name in sorted(set(names)):  # a glob with two ** finds some twice
        path = f"{base}/{name}"
        size, is_folder, is_file = _look(path)
        suffix = Path(name).suffix.lower()
        if is_folder:
            continue
        if is_file and suffix in IMAGES:
            images.append(ImageRef(image_id=_utf8(name), path=path, bytes=size))
        elif is_file and suffix in VIDEOS:
            frames = max(count_frames(path), 1)
            images.extend(
                ImageRef(
                    image_id=f"{_utf8(name)}#{frame:06d}",
                    path=path,
                    bytes=size // frames,
                    frame=frame,
                )
                for frame in range(frames)
            )
        else:
            ignored.append(_utf8(name))
    return Listing(images=tuple(images), ignored=tuple(ignored))


def _look(path: str) -> tuple[int, bool, bool]:
    """Tell size, whether a folder, whether a file; what cannot be asked passes for a file."""
    try:
        info = Path(path).stat()
    except OSError:
        return 0, False, True
    # A pipe would let its reader wait for ever.
    return info.st_size, stat.S_ISDIR(info.st_mode), stat.S_ISREG(info.st_mode)


def _utf8(name: str) -> str:
    """Show bytes of a file name that are not UTF-8 as \\xNN: results are written in UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _list_members(path: Path) -> Listing:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
    except Exception as error:  # damaged ones raise struct, Unicode and other errors too
        raise JobError(f"{path} cannot be read as a ZIP: {error}") from error
    images: list[ImageRef] = []
    ignored: list[str] = []
    for name, member in sorted(members.items()):
        parts = name.split("/")
        if member.is_dir() or not _is_shown(name):
            continue
        # An id that leads out of its folder could make a later output do so.
        if Path(name).suffix.lower() in IMAGES and ".." not in parts and "" not in parts:
            images.append(
                ImageRef(
                    image_id=name, path=str(path.absolute()), bytes=member.file_size, member=name
                )
            )
        else:
            ignored.append(name)
    return Listing(images=tuple(images), ignored=tuple(ignored))


class Reader:
    """Fetches what references name; keeps the last ZIP or video open in between.

    Not safe between threads.
    """

    def __init__(self, origin: Origin = ThisMachine()) -> None:  # noqa: B008  (it has no state)
        self._origin = origin
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._archive: zipfile.ZipFile | None = None
        self._video: Video | None = None
        self._open: tuple[str, Part | None] | None = None  # the ZIP or video

    def close(self) -> None:
        """Close what is open."""
        if self._archive is not None:
            self._archive.close()
        if self._video is not None:
            self._video.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._archive = self._video = self._folder = self._open = None

    def fetch(self, ref: ImageRef) -> bytes | Pixels:
        """Return a file's bytes, or a frame's pixels (FFmpeg reads and decodes in one).

        Either goes to ``decode``. Ask for a video's frames in ascending order; a step back or far
        ahead is a seek, exact but slow.

        Raises ImageError (stage ``read``), and UnreachableError where no file could be read.
        """
        try:
            if ref.frame is not None:
                return self._open_video(ref).frame(ref.frame)
            if ref.member is not None:
                return self._read_member(ref, ref.member)
            return self._origin.read(ref.path, ref.part)
        except OSError as error:
            reason = error.strerror or error
            raise ImageError("read", f"the file cannot be read: {reason}") from error

    def _local(self, ref: ImageRef) -> Path:
        self.close()
        self._open = ref.path, ref.part
        return self._origin.local(ref.path, ref.part, self._new_folder)

    def _new_folder(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="cluster-input-")
        return Path(self._folder.name)

    def _open_video(self, ref: ImageRef) -> Video:
        if self._video is None or self._open != (ref.path, ref.part):
            local = self._local(ref)
            with local.open("rb"):  # its error says more than FFmpeg's
                self._video = Video(str(local))
        return self._video

    def _read_member(self, ref: ImageRef, name: str) -> bytes:
        try:
            if self._archive is None or self._open != (ref.path, ref.part):
                self._archive = zipfile.ZipFile(self._local(ref))
            member = self._archive.getinfo(name)
            check_size(member.file_size)
            return self._archive.read(member)
        except (OSError, JobError, ImageError):
            raise
        except Exception as error:  # zlib, lzma, struct and others, each with its own class
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ImageError("read", f"the ZIP member cannot be read ({reason})") from error
