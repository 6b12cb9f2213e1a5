"""What the probes share: a real `bunho`, real proxies before it, and raw sockets, since no HTTP library sends what an attacker sends.

Nothing but Python's standard library. Everything listens on loopback, on ports that the system gives, and ends by its process id.
"""

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ADMIN_KEY = "bk_apitest-admin-key"
# A loaded machine is slow.
PATIENCE = 60


class Process:
    """A program that is ended when this one ends."""

    def __init__(self, arguments, **options):
        self.child = subprocess.Popen(arguments, **options)
        atexit.register(self.stop)

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Bunho:
    """The real server with the demo's zones and offers, on a folder of its own."""

    def __init__(self, settings="", ledger=None):
        self.folder = tempfile.mkdtemp(prefix="bunho-apitest-")
        atexit.register(shutil.rmtree, self.folder, True)
        config = os.path.join(self.folder, "bunho.toml")
        with open(config, "w") as file:
            file.write(settings or '[log]\nlevel = "warn"\n')
        self.log = open(os.path.join(self.folder, "log"), "w+")
        arguments = [program(), "serve", "--config", config, "--listen", "127.0.0.1:0", "--data", os.path.join(self.folder, "data"), "--demo"]
        environment = dict(os.environ, BUNHO_ADMIN_KEY=ADMIN_KEY)
        if ledger:
            environment["BUNHO_LEDGER__URL"] = ledger
        self.process = Process(arguments, stdout=subprocess.PIPE, stderr=self.log, env=environment, text=True)
        self.port = None
        for line in self.process.child.stdout:
            if line.startswith("serving "):
                self.port = int(line.rsplit(":", 1)[1])
                break
        if self.port is None:
            raise SystemExit(f"bunho does not start: {open(self.log.name).read()}")
        until(lambda: self.get("/readyz")[0] == 200, "bunho is ready")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def get(self, path):
        return call(self.url, "GET", path)

    def alive(self):
        return self.process.child.poll() is None

    def count(self, route, method="POST"):
        """How many requests reached a route, whatever became of them."""
        text = self.get("/metrics")[2].decode()
        # The page is at most a second old.
        time.sleep(1.1)
        text = self.get("/metrics")[2].decode()
        pattern = re.compile(r'^bunho_http_requests_total\{(.*)\} (\S+)$', re.M)
        total = 0
        for labels, value in pattern.findall(text):
            if f'route="{route}"' in labels and f'method="{method}"' in labels:
                total += int(float(value))
        return total


def program():
    """The newest of those that were built, unless one is named."""
    named = os.environ.get("BUNHO_PROGRAM")
    found = [os.path.join(ROOT, "target", kind, "bunho") for kind in ("debug", "release")]
    there = [path for path in ([named] if named else found) if os.path.exists(path)]
    if not there:
        raise SystemExit("there is no bunho: cargo build --bin bunho, or BUNHO_PROGRAM=FILE")
    return max(there, key=os.path.getmtime)


def until(done, what):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if done():
                return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.05)
    raise SystemExit(f"not within {PATIENCE} s: {what}")


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


# Everything is on this machine, whatever proxy leads to the others.
OPENER = urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({}))


def call(url, method, path, headers=None, body=None, timeout=30):
    """Status, headers, body, and seconds."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=data, method=method, headers=headers or {})
    if data is not None and "content-type" not in {name.lower() for name in (headers or {})}:
        request.add_header("content-type", "application/json")
    began = time.monotonic()
    try:
        with OPENER.open(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read(), time.monotonic() - began
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read(), time.monotonic() - began


def raw(port, data, patience=3.0, half_close=False):
    """Sends bytes on a connection of their own; all that comes back until the other side closes, or has been silent for so long."""
    came = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.settimeout(patience)
        try:
            for part in data if isinstance(data, list) else [data]:
                connection.sendall(part)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while True:
                part = connection.recv(65536)
                if not part:
                    return came, True
                came += part
        except (TimeoutError, socket.timeout):
            return came, False
        except OSError:
            return came, True


def statuses(came):
    """Of every answer in the bytes that came."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", came)]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Report:
    """Counts what was tried, and tells what was wrong."""

    def __init__(self, name):
        self.name, self.tried, self.wrong = name, 0, []

    def check(self, right, what):
        self.tried += 1
        if not right:
            self.wrong.append(what)

    def end(self):
        for what in self.wrong[:50]:
            print(f"WRONG {self.name}: {what}")
        print(f"{self.name}: {self.tried} checks, {len(self.wrong)} wrong", flush=True)
        return bool(self.wrong)
