"""redis: a benchmark, then a known load whose digest must survive every way of keeping it.

The server listens on a socket file in the run's folder and on no network port.
"""

import contextlib
import os
import random
import socket

from program_run import TAIL_BYTES, Failure

SEED = 20240229  # arbitrary: the same load every time
# Debian ships the server in redis-server, which starts a service when installed. The same binary
# is in redis-tools under the name of its checker and serves when argv[0] is redis-server.
SERVERS = ("/usr/bin/redis-server", "/usr/bin/redis-check-rdb")
BATCHES = 40
BENCHMARK = "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset"


class Client:
    """Speaks the redis protocol over a socket file; a reply that is an error is a Failure."""

    def __init__(self, path, timeout):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.input = self.socket.makefile("rb")

    def close(self):
        self.input.close()
        self.socket.close()

    def reply(self):
        line = self.input.readline()
        kind, rest = line[:1], line[1:].strip().decode()
        if kind in (b"+", b":"):
            return rest
        if kind == b"$":
            return self.input.read(int(rest) + 2)[:-2].decode() if rest != "-1" else ""
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        raise Failure(f"redis answered {line!r}")

    def batch(self, commands):
        """Sends the commands (tuples of values) at once; returns their replies."""
        parts = []
        for command in commands:
            parts.append(b"*%d\r\n" % len(command))
            for value in command:
                data = str(value).encode()
                parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self.socket.sendall(b"".join(parts))
        return [self.reply() for _ in commands]

    def call(self, *command):
        return self.batch([command])[0]


def load(client):
    """Every type of value, grown, shrunk, overwritten and deleted; the same each time."""
    pick = random.Random(SEED)
    for _ in range(BATCHES):
        commands = []
        for _ in range(300):
            key = pick.randrange(4000)
            text = "x" * pick.choice((3, 20, 60, 200, 700, 3000))
            commands += [
                ("SET", f"string{key}", f"{text}{key}"),
                ("APPEND", f"string{pick.randrange(4000)}", text),
                ("HSET", f"hash{key % 200}", f"field{pick.randrange(400)}", text),
                ("RPUSH", f"list{key % 100}", text, key),
                ("ZADD", f"zset{key % 50}", pick.randrange(10**6), f"member{key}"),
                ("SADD", f"set{key % 50}", pick.randrange(10**4)),
                ("SETRANGE", f"range{key % 300}", pick.randrange(5000), text),
                ("DEL", f"string{pick.randrange(4000)}"),
                ("LTRIM", f"list{pick.randrange(100)}", 0, 200),
            ]
        client.batch(commands)
    script = "for i = 1, 2000 do redis.call('SET', 'lua' .. i, string.rep('y', i % 300)) end"
    client.call("EVAL", script, 0)


@contextlib.contextmanager
def serving(run, path):
    """A server that is ready; the caller ends it with stop(). A Failure also tells its log."""
    binary = next(path for path in SERVERS if os.path.exists(path))
    server = run.server(
        ["redis-server", "--port", "0", "--unixsocket", path, "--dir", run.dir]
        + ["--save", "", "--enable-debug-command", "local", "--io-threads", "2"],
        executable=binary,
    )
    failure = None
    try:
        server.wait_for("ready to accept connections")
        yield server
    except (Failure, OSError) as error:
        failure = error
    finally:
        how = run.close_server(server)
    if failure:
        log = server.log[-TAIL_BYTES:].decode("utf-8", "replace")
        raise Failure(f"{failure}; redis-server ended with {how}, its log:\n{log}") from failure


def stop(run, server, client, how):
    client.socket.sendall(f"SHUTDOWN {how}\r\n".encode())
    client.close()
    status = server.end()
    if status != 0:
        raise Failure(f"redis-server did not shut down well ({run.kind} run)")


def work(run):
    path = run.path("socket")
    result = {}
    with serving(run, path) as server:
        run.command(
            ["/usr/bin/redis-benchmark", "-s", path, "-n", "20000", "-c", "20", "-P", "16"]
            + ["-r", "5000", "-d", "100", "--threads", "2", "-q", "-t", BENCHMARK]
        )
        client = Client(path, run.seconds_left())
        client.call("FLUSHALL")
        load(client)
        result["digest"] = client.call("DEBUG", "DIGEST")
        client.call("DEBUG", "RELOAD")
        result["digest after a reload"] = client.call("DEBUG", "DIGEST")
        client.call("BGSAVE")
        load(client)
        server.wait_for("Background saving terminated with success")
        result["digest after a fork"] = client.call("DEBUG", "DIGEST")
        result["keys"] = client.call("DBSIZE")
        stop(run, server, client, "SAVE")
    with serving(run, path) as server:
        client = Client(path, run.seconds_left())
        result["digest after a restart"] = client.call("DEBUG", "DIGEST")
        stop(run, server, client, "NOSAVE")
    return result
