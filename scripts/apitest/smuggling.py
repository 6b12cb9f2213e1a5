"""HTTP/1.1 as it should not be: ambiguous lengths, broken heads, second requests hidden in bodies. Straight to Bunho, and through the real nginx
and HAProxy with the configurations of deploy/.

A hidden request is `POST /v1/claims/hidden/release`, which both proxies are told not to let through: so one that reaches Bunho was not seen by the proxy
as a request of its own. Bunho's own counter of that route tells, whatever came back to the client. (A proxy may well take what was hidden for a second
request, look at it like any other, and refuse it: then both sides agree, and nothing was smuggled.)
"""

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from rig import Bunho, Process, Report, ROOT, call, free_port, raw, statuses, until

ROUTE = "/v1/claims/{id}/release"
HIDDEN = b"POST /v1/claims/hidden/release HTTP/1.1\r\nHost: hidden\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
JSON = b"Content-Type: application/json\r\n"
BODY = b'{"zoneId":"TEST_ZONE"}'
OUTER = b"POST /traffic/wait HTTP/1.1\r\nHost: h\r\n" + JSON


def framed(headers, body):
    return OUTER + headers + b"\r\n" + body


def chunk(data, size=None):
    return (b"%x" % len(data) if size is None else size) + b"\r\n" + data + b"\r\n"


LAST = b"0\r\n\r\n"

