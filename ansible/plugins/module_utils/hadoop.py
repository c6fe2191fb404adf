"""What modules ask Hadoop's daemons over HTTP."""

import json
import urllib.error
import urllib.request

# Proxies are for the world outside; a cluster's hosts are reached directly.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TIMEOUT_S = 10


class NoAnswerError(Exception):
    """Nothing came, or a refusal; says what."""


def ask(url, method="GET"):
    """The JSON a daemon answers with; None where it answers with nothing."""
    try:
        with OPENER.open(urllib.request.Request(url, method=method), timeout=TIMEOUT_S) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise NoAnswerError(f"{url}: {_reason(error)}") from error
    except OSError as error:
        raise NoAnswerError(f"{url}: {getattr(error, 'reason', error)}") from error
    return json.loads(text) if text else None


def bean(address, name):
    """A JMX bean of the daemon at ADDRESS (host:port): its attributes.

    A daemon that has just started answers before its beans are there.
    """
    found = ask(f"http://{address}/jmx?qry=Hadoop:{name}")["beans"]
    if not found:
        raise NoAnswerError(f"{address} does not tell of {name} yet")
    return found[0]


def _reason(error):
    try:
        return json.loads(error.read())["RemoteException"]["message"].splitlines()[0]
    except (ValueError, KeyError, TypeError, IndexError, OSError):
        return f"{error.code} {error.reason}"
