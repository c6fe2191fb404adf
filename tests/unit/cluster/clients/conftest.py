import json
from pathlib import Path
from typing import Any

import httpx

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> Any:
    """An answer of a daemon of a lab: Hadoop 3.5.0, Spark 3.5.5."""
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def client(answers: dict[str, Any]) -> httpx.Client:
    """Of a daemon that answers these; a key is a path and, where there is one, its query."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept"] == "application/json"
        found = answers.get(request.url.raw_path.decode()) or answers.get(request.url.path)
        if isinstance(found, Exception):
            raise found
        if isinstance(found, httpx.Response):
            return found
        if isinstance(found, str | None):
            return httpx.Response(404 if found is None else 200, text=found or "not here")
        return httpx.Response(200, json=found)

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://node1:1234")
