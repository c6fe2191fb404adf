"""What a log's file holds, decompressed piece by piece; the codec is told by its first bytes.

A log that grows, or whose application was killed, ends anywhere: what is whole of it is read.
"""

import io
import itertools
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from job.errors import UsageError

PIECE = 2**20
_SMALL = 2**12

# net.jpountz.lz4.LZ4BlockOutputStream: token, compressed and plain length, checksum.
_LZ4_BLOCK = struct.Struct("<8sBIII")
_LZ4_MAGIC = b"LZ4Block"
_LZ4_RAW, _LZ4_PACKED = 0x10, 0x20
# org.xerial.snappy.SnappyOutputStream: magic, version, least version; then length and block.
_SNAPPY_MAGIC = b"\x82SNAPPY\0"
_SNAPPY_HEADER = 16
# No block is larger in Spark's streams; a length beyond says that the bytes are something else.
_MOST = 2**28

_STREAMS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip"}
_NOT_READ = {
    b"ZV": "LZF is not read; spark.eventLog.compression.codec=zstd is",
    b"PK\x03\x04": "it is a ZIP: unpack it, and give what is in it",
    b"BZh": "bzip2 is not read: unpack it",
    b"\xfd7zXZ": "xz is not read: unpack it",
    b"\x04\x22\x4d\x18": "an LZ4 frame is not what Spark writes: unpack it with `lz4 -d`",
    b"PAR1": "it is a Parquet file",
}


class Plain:
    """The plain bytes of a log's file, as pieces; ``cut`` says afterwards that its end is missing.

    Iterating raises UsageError where the file is of a format that is not read.
    """

    def __init__(self, pieces: Iterable[bytes], name: str) -> None:
        self.cut = False
        self._file = io.BufferedReader(_Pieces(iter(pieces)), PIECE)
        self._name = name

    def __iter__(self) -> Iterator[bytes]:
        start = self._file.peek(16)[:16]
        for magic, why in _NOT_READ.items():
            if start.startswith(magic):
                raise UsageError(f"{self._name} is no event log that is read here: {why}.")
        if start.startswith(_LZ4_MAGIC):
            return self._lz4()
        if start.startswith(_SNAPPY_MAGIC):
            return self._snappy()
        for magic, codec in _STREAMS.items():
            if start.startswith(magic):
                return self._stream(codec)
        return iter(lambda: self._file.read(PIECE), b"")

    def _stream(self, codec: str) -> Iterator[bytes]:
        packed = pa.CompressedInputStream(pa.PythonFile(self._file, mode="r"), codec)
        # Where the stream breaks off, a read that reaches beyond loses all that it has read.
        reads = iter(lambda: packed.read(_SMALL), b"")
        while not self.cut:
            piece = bytearray()
            try:
                for part in itertools.islice(reads, PIECE // _SMALL):
                    piece += part
            except OSError:
                self.cut = True
            if not piece:
                return
            yield bytes(piece)

    def _lz4(self) -> Iterator[bytes]:
        while header := self._read(_LZ4_BLOCK.size):
            magic, token, packed, plain, _ = _LZ4_BLOCK.unpack(header)
            method = token & 0xF0
            if magic != _LZ4_MAGIC or method not in (_LZ4_RAW, _LZ4_PACKED):
                self.cut = True
                return
            yield from self._block("lz4_raw" if method == _LZ4_PACKED else "", packed, plain)

    def _snappy(self) -> Iterator[bytes]:
        self._read(_SNAPPY_HEADER)
        while length := self._read(4):
            if length + self._file.peek(4)[:4] == _SNAPPY_MAGIC:
                # A stream begins anew where one was appended.
                self._read(_SNAPPY_HEADER - 4)
                continue
            plain = 0  # a varint
            for at, byte in enumerate(self._file.peek(5)[:5]):
                plain |= (byte & 0x7F) << (7 * at)
                if byte < 0x80:
                    break
            yield from self._block("snappy", int.from_bytes(length, "big"), plain)

    def _block(self, codec: str, packed: int, plain: int) -> Iterator[bytes]:
        """Of known lengths; nothing for a block that is not whole or not sound."""
        if not packed:
            return
        content = self._read(packed) if max(packed, plain) <= _MOST else b""
        if not content:
            self.cut = True
            return
        if not codec:
            yield content
            return
        try:
            yield pa.Codec(codec).decompress(content, plain, asbytes=True)
        except (OSError, pa.ArrowException):
            self.cut = True

    def _read(self, length: int) -> bytes:
        """So many bytes, or none where fewer are left."""
        found = self._file.read(length)
        if 0 < len(found) < length:
            self.cut = True
        return found if len(found) == length else b""


class _Pieces(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
