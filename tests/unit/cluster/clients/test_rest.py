import httpx
import pytest

from cluster.clients.rest import Fields, NoAnswerError, UnknownAnswerError, get, get_list
from tests.unit.cluster.clients.conftest import client


def test_errors_name_the_address() -> None:
    with client({"/dead": httpx.ConnectError("Connect failed"), "/page": "<html>"}) as daemon:
        with pytest.raises(NoAnswerError) as caught:
            get(daemon, "/dead")
        assert str(caught.value) == "http://node1:1234/dead does not answer: Connect failed."
        with pytest.raises(NoAnswerError, match="http://node1:1234/none answers 404 Not Found"):
            get(daemon, "/none")
        with pytest.raises(UnknownAnswerError, match="http://node1:1234/page answers no JSON"):
            get(daemon, "/page")


def test_an_answer_of_another_shape_is_refused() -> None:
    with client({"/list": [{"a": 1}], "/object": {"a": 1}, "/mixed": [1]}) as daemon:
        assert [item.number("a") for item in get_list(daemon, "/list")] == [1]
        for path, read in (("/list", get), ("/object", get_list), ("/mixed", get_list)):
            with pytest.raises(UnknownAnswerError, match=f"{path}.* is no JSON (object|list)"):
                read(daemon, path)


@pytest.mark.parametrize(
    ("method", "name", "says"),
    [
        ("text", "missing", "missing is missing, and should be of type str"),
        ("text", "number", "number is 5, and should be of type str"),
        ("number", "yes", "yes is True, and should be of type int"),
        ("object", "number", "number is 5, and should be of type dict"),
        ("objects", "text", "text is 'a', and should be of type list"),
        ("objects", "numbers", r"http://x numbers\[0\] is no JSON object"),
        ("parsed", "text", "http://x text is no JSON"),
        ("parsed", "inside", "http://x inside is no JSON object"),
    ],
)
def test_a_field_that_is_missing_or_of_another_type_is_named(
    method: str, name: str, says: str
) -> None:
    values = {"text": "a", "number": 5, "yes": True, "numbers": [1], "inside": "[1]"}
    with pytest.raises(UnknownAnswerError, match=says):
        getattr(Fields(source="http://x", values=values), method)(name)
