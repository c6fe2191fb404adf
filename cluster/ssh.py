"""SSH to an inventory's hosts: commands, many hosts at once, and HTTP into the cluster's network.

A host is reached as Ansible reaches it: ``.lab/ssh_config`` in the inventory's folder where a lab
has written one, the file of ``-F`` in ``ansible_ssh_common_args`` or the user's own SSH
configuration elsewhere, with ``ansible_host``, ``ansible_port``, ``ansible_user``,
``ansible_ssh_private_key_file`` and the other options of ``ansible_ssh_common_args`` over it.
Host keys are checked always: an unknown one is refused.
"""

import contextlib
import io
import logging
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import fabric  # type: ignore[import-untyped]
import httpcore
import httpx
import paramiko  # type: ignore[import-untyped]
from invoke.exceptions import CommandTimedOut, ThreadException

from cluster.errors import ClusterError
from cluster.inventory import EDGE, LAB_CONFIG, Host, Inventory
from job.errors import UsageError

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0
HTTP_TIMEOUT_S = 20.0
# So that a connection to a host that went away breaks.
KEEPALIVE_S = 15
# What Paramiko sends at once: 68 MB/s with it, 6 MB/s with pieces of 1 MiB, 26 MB/s by SFTP.
PACKET = 2**15
THREADS = 32
SSH_CONFIGS = (Path("~/.ssh/config"), Path("/etc/ssh/ssh_config"))
USER_KNOWN_HOSTS = "~/.ssh/known_hosts"
SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"

# A transfer that stands still for so long is over.
SILENCE_S = 60.0
CHUNK = 2**18

# Of a command, in an error: characters.
SAID = 80
# What Paramiko says where it has no key to offer.
NO_KEY = "No authentication methods available"

T = TypeVar("T")

# Paramiko logs with a traceback what it also raises.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class SshError(ClusterError):
    """There is no SSH connection to a host."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command on a host did; ``code`` is its exit status."""

    host: str
    command: str
    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """It exited with 0."""
        return self.code == 0

    def check(self) -> Self:
        """Itself, where the command succeeded.

        Raises:
            ClusterError: it did not.
        """
        if self.ok:
            return self
        said = (self.stderr.strip() or self.stdout.strip() or "it said nothing").splitlines()[-1]
        raise ClusterError(
            f"{_quoted(self.command)} on {self.host} exited with {self.code}: {said}"
        )


