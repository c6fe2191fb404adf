"""Files from the network into the cache: each with a digest, none half."""

import hmac
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import httpx

from cluster.artifacts import archive
from cluster.errors import ClusterError

ALGORITHM = "sha512"
NEEDED = "digest needed"  # what stands in the place of a digest that nobody has found yet
TIMEOUT = httpx.Timeout(30.0)
TOLD_EVERY_S = 5.0
MEGABYTE = 10**6


def fetch(urls: Sequence[str], *, digest: str, target: Path) -> None:
    """Put what the first good address gives to TARGET, unless it is there.

    Call it under a lock: the part that has come lies beside TARGET until its digest is right.

    Raises:
        ClusterError: no address gave the file with that SHA-512.
    """
    if target.exists():
        return
    part = target.with_name(f"{target.name}.part")
    failures = []
    for url in urls:
        try:
            _download(url, part)
            verify(part, digest)
            part.rename(target)
            return
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failures.append(f"{url}: {error or type(error).__name__}")
        except ClusterError as error:
            failures.append(f"{url}: {error}")
        finally:
            part.unlink(missing_ok=True)
    raise ClusterError(
        f"{target.name} cannot be downloaded ({'; '.join(failures)}): bring the file here by hand "
        "and give its folder with CLUSTER_OFFLINE."
    )


def verify(file: Path, digest: str) -> None:
    """Hold a file against its SHA-512.

    Raises:
        ClusterError: it is another file, or nobody knows the digest.
    """
    found = archive.digest_of(file, ALGORITHM)
    if not hmac.compare_digest(found, digest):
        raise ClusterError(f"its SHA-512 is {found}, and {digest} is wanted")


def _download(url: str, part: Path) -> None:
    with (
        httpx.stream("GET", url, follow_redirects=True, timeout=TIMEOUT) as response,
        part.open("wb") as file,
    ):
        response.raise_for_status()
        total = int(response.headers.get("content-length", 0))
        for chunk in _told(response.iter_bytes(2**20), total=total, name=url.rpartition("/")[2]):
            file.write(chunk)


def _told(chunks: Iterable[bytes], *, total: int, name: str) -> Iterable[bytes]:
    """The same chunks; a line to standard error now and then says how far they are."""
    done, told = 0, time.monotonic()
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if time.monotonic() - told > TOLD_EVERY_S:
            told = time.monotonic()
            of = f" of {total / MEGABYTE:.0f}" if total else ""
            click.echo(f"{name}: {done / MEGABYTE:.0f}{of} MB", err=True)
