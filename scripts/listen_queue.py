#!/usr/bin/env python3
"""Fills the kernel's queues in front of a stopped Bunho and shows what becomes of who connects: the table of docs/kernel.md.

  scripts/listen_queue.py [PROGRAM]     default: the newer of target/release/bunho and target/debug/bunho

Each row has a network namespace of its own (unshare -rn; root, or a system that allows user namespaces), so nothing of this machine's settings
changes and its counters stay as they are. In it Bunho is stopped with SIGSTOP, as a long pause or a machine without processor time stops it, the
crowd connects at once, and two seconds later it goes on. Exit codes: 0 the settings that docs/kernel.md recommends lost nobody; 1 they did;
69 namespaces or Bunho cannot be had.
"""

import errno
import fcntl
import json
import os
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

STOPPED_SECONDS = 2.0
GIVE_UP_SECONDS = 40.0
COUNTERS = ["ListenOverflows", "ListenDrops", "TCPReqQFullDrop", "TCPReqQFullDoCookies"]

# net.core.somaxconn, people, more settings
BURSTS = [
    (16, 500, {}),
    (128, 500, {}),
    (128, 500, {"net.ipv4.tcp_abort_on_overflow": 1}),
    (4096, 500, {}),
    (4096, 4000, {}),
    (4096, 6000, {}),
    (16384, 6000, {}),
]
# net.core.somaxconn, settings: SYNs that nobody completes, then one person
FLOODS = [
    (4096, {"net.ipv4.tcp_syncookies": 0, "net.ipv4.tcp_max_syn_backlog": 2048}),
    (1024, {"net.ipv4.tcp_syncookies": 0, "net.ipv4.tcp_max_syn_backlog": 8192}),
    (4096, {"net.ipv4.tcp_syncookies": 1, "net.ipv4.tcp_max_syn_backlog": 128}),
    (4096, {"net.ipv4.tcp_syncookies": 1, "net.ipv4.tcp_max_syn_backlog": 2048}),
]
FLOOD_SYNS = 5000


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "row":
        print(json.dumps(row(sys.argv[2], json.loads(sys.argv[3]))))
        return 0
    program = sys.argv[1] if len(sys.argv) > 1 else newest()
    print("| `net.core.somaxconn` | other settings | people at once | waited in the queue | `listen_overflows` | `listen_drops` | refused | answered | slowest answer after it went on |")
    print("|---|---|---|---|---|---|---|---|---|")
    lost_by_what_is_recommended = False
    for somaxconn, people, others in BURSTS:
        said = ask(program, {"somaxconn": somaxconn, "people": people, "settings": others})
        print(
            f"| {somaxconn} | {in_words(others)} | {people} | {said['queue']} | {said['ListenOverflows']} | {said['ListenDrops']} "
            f"| {said['refused']} | {said['answered']} | {said['slowest']:.2f} s |",
            flush=True,
        )
        if somaxconn == 4096 and people <= 4000:
            lost_by_what_is_recommended |= said["ListenOverflows"] > 0 or said["answered"] < people
    print()
    print("| `net.core.somaxconn` | other settings | SYNs that nobody completes | `syn_drops` | `syn_cookies` | `listen_drops` | somebody who connects then |")
    print("|---|---|---|---|---|---|---|")
    for somaxconn, settings in FLOODS:
        said = ask(program, {"somaxconn": somaxconn, "syns": FLOOD_SYNS, "settings": settings})
        print(
            f"| {somaxconn} | {in_words(settings)} | {FLOOD_SYNS} | {said['TCPReqQFullDrop']} | {said['TCPReqQFullDoCookies']} | {said['ListenDrops']} | {said['person']} |",
            flush=True,
        )
    return 1 if lost_by_what_is_recommended else 0


def newest():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    built = [path for kind in ("release", "debug") if os.path.exists(path := f"{root}/target/{kind}/bunho")]
    if not built:
        give_up("no bunho in target: build it, or name one")
    return max(built, key=os.path.getmtime)


def in_words(settings):
    return ", ".join(f"`{name.rsplit('.', 1)[1]} = {value}`" for name, value in settings.items()) or "–"