class Fleet:
    """Connections to the hosts of an inventory, each made when first needed and then kept.

    A context manager: the end closes them. Threads may share it.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._connections = {
            host.name: _Connection(host, inventory.path) for host in inventory.hosts
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def run(
        self, host: Host, command: str, *, sudo: bool = False, timeout: float = COMMAND_TIMEOUT_S
    ) -> Result:
        """Run a shell command, as root with ``sudo``; its input is empty. ``timeout`` in seconds.

        Raises:
            SshError: the host cannot be reached, its key is not known, or it refuses the login.
            ClusterError: the command took too long, or sudo wants a password.
        """
        connection = self._connections[host.name].open()
        # Fabric leaves the command's input open.
        sent = f"{'sudo -n -- ' if sudo else ''}sh -c {shlex.quote(command)} </dev/null"
        try:
            done = connection.run(sent, hide=True, warn=True, in_stream=False, timeout=timeout)
        except CommandTimedOut as error:
            raise ClusterError(
                f"{host.name} was not done in {timeout:g} s with {_quoted(command)}: see there what"
                " it waits for."
            ) from error
        except (OSError, EOFError, paramiko.SSHException, ThreadException) as error:
            # The next command tries a new connection.
            self._connections[host.name].close()
            raise SshError(f"{_lost(host, command)}: {_first_line(error)}") from error
        # Paramiko's exit status where the connection ended without one.
        if done.exited == -1:
            raise SshError(f"{_lost(host, command)}.")
        result = Result(
            host=host.name,
            command=command,
            code=done.exited,
            stdout=done.stdout,
            stderr=done.stderr,
        )
        if sudo:
            _refuse_password(connection.user, result)
        return result

    def send(self, host: Host, command: str, chunks: Iterable[bytes]) -> None:
        """Run a shell command that reads the chunks from its input, and wait for its end.

        Raises:
            SshError: the host cannot be reached, or is lost on the way.
            ClusterError: the command failed.
        """
        with self._channel(host, command) as channel:
            _send(channel, chunks)
            _ended(channel, host, command).check()

    def receive(self, host: Host, command: str) -> Iterator[bytes]:
        """What a shell command writes, while it does; raises as ``send``."""
        with self._channel(host, command) as channel:
            while chunk := channel.recv(CHUNK):
                yield chunk
            _ended(channel, host, command).check()

    def feed(
        self,
        host: Host,
        command: str,
        chunks: Iterable[bytes],
        tell: Callable[[str], None],
    ) -> Result:
        """Run a shell command as root, with the chunks as its input; each line it prints is told.

        It may take its time as long as it prints something every ``SILENCE_S`` seconds. Once the
        connection is gone, it finds its input ended and cannot print any more. Raises as ``run``.
        """
        with self._channel(host, command, sudo=True) as channel:
            threading.Thread(target=_send, args=(channel, chunks), daemon=True).start()
            with channel.makefile() as lines:
                for line in lines:
                    tell(line.rstrip("\n"))
            done = _ended(channel, host, command)
        _refuse_password(self._connections[host.name].open().user, done)
        return done

    @contextlib.contextmanager
    def _channel(
        self, host: Host, command: str, *, sudo: bool = False
    ) -> Iterator[paramiko.Channel]:
        connection = self._connections[host.name].open()
        try:
            with connection.transport.open_session(timeout=CONNECT_TIMEOUT_S) as channel:
                channel.settimeout(SILENCE_S)
                channel.exec_command(f"{'sudo -n -- ' if sudo else ''}sh -c {shlex.quote(command)}")
                yield channel
        except TimeoutError as error:
            raise SshError(
                f"{host.name} said nothing for {SILENCE_S:g} s during {_quoted(command)}: see there"
                " what it waits for."
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            self._connections[host.name].close()
            raise SshError(f"{_lost(host, command)}: {_first_line(error)}") from error

    def fan_out(
        self, hosts: Iterable[Host], function: Callable[[Host], T]
    ) -> dict[str, T | ClusterError]:
        """Call the function for all hosts at once; its result, or its ClusterError, by host name.

        Any other error is a defect, and raised.
        """

        def outcome(host: Host) -> T | ClusterError:
            try:
                return function(host)
            except ClusterError as error:
                return error

        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fleet")
        try:
            calls = {host.name: pool.submit(outcome, host) for host in hosts}
            return {name: call.result() for name, call in calls.items()}
        finally:
            # After Ctrl-C nothing is waited for: closing the connections ends what still runs.
            pool.shutdown(wait=False, cancel_futures=True)

    def http(self, host: Host, port: int, *, via: Host | None = None) -> httpx.Client:
        """A client for a daemon on the host's cluster address, also for where it redirects to.

        It talks through ``via``, by default the first edge host, for the cluster's network need
        not be reachable from here. Its connections end with the fleet.

        Raises:
            SshError: ``via`` cannot be connected to.
        """
        through = self._connections[(via or self._inventory.first(EDGE)).name].open()
        return httpx.Client(
            base_url=f"http://{host.address}:{port}",
            transport=_Through(through.transport),
            timeout=HTTP_TIMEOUT_S,
            follow_redirects=True,
            trust_env=False,
        )


def _send(channel: paramiko.Channel, chunks: Iterable[bytes]) -> None:
    """Send it all, then say so; a command that ends before its input does says itself why."""
    with contextlib.suppress(OSError):
        for chunk in chunks:
            # sendall copies what is left after each packet it has sent.
            for at in range(0, len(chunk), PACKET):
                channel.sendall(chunk[at : at + PACKET])
        channel.shutdown_write()


def _ended(channel: paramiko.Channel, host: Host, command: str) -> Result:
    """The command's end, without what it has printed."""
    with channel.makefile_stderr() as errors:
        said = errors.read().decode(errors="replace")
    code = channel.recv_exit_status()
    if code == -1:
        raise SshError(f"{_lost(host, command)}.")
    return Result(host=host.name, command=command, code=code, stdout="", stderr=said)


def _refuse_password(user: str, done: Result) -> None:
    if not done.ok and done.stderr.startswith("sudo: "):
        raise ClusterError(
            f"{user} cannot use sudo on {done.host} without a password: give the account a line"
            " with NOPASSWD in /etc/sudoers.d/."
        )


