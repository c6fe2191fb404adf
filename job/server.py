"""The driver's file server: how executors get a local input where there is no HDFS."""

import secrets
import threading
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copyfileobj
from typing import Any
from urllib.parse import unquote


class FileServer:
    """Serves the files named to it and no others, under an address that cannot be guessed."""

    def __init__(self, address: str, paths: Iterable[str]) -> None:
        """Begin to serve absolute PATHS on the IP address or name ADDRESS, on a free port."""
        secret = secrets.token_urlsafe(16)
        allowed = {f"/{secret}{path}": Path(path) for path in paths}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # so that connections are kept
            timeout = 60

            def do_GET(self) -> None:
                path = allowed.get(unquote(self.path))
                if path is None:
                    self.send_error(HTTPStatus.NOT_FOUND)
                    return
                try:
                    file = path.open("rb")
                except OSError as error:
                    self._say(HTTPStatus.FORBIDDEN, (error.strerror or "no access").encode())
                    return
                with file:
                    self.send_response(HTTPStatus.OK)
                    self.send_header("Content-Length", str(path.stat().st_size))
                    self.end_headers()
                    copyfileobj(file, self.wfile)

            def _say(self, status: HTTPStatus, text: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{address}:{self._server.server_port}/{secret}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