def ask(program, wanted):
    command = ["unshare", "-rn", sys.executable, os.path.abspath(__file__), "row", program, json.dumps(wanted)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        give_up("a row could not be measured: is `unshare -rn true` allowed here?")
    return json.loads(done.stdout)


def give_up(why):
    print(f"listen_queue.py: {why}", file=sys.stderr)
    sys.exit(69)


def row(program, wanted):
    raise_open_files()
    loopback_up()
    sysctl("net.core.somaxconn", wanted["somaxconn"])
    for name, value in wanted["settings"].items():
        sysctl(name, value)
    with tempfile.TemporaryDirectory() as folder:
        bunho, address = start(program, folder)
        try:
            return flood(bunho, address, wanted["syns"]) if "syns" in wanted else burst(bunho, address, wanted["people"])
        finally:
            bunho.send_signal(signal.SIGCONT)
            bunho.kill()
            bunho.wait()


def start(program, folder):
    environment = dict(os.environ, BUNHO_ADMIN_KEY="bk_a-key-of-the-listen-queue-script", BUNHO_LOG__LEVEL="error")
    command = [program, "serve", "--data", f"{folder}/data", "--listen", "127.0.0.1:0"]
    bunho = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    for line in bunho.stdout:
        if line.startswith("serving http://"):
            host, port = line.strip().removeprefix("serving http://").rsplit(":", 1)
            return bunho, (host, int(port))
    raise SystemExit("it did not start")


def burst(bunho, address, people):
    before = counters()
    bunho.send_signal(signal.SIGSTOP)
    crowd, began = {}, time.monotonic()
    for _ in range(people):
        person = socket.socket()
        person.setblocking(False)
        if person.connect_ex(address) not in (0, errno.EINPROGRESS):
            raise SystemExit("a connection cannot be begun")
        crowd[person.fileno()] = person
    queue = 0
    while time.monotonic() - began < STOPPED_SECONDS:
        queue = max(queue, queue_of(address[1]))
        time.sleep(0.05)
    bunho.send_signal(signal.SIGCONT)
    went_on = time.monotonic()
    answered, refused, slowest = everybody(crowd, went_on)
    after = counters()
    return {"queue": queue, "answered": answered, "refused": refused, "slowest": slowest} | {name: after[name] - before[name] for name in after}


def everybody(crowd, went_on):
    """Everybody asks as soon as they are connected, and waits for the answer."""
    poll, answered, refused, slowest = select.epoll(), 0, 0, 0.0
    for number in crowd:
        poll.register(number, select.EPOLLOUT)
    waiting = dict(crowd)
    while waiting and time.monotonic() - went_on < GIVE_UP_SECONDS:
        for number, _ in poll.poll(1.0):
            person = waiting[number]
            try:
                if person.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
                    raise ConnectionError
                if number in crowd:
                    person.send(b"GET /healthz HTTP/1.1\r\nhost: bunho\r\nconnection: close\r\n\r\n")
                    del crowd[number]
                    poll.modify(number, select.EPOLLIN)
                    continue
                if not person.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise ConnectionError
                answered += 1
                slowest = max(slowest, time.monotonic() - went_on)
            except OSError:
                refused += 1
            poll.unregister(number)
            waiting.pop(number).close()
    return answered, refused, slowest


def flood(bunho, address, syns):
    subprocess.run(["ip", "route", "add", "10.99.0.0/16", "dev", "lo"], check=True)
    before = counters()
    wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for number in range(syns):
        wire.sendto(syn(f"10.99.{number // 250 % 250}.{number % 250 + 1}", 1024 + number % 60000, address), (address[0], 0))
    began = time.monotonic()
    try:
        with socket.create_connection(address, timeout=5.0) as person:
            person.sendall(b"GET /healthz HTTP/1.1\r\nhost: bunho\r\nconnection: close\r\n\r\n")
            told = f"is answered after {time.monotonic() - began:.2f} s" if person.recv(4096).startswith(b"HTTP/1.1 200") else "is refused"
    except OSError:
        told = f"is not connected within {time.monotonic() - began:.0f} s"
    after = counters()
    return {"person": told} | {name: after[name] - before[name] for name in after}


def syn(source, port, to):
    """An IP packet with a TCP segment that begins a connection."""
    own, other = socket.inet_aton(source), socket.inet_aton(to[0])
    segment = struct.pack("!HHIIBBHHH", port, to[1], random.getrandbits(32), 0, 5 << 4, 2, 64240, 0, 0)
    sum_of = checksum(own + other + struct.pack("!BBH", 0, 6, len(segment)) + segment)
    segment = segment[:16] + struct.pack("!H", sum_of) + segment[18:]
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0, own, other) + segment


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def counters():
    with open("/proc/net/netstat") as file:
        names, values = [line.split() for line in file if line.startswith("TcpExt:")]
    return {name: int(values[names.index(name)]) for name in COUNTERS}


def queue_of(port):
    with open("/proc/net/tcp") as file:
        for line in list(file)[1:]:
            columns = line.split()
            if columns[3] == "0A" and int(columns[1].rsplit(":", 1)[1], 16) == port:
                return int(columns[4].rsplit(":", 1)[1], 16)
    return 0


def sysctl(name, value):
    with open(f"/proc/sys/{name.replace('.', '/')}", "w") as file:
        file.write(str(value))


def loopback_up():
    with socket.socket() as any_socket:
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, 0x8913, struct.pack("16sh14x", b"lo", 0)))[1]
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))


def raise_open_files():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
