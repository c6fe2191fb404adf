"""JSON from a daemon, with errors that name the address and the field."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from cluster.errors import ClusterError

T = TypeVar("T")


class NoAnswerError(ClusterError):
    """A daemon does not answer, or refuses to."""


class UnknownAnswerError(ClusterError):
    """A daemon answers something else than the versions that are known here."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """A JSON object and where it is from. A field is asked for with its type.

    Every method raises UnknownAnswerError where the field is missing or of another type.
    """

    source: str
    values: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A string."""
        return self._get(name, str)

    def number(self, name: str) -> int:
        """A whole number."""
        return self._get(name, int)

    def real(self, name: str) -> float:
        """A number with a point."""
        return self._get(name, float)

    def object(self, name: str) -> "Fields":
        """An object."""
        return Fields(source=f"{self.source} {name}", values=self._get(name, dict))

    def objects(self, name: str) -> "tuple[Fields, ...]":
        """A list of objects."""
        return _objects(self._get(name, list), f"{self.source} {name}")

    def parsed(self, name: str) -> "dict[str, Fields]":
        """Objects by name, which are inside as JSON text."""
        source = f"{self.source} {name}"
        try:
            found = json.loads(self.text(name))
        except json.JSONDecodeError as error:
            raise UnknownAnswerError(f"{source} is no JSON.") from error
        values = _object(found, source).values
        return {key: _object(value, f"{source} {key}") for key, value in values.items()}

    def _get(self, name: str, kind: type[T]) -> T:
        value = self.values.get(name)
        # In JSON true is no number, in Python it is.
        if not isinstance(value, kind) or isinstance(value, bool):
            said = f"is {value!r}"[:60] if name in self.values else "is missing"
            raise UnknownAnswerError(
                f"{self.source}: {name} {said}, and should be of type {kind.__name__}: the daemon"
                " may be of a version that is not known here."
            )
        return value


def get(client: httpx.Client, path: str, **query: str) -> Fields:
    """The JSON object at a path.

    Raises:
        NoAnswerError: no connection, no answer in time, or a status of 400 and above.
        UnknownAnswerError: the answer is no JSON object.
    """
    return _object(*_json(client, "GET", path, query))


def put(client: httpx.Client, path: str, content: Mapping[str, Any], **query: str) -> Fields:
    """The JSON object that a change of the one at a path is answered with; raises as ``get``."""
    return _object(*_json(client, "PUT", path, query, content))


def get_list(client: httpx.Client, path: str, **query: str) -> tuple[Fields, ...]:
    """The list of JSON objects at a path; raises as ``get``."""
    return _objects(*_json(client, "GET", path, query))


def _json(
    client: httpx.Client,
    method: str,
    path: str,
    query: Mapping[str, str],
    content: Mapping[str, Any] | None = None,
) -> tuple[Any, str]:
    source = f"http://{client.base_url.host}:{client.base_url.port}{path}"
    try:
        # The ResourceManager answers XML to who does not say.
        answer = client.request(
            method, path, params=query, json=content, headers={"Accept": "application/json"}
        )
    except httpx.RequestError as error:
        raise NoAnswerError(f"{source} does not answer: {error}.") from error
    if answer.is_error:
        said = f"{source} answers {answer.status_code} {answer.reason_phrase}"
        raise NoAnswerError(f"{said}{_reason(answer)}.")
    try:
        return answer.json(), source
    except ValueError as error:
        raise UnknownAnswerError(f"{source} answers no JSON.") from error


def _reason(answer: httpx.Response) -> str:
    """Hadoop's daemons say why."""
    try:
        message: str = answer.json()["RemoteException"]["message"]
        return f": {message.splitlines()[0].rstrip('.')}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


def _object(value: Any, source: str) -> Fields:
    if not isinstance(value, dict):
        raise UnknownAnswerError(f"{source} is no JSON object.")
    return Fields(source=source, values=value)


def _objects(values: Any, source: str) -> tuple[Fields, ...]:
    if not isinstance(values, list):
        raise UnknownAnswerError(f"{source} is no JSON list.")
    return tuple(_object(value, f"{source}[{number}]") for number, value in enumerate(values))