# Two readings of one message: where the first ends, a second one would begin. Whoever answers must take neither, or the one and only
# right one; a hidden request that is counted was smuggled.
SMUGGLED = {
    "CL.CL different": framed(b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(HIDDEN), HIDDEN),
    "CL.CL in one line": framed(b"Content-Length: 0, %d\r\n" % len(HIDDEN), HIDDEN),
    "CL.TE": framed(b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % (len(LAST) + len(HIDDEN)), LAST + HIDDEN),
    "TE.CL": framed(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunk(HIDDEN) + LAST),
    "TE identity, chunked": framed(b"Transfer-Encoding: identity, chunked\r\nContent-Length: %d\r\n" % (len(LAST) + len(HIDDEN)), LAST + HIDDEN),
    "TE chunked, identity": framed(b"Transfer-Encoding: chunked, identity\r\n", LAST + HIDDEN),
    "TE twice": framed(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", LAST + HIDDEN),
    "TE xchunked": framed(b"Transfer-Encoding: xchunked\r\nContent-Length: %d\r\n" % (len(LAST) + len(HIDDEN)), LAST + HIDDEN),
    "TE with a vertical tab": framed(b"Transfer-Encoding:\x0bchunked\r\nContent-Length: %d\r\n" % (len(LAST) + len(HIDDEN)), LAST + HIDDEN),
    "TE after a space": framed(b"Transfer-Encoding : chunked\r\nContent-Length: %d\r\n" % (len(LAST) + len(HIDDEN)), LAST + HIDDEN),
    "TE folded": framed(b"Transfer-Encoding:\r\n chunked\r\nContent-Length: %d\r\n" % (len(LAST) + len(HIDDEN)), LAST + HIDDEN),
    "TE behind a bare CR": framed(b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: %d\r\n" % (len(LAST) + len(HIDDEN)), LAST + HIDDEN),
    "TE in HTTP/1.0": b"POST /traffic/wait HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n" + JSON + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % (len(LAST) + len(HIDDEN)) + LAST + HIDDEN,
    "CL with a sign": framed(b"Content-Length: +0\r\n", HIDDEN),
    "CL negative": framed(b"Content-Length: -1\r\n", HIDDEN),
    "CL hexadecimal": framed(b"Content-Length: 0x%x\r\n" % len(HIDDEN), HIDDEN),
    "CL beyond 64 bits": framed(b"Content-Length: 18446744073709551616\r\n", HIDDEN),
    "CL after a space": framed(b"Content-Length : %d\r\n" % len(HIDDEN), HIDDEN),
    "CL empty": framed(b"Content-Length: \r\n", HIDDEN),
    "CL behind a NUL": framed(b"X: a\x00b\r\nContent-Length: %d\r\n" % len(HIDDEN), HIDDEN),
    "chunk size beyond 64 bits": framed(b"Transfer-Encoding: chunked\r\n", b"1000000000000000000\r\n" + HIDDEN),
    "chunk size that wraps to 0": framed(b"Transfer-Encoding: chunked\r\n", b"10000000000000000\r\n\r\n" + HIDDEN),
    "chunk size with a sign": framed(b"Transfer-Encoding: chunked\r\n", b"+0\r\n\r\n" + HIDDEN),
    "chunk size 0x0": framed(b"Transfer-Encoding: chunked\r\n", b"0x0\r\n\r\n" + HIDDEN),
    "chunk extension with a bare LF": framed(b"Transfer-Encoding: chunked\r\n", b"2;x\n{}\r\n" + LAST + b"\r\n" + HIDDEN[:0]) + b"",
    "hidden in a chunk extension": framed(b"Transfer-Encoding: chunked\r\n", b"16;" + HIDDEN.replace(b"\r\n", b" ") + b"\r\n" + BODY + b"\r\n" + LAST),
    "hidden in a trailer": framed(b"Transfer-Encoding: chunked\r\n", chunk(BODY) + b"0\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\nX: " + HIDDEN.replace(b"\r\n", b" ") + b"\r\n\r\n"),
    "chunk data longer than told": framed(b"Transfer-Encoding: chunked\r\n", b"1\r\n{}\r\n" + LAST + HIDDEN),
    "chunk without its end": framed(b"Transfer-Encoding: chunked\r\n", b"2\r\n{}" + LAST + HIDDEN),
    "GET with a hidden body": b"GET /zones/TEST_ZONE/status HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "GET with a chunked hidden body": b"GET /zones/TEST_ZONE/status HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(HIDDEN) + LAST,
    "hidden in a header": framed(b"Content-Length: %d\r\nX-Request-Id: a\\r\\n\\r\\n" % len(BODY) + HIDDEN.replace(b"\r\n", b"%0d%0a") + b"\r\n", BODY),
    "hidden in the target": b"GET /zones/x%20HTTP/1.1%0d%0aHost:%20h%0d%0a%0d%0aPOST%20/traffic/leave/status HTTP/1.1\r\nHost: h\r\n\r\n",
    "hidden behind an upgrade": b"GET /zones/TEST_ZONE/status HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "hidden behind a websocket": b"GET /zones/TEST_ZONE/status HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "Connection names the length": framed(b"Connection: keep-alive, Content-Length\r\nContent-Length: %d\r\n" % len(HIDDEN), HIDDEN),
    "Expect and a hidden body": framed(b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(HIDDEN), HIDDEN),
}

STATUS = b"GET /zones/TEST_ZONE/status HTTP/1.1\r\nHost: h\r\n"
PLAIN = STATUS + b"\r\n"

# What Bunho itself must say: the statuses of all its answers on that connection, and whether it closes it.
STRAIGHT = {
    "plain": (PLAIN, [200], False),
    "two in one breath": (PLAIN + PLAIN, [200, 200], False),
    "empty lines before": (b"\r\n\r\n" + PLAIN, [200], False),
    "duplicate equal lengths": (framed(b"Content-Length: 22\r\nContent-Length: 22\r\n", BODY), [(200, 400)], None),
    "chunked": (framed(b"Transfer-Encoding: chunked\r\n", chunk(BODY[:5]) + chunk(BODY[5:]) + LAST), [200], False),
    "chunk extension": (framed(b"Transfer-Encoding: chunked\r\n", b"16;a=b;c=\"d\"\r\n" + BODY + b"\r\n" + LAST), [200], False),
    "trailer": (framed(b"Transfer-Encoding: chunked\r\n", chunk(BODY) + b"0\r\nX-T: 1\r\n\r\n"), [200], False),
    "absolute form": (b"GET http://elsewhere.example/zones/TEST_ZONE/status HTTP/1.1\r\nHost: h\r\n\r\n", [200], False),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", [(400, 404, 405)], None),
    "authority form": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", [(400, 404, 405)], None),
    "no host": (b"GET /zones/TEST_ZONE/status HTTP/1.1\r\n\r\n", [(200, 400)], None),
    "TRACE": (b"TRACE /healthz HTTP/1.1\r\nHost: h\r\nX-Secret: s\r\n\r\n", [405], None),
    "unknown method": (b"BREW /healthz HTTP/1.1\r\nHost: h\r\n\r\n", [405], None),
    "lower-case method": (b"get /healthz HTTP/1.1\r\nHost: h\r\n\r\n", [(400, 405)], None),
    "method with a brace": (b"G{T /healthz HTTP/1.1\r\nHost: h\r\n\r\n", [400], True),
    "HEAD": (b"HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n", [(200, 405)], None),
    "HTTP/1.0 closes": (b"GET /healthz HTTP/1.0\r\n\r\n", [200], True),
    "HTTP/1.0 keep-alive": (b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", [200], False),
    "HTTP/2.0 in the line": (b"GET /healthz HTTP/2.0\r\nHost: h\r\n\r\n", [(400, 505)], True),
    "HTTP/9.9": (b"GET /healthz HTTP/9.9\r\nHost: h\r\n\r\n", [(400, 505)], True),
    # Not served: closed at once, without an answer that could be taken for one of HTTP/2.
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", [], True),
    "close": (STATUS + b"Connection: close\r\n\r\n" + PLAIN, [200], True),
    "after an error nothing is taken": (b"GET / HTTP/1.1\r\nHo st: h\r\n\r\n" + PLAIN, [400], True),
    "NUL in a header": (STATUS + b"X: a\x00b\r\n\r\n", [400], True),
    "NUL in a name": (STATUS + b"X\x00Y: a\r\n\r\n", [400], True),
    "NUL in the target": (b"GET /zo\x00nes HTTP/1.1\r\nHost: h\r\n\r\n", [400], True),
    "bare CR in a header": (STATUS + b"X: a\rb\r\n\r\n", [400], True),
    "folded header": (STATUS + b"X: a\r\n b\r\n\r\n", [400], True),
    "space before the colon": (STATUS + b"X : a\r\n\r\n", [400], True),
    "header without a name": (STATUS + b": a\r\n\r\n", [400], True),
    "head too large": (STATUS + b"X: " + b"a" * 70_000 + b"\r\n\r\n", [431], True),
    "too many headers": (STATUS + b"".join(b"X%d: a\r\n" % n for n in range(2_000)) + b"\r\n", [431], True),
    "target too long": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", [(414, 431)], True),
    "body too large": (framed(b"Content-Length: 100000000\r\n", b"{"), [413], True),
    "chunk too large": (framed(b"Transfer-Encoding: chunked\r\n", b"fffffff\r\n{"), [(400, 413, 408)], True),
    "no request at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400], True),
    "a SOCKS greeting": (b"\x05\x01\x00", [400], True),
    "Expect that nobody knows": (framed(b"Expect: 200-maybe\r\nContent-Length: 22\r\n", BODY), [(200, 417)], None),
    "Expect: 100-continue": (framed(b"Expect: 100-continue\r\nContent-Length: 22\r\n", BODY), [100, 200], False),
}


def fits(got, wanted):
    got = got if 100 in wanted else [status for status in got if status != 100]
    return len(got) == len(wanted) and all(one in want if isinstance(want, tuple) else one == want for one, want in zip(got, wanted))


def right(got, wanted):
    # An interim answer may be left out where the body is there already.
    return fits(got, wanted) or (100 in wanted and fits(got, wanted[1:]))


def straight(bunho, report):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda case: raw(bunho.port, case[0], patience=2 if case[2] is not True else 8), STRAIGHT.values()))
    for (name, (data, wanted, closes)), (came, closed) in zip(STRAIGHT.items(), answers):
        # A slow answer looks like none: asked once more, with more patience.
        if not closed and not right(statuses(came), wanted):
            came, closed = raw(bunho.port, data, patience=8)
        got = statuses(came)
        report.check(right(got, wanted) and closes in (None, closed), f"straight, {name}: {got}, {'closed' if closed else 'open'}; wanted {wanted}, closed: {closes}")


def hidden(name, port, bunho, report):
    """All of SMUGGLED through one door."""
    before = bunho.count(ROUTE)
    with ThreadPoolExecutor(8) as pool:
        came = list(pool.map(lambda data: raw(port, data, patience=1.5)[0], SMUGGLED.values()))
    for case, got in zip(SMUGGLED, came):
        report.check(all(status < 500 or status in (501, 502, 503, 505) for status in statuses(got)), f"{name}, {case}: {statuses(got)}")
    served = bunho.count(ROUTE) - before
    report.check(served == 0, f"{name}: {served} hidden requests were served")
    # Which, one by one.
    for case, data in SMUGGLED.items() if served else ():
        before = bunho.count(ROUTE)
        got = statuses(raw(port, data, patience=1.5)[0])
        report.check(bunho.count(ROUTE) == before, f"{name}, {case}: the hidden request was served: {got}")
    report.check(bunho.alive(), f"{name}: bunho died")
    # The counter counts, and the proxy refuses.
    before = bunho.count(ROUTE)
    got = statuses(raw(port, HIDDEN, patience=8)[0])
    came, wanted = bunho.count(ROUTE) - before, 1 if name == "straight" else 0
    report.check(came == wanted and got, f"{name}: the marker on its own came through {came} times: {got}")


def nginx(bunho):
    """deploy/nginx as it is, with this machine's addresses."""
    folder, port = folder_of("nginx"), free_port()
    text = open(os.path.join(ROOT, "deploy/nginx/nginx.conf")).read()
    text = text.replace("server 10.0.0.11:8080 max_fails=2 fail_timeout=5s;", f"server 127.0.0.1:{bunho.port};")
    text = text.replace("        server 10.0.0.12:8080 max_fails=2 fail_timeout=5s;\n", "")
    # What is hidden is not let through.
    refused = "location /v1/claims/hidden/ { return 403; }"
    text = text.replace("listen 80 backlog=4096;", f"listen 127.0.0.1:{port};\n        {refused}").replace("worker_processes auto;", "worker_processes 1;")
    return port, started_nginx(folder, text, {"bunho.conf": open(os.path.join(ROOT, "deploy/nginx/bunho.conf")).read()}, port)


def started_nginx(folder, text, beside, port):
    temporary = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    text = text.replace("http {\n", "http {\n" + temporary, 1).replace("worker_rlimit_nofile 65536;", "").replace("worker_connections 32768", "worker_connections 512")
    with open(os.path.join(folder, "nginx.conf"), "w") as file:
        file.write(f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n" + text)
    for name, content in beside.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(content)
    process = Process(["nginx", "-p", folder, "-c", os.path.join(folder, "nginx.conf")], stderr=subprocess.DEVNULL)
    until(lambda: raw_is_open(port), "nginx listens")
    return process


def haproxy(bunho):
    """deploy/kit/haproxy as it is, with this machine's addresses."""
    folder, port = folder_of("haproxy"), free_port()
    kit = os.path.join(ROOT, "deploy/kit")
    text = open(os.path.join(kit, "haproxy/haproxy.cfg")).read()
    # The abstract socket is this run's own.
    for old, new in (
        ("/etc/haproxy/bunho.lua", os.path.join(kit, "haproxy/bunho.lua")),
        ("/etc/haproxy/bunho-outage.html", os.path.join(kit, "outage.html")),
        ("127.0.0.1:8080", f"127.0.0.1:{bunho.port}"),
        # No site: whatever is not for Bunho ends at the proxy.
        ("127.0.0.1:3000", f"127.0.0.1:{free_port()}"),
        ("bind :80", f"bind 127.0.0.1:{port}"),
        ("abns@bunho_check", f"abns@bunho_check_{os.getpid()}"),
    ):
        text = text.replace(old, new)
    config = os.path.join(folder, "haproxy.cfg")
    with open(config, "w") as file:
        file.write(text)
    process = Process(["haproxy", "-db", "-f", config], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until(lambda: call(f"http://127.0.0.1:{port}", "GET", "/zones/TEST_ZONE/status")[0] == 200, "haproxy serves")
    return port, process


def folder_of(name):
    folder = tempfile.mkdtemp(prefix=f"bunho-{name}-")
    atexit.register(shutil.rmtree, folder, True)
    return folder


def raw_is_open(port):
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def main():
    report = Report("smuggling")
    bunho = Bunho()
    straight(bunho, report)
    hidden("straight", bunho.port, bunho, report)
    for name, start in (("nginx", nginx), ("haproxy", haproxy)):
        port, process = start(bunho)
        hidden(name, port, bunho, report)
        process.stop()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