def ssh_config(host: Host, inventory: Path) -> paramiko.SSHConfig:
    """How SSH reaches a host: what ``ssh``, started by Ansible, would know of its address.

    Raises:
        UsageError: the SSH configuration that the inventory names does not exist.
    """
    variables = host.variables
    options = {
        "Port": variables.get("ansible_port"),
        "User": variables.get("ansible_user"),
        "IdentityFile": variables.get("ansible_ssh_private_key_file"),
    }
    file, given = _configuration(host, inventory)
    lines = [f"Host {host.ssh_address}"]
    lines += [f"{option} {value}" for option, value in options.items() if value is not None]
    lines += given
    for each in (file,) if file else SSH_CONFIGS:
        if each.expanduser().is_file():
            # The first value of an option wins, as in ssh: these come after the inventory's.
            lines += ["Host *", each.expanduser().read_text(encoding="utf-8")]
    config = paramiko.SSHConfig()
    config.parse(io.StringIO("\n".join(lines)))
    return config


def _configuration(host: Host, inventory: Path) -> tuple[Path | None, list[str]]:
    """The lab's configuration file or that of -F, and the lines that -o and -J stand for.

    What else ssh takes does not matter here.
    """
    file, lines = None, []
    for flag, value in host.ssh_options():
        if flag == "-F":
            file = Path(value).expanduser()
        else:
            lines.append(value if flag == "-o" else f"ProxyJump {value}")
    lab = (inventory if inventory.is_dir() else inventory.parent) / LAB_CONFIG
    if lab.exists():
        return lab, lines
    if file and not file.exists():
        raise UsageError(f"{host.name}: ansible_ssh_common_args names {file}, which is not there.")
    return file, lines


class _Connection:
    """Fabric's connection to a host, with host keys checked and errors for people."""

    def __init__(self, host: Host, inventory: Path) -> None:
        self._host = host
        self._inventory = inventory
        self._lock = threading.Lock()
        self._proxy: _Proxy | None = None
        self._file, _ = _configuration(host, inventory)
        self._fabric = fabric.Connection(
            host.ssh_address,
            config=fabric.Config(ssh_config=ssh_config(host, inventory)),
            # The way through a proxy is made here: see _Proxy.
            gateway=False,
        )
        self._options = self._fabric.ssh_config
        # Fabric would add a new host's key and go on.
        self._fabric.client.set_missing_host_key_policy(_RefuseUnknown())
        known = self._options.get("userknownhostsfile", USER_KNOWN_HOSTS)
        everyones = self._options.get("globalknownhostsfile", SYSTEM_KNOWN_HOSTS)
        self._known = [Path(name).expanduser() for name in f"{known} {everyones}".split()]
        timeout = self._fabric.connect_timeout = self._fabric.connect_timeout or CONNECT_TIMEOUT_S
        self._identities = [
            Path(name).expanduser() for name in self._options.get("identityfile", ())
        ]
        only = self._options.get("identitiesonly", "no") == "yes"
        self._fabric.connect_kwargs.update(
            key_filename=[str(file) for file in self._identities if file.is_file()],
            allow_agent=not only,
            look_for_keys=not only,
            banner_timeout=timeout,
            auth_timeout=timeout,
        )

    @property
    def _where(self) -> str:
        return f"{self._host.name} ({self._fabric.host} port {self._fabric.port})"

    def open(self) -> fabric.Connection:
        """Fabric's connection, connected."""
        with self._lock:
            if not self._fabric.is_connected:
                self._connect()
        return self._fabric

    def close(self) -> None:
        """End it, and its proxy."""
        self._fabric.client.close()
        if self._proxy:
            self._proxy.close()

    def _connect(self) -> None:
        client, kwargs = self._fabric.client, self._fabric.connect_kwargs
        self.close()
        for file in self._known:
            if file.is_file():
                client.load_system_host_keys(str(file))
        try:
            if command := self._proxy_command():
                self._proxy = _Proxy(command)
                kwargs["sock"] = self._proxy.socket
            self._fabric.open()
        except (OSError, EOFError, paramiko.SSHException, _UnknownHostKeyError) as error:
            sentence = self._sentence(error)
            self.close()
            raise SshError(sentence) from error
        self._fabric.transport.set_keepalive(KEEPALIVE_S)
        # On a connection whose host has gone Paramiko would wait for an hour.
        self._fabric.transport.channel_timeout = CONNECT_TIMEOUT_S

    def _proxy_command(self) -> str | None:
        """The shell command whose input and output are the connection, where there is one."""
        if (jump := self._options.get("proxyjump", "none")) != "none":
            *before, last = jump.split(",")
            through = ["-F", str(self._file)] if self._file else []
            through += ["-J", ",".join(before)] if before else []
            target = f"{self._fabric.host}:{self._fabric.port}"
            last = last if "://" in last else f"ssh://{last}"
            return shlex.join(["ssh", "-o", "BatchMode=yes", *through, "-W", target, last])
        command: str | None = self._options.get("proxycommand")
        return command

    def _sentence(self, error: Exception) -> str:
        user, known = self._fabric.user, self._known[0]
        if isinstance(error, _UnknownHostKeyError):
            return (
                f"The SSH host key of {self._where} is not known ({error}): compare it with the"
                f" host's own, then add it to {known}."
            )
        if isinstance(error, paramiko.BadHostKeyException):
            return (
                f"The SSH host key of {self._where} is not the one in {known}"
                f" (it has {_fingerprint(error.key)} now): unless the host was made anew, someone"
                " may be in between; take the old line out once you know why."
            )
        if isinstance(error, paramiko.AuthenticationException) or str(error) == NO_KEY:
            keys = ", ".join(
                f"{file}" if file.is_file() else f"{file}, which is not there"
                for file in self._identities
            )
            return (
                f"{self._where} refuses the login of {user} with"
                f" {keys or 'the keys of the SSH agent and of ~/.ssh'}: set ansible_user and"
                " ansible_ssh_private_key_file, or add the key to its authorized_keys."
            )
        said = self._proxy.last_words() if self._proxy else ""
        why = said or getattr(error, "strerror", None) or _first_line(error)
        todo = "see that it is up, and that ansible_host and ansible_port are right"
        if self._file is None and "lab_memory_mb" in self._host.variables:
            todo = f"start the lab: `cluster -i {self._inventory} lab up`"
        return f"{self._where} cannot be reached by SSH: {why.rstrip('.')}; {todo}."


