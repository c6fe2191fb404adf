"""How fast the network carries data between two hosts: one listens, the other connects.

    link.py listen ADDRESS PORT PEER SECONDS      link.py connect ADDRESS PORT OWN SECONDS

The token that both are given as the last argument keeps everyone else out. The connection is used
in one direction, then in the other. What counts is what arrives.
"""

import json
import socket
import sys
import time

CHUNK = 2**18
RAMP_S = 0.3  # left out of the measurement: the connection is still speeding up
PATIENCE_S = 15.0  # for the other side to come


def send(connection: socket.socket, seconds: float) -> None:
    """Send as fast as the link takes it, then say that this was all."""
    data = bytes(CHUNK)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def receive(connection: socket.socket) -> float:
    """Mbit/s of what arrives, until the other side is done."""
    buffer = bytearray(CHUNK)
    connection.recv_into(buffer)  # until here the link was still busy the other way
    started = first = last = time.monotonic()
    counted = 0
    while count := connection.recv_into(buffer):
        last = time.monotonic()
        if last - started < RAMP_S:
            first = last
        else:
            counted += count
    return counted * 8 / 1e6 / max(last - first, 1e-6)


def listen(address: str, port: int, peer: str, token: bytes) -> socket.socket:
    """The connection of the peer that knows the token; all others are dropped."""
    ends = time.monotonic() + PATIENCE_S
    with socket.create_server((address, port)) as server:
        while (left := ends - time.monotonic()) > 0:
            server.settimeout(left)
            connection, (came_from, _) = server.accept()
            connection.settimeout(PATIENCE_S)
            if came_from == peer and connection.recv(len(token), socket.MSG_WAITALL) == token:
                return connection
            connection.close()
    raise TimeoutError(f"{peer} did not connect to {address}:{port}")


def connect(address: str, port: int, own: str, token: bytes) -> socket.socket:
    """A connection to the listener, as soon as it is there."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection = socket.create_connection((address, port), 2, source_address=(own, 0))
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)
            continue
        connection.settimeout(PATIENCE_S)
        connection.sendall(token)
        return connection


def main() -> None:
    """Measure what arrives here."""
    role, address, port, other, seconds, token = sys.argv[1:7]
    open_ = listen if role == "listen" else connect
    try:
        with open_(address, int(port), other, token.encode()) as connection:
            if role == "listen":
                rate = receive(connection)
                send(connection, float(seconds))
            else:
                send(connection, float(seconds))
                rate = receive(connection)
    except OSError as error:
        print(json.dumps({"error": str(error) or type(error).__name__}))
    else:
        print(json.dumps({"received_mbit": rate}))


main()