class _Proxy:
    """A ProxyCommand on one end of a socket pair, started as ssh starts it.

    Paramiko's own reads the command's output in a loop that spins once the command has ended.
    """

    def __init__(self, command: str) -> None:
        self.socket, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=end,
                stdout=end,
                stderr=self._errors,
                # Ctrl-C on the terminal is ours to answer.
                start_new_session=True,
            )

    def last_words(self) -> str:
        """The last line it wrote to standard error."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        """End the command, and what it has started."""
        self.socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()
        self._errors.close()


class _UnknownHostKeyError(Exception):
    """Holds the key's fingerprint."""


class _RefuseUnknown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    def missing_host_key(self, _client: object, _hostname: str, key: paramiko.PKey) -> None:
        raise _UnknownHostKeyError(_fingerprint(key))


def _fingerprint(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.fingerprint}"


def _lost(host: Host, command: str) -> str:
    return f"The connection to {host.name} broke during {_quoted(command)}"


def _quoted(command: str) -> str:
    """For an error: a long command is told by its beginning."""
    return f"`{command}`" if len(command) <= SAID else f"`{command[:SAID]} ...`"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


class _Through(httpx.BaseTransport):
    """HTTP over channels of an SSH connection: no port is opened on this machine."""

    def __init__(self, connection: paramiko.Transport) -> None:
        self._pool = httpcore.ConnectionPool(network_backend=_Channels(connection))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        try:
            answer = self._pool.request(
                request.method,
                target,
                headers=request.headers.raw,
                content=request.read(),
                extensions=request.extensions,
            )
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise httpx.TransportError(_first_line(error), request=request) from error
        return httpx.Response(
            answer.status, headers=answer.headers, content=answer.content, request=request
        )

    def close(self) -> None:
        self._pool.close()


class _Channels(httpcore.NetworkBackend):
    def __init__(self, connection: paramiko.Transport) -> None:
        self._connection = connection

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: object, **__: object
    ) -> httpcore.NetworkStream:
        try:
            channel = self._connection.open_channel(
                "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout
            )
        except (paramiko.SSHException, EOFError) as error:
            raise httpcore.ConnectError(_first_line(error)) from error
        return _Stream(channel)


class _Stream(httpcore.NetworkStream):
    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._channel.settimeout(timeout)
        try:
            received: bytes = self._channel.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(f"no answer in {timeout:g} s") from error
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._channel.settimeout(timeout)
        try:
            self._channel.sendall(buffer)
        except OSError as error:
            raise httpcore.WriteError(_first_line(error)) from error

    def close(self) -> None:
        self._channel.close()

    def get_extra_info(self, info: str) -> Any:
        # The pool asks so whether an idle connection was closed by the other side.
        if info == "is_readable":
            return self._channel.closed or self._channel.recv_ready() or self._channel.eof_received
        return None
