"""Injection: what sqlmap and its like try, in every parameter of every route that the OpenAPI document names (path, query, header, JSON).

Nothing may be answered with 500, nothing may wait because a text says so, no answer may show an error of a database, a template or a shell, and the
tables must have afterwards what they had before, less what the calls honestly did: their number, their columns, and a zone, an offer and a claim that stand for the rest.

    injection.py [DATABASE-URL]
"""

import json
import re
import sqlite3
import sys
import urllib.parse

from rig import ADMIN_KEY, Bunho, Report, call

KEY = {"authorization": f"Bearer {ADMIN_KEY}", "x-bunho-user": "injection"}
# A healthy answer takes milliseconds; these ask for five seconds.
SLEPT = 4.0
TEXTS = [
    "'", '"', "`", "\\", "';--", "' OR '1'='1", '" OR ""="', "' OR 1=1--", "1' ORDER BY 99--", "') OR ('1'='1",
    "' UNION SELECT NULL,NULL,NULL--", "' UNION SELECT sql FROM sqlite_master--", "' UNION SELECT version()--",
    "'; DROP TABLE claim_rows;--", "'; DELETE FROM offers;--", "'; UPDATE offers SET quantity=999999;--",
    "'||(SELECT randomblob(500000000))||'", "'; SELECT pg_sleep(5);--", "' AND SLEEP(5)--", "'||pg_sleep(5)||'",
    "1; SELECT pg_sleep(5)", "1 OR 1=1", "1/0", "-1", "99999999999999999999", "1e309", "NaN", "0x10", "NULL", "true",
    "%27%20OR%201=1", "%00", "a%00b", "\u02bc OR 1=1", "\uff07 OR 1=1", "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "${jndi:ldap://127.0.0.1/a}",
    "; sleep 5", "| sleep 5", "$(sleep 5)", "`sleep 5`", "& ping -c 5 127.0.0.1", "../../../../etc/passwd", "..%2f..%2fetc%2fpasswd",
    "file:///etc/passwd", "a\r\nSet-Cookie: x=1", "a\nX-Injected: 1", "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>",
    "*)(uid=*))(|(uid=*", "'; return 1; //", "*\r\nFLUSHALL\r\n", "\ufffe\uffff", "\u202e", "a" * 5_000,
]
OTHERS = [{"$ne": None}, {"$gt": ""}, ["'", "--"], {"__proto__": {"role": "admin"}}, 1.5, -1, 2**63, True, None, [[[[]]]]]
# Words of databases, shells and template engines that an answer must not have; the request's own words do not count.
SHOWN = re.compile(
    r"sqlite|syntax error|SQLSTATE|PG::|psql|mysql|mariadb|sqlx|no such (table|column)|unterminated|near \"|ORA-\d|root:x:0|panicked|backtrace|RUST_|/src/.*\.rs",
    re.I,
)


def fill(path, value=None, at=None):
    """The path with good values in its places, and one other."""
    good = {"zone": "TEST_ZONE", "name": "nobody", "kid": "none", "id": "TEST_ZONE" if "/zones/" in path else "demo-sneakers"}
    for place in re.findall(r"\{(\w+)\}", path):
        text = value if place == at else good.get(place, "x")
        path = path.replace("{%s}" % place, urllib.parse.quote(text, safe=""))
    return path


def schema_of(document, schema):
    while schema and "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if schema and "allOf" in schema:
        fields = {}
        for part in schema["allOf"]:
            fields.update(schema_of(document, part).get("properties", {}))
        return {"properties": fields}
    return schema or {}


def operations(document):
    for path, item in document["paths"].items():
        # Streams do not end; sessions and accounts are limited in how often they may be tried, and are looked at on their own below.
        if path in ("/traffic/stream", "/v1/offers/{id}/stock") or "reconcile" in path:
            continue
        for method, operation in item.items():
            if method in ("get", "put", "post", "delete"):
                body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
                yield method.upper(), path, operation.get("parameters", []), schema_of(document, body) if body else None


GOOD_BODY = {
    "zoneId": "TEST_ZONE", "token": "x", "clientIp": "127.0.0.1", "clientAgent": "WEB", "quantity": 1, "delta": 1, "kind": "coupon", "role": "viewer",
    "name": "n", "entry_limit_per_minute": 600, "restock": True, "password": "long-enough-password",
}


def requests(document):
    """Every place of every operation with every text."""
    for method, path, parameters, body in operations(document):
        has_body = body is not None
        good = {name: GOOD_BODY[name] for name in (body or {}).get("properties", {}) if name in GOOD_BODY} if has_body else None
        for text in TEXTS:
            for parameter in parameters:
                name, place = parameter["name"], parameter["in"]
                if place == "path":
                    yield method, fill(path, text, name), {}, good
                elif place == "query":
                    yield method, fill(path) + "?" + urllib.parse.urlencode({name: text}), {}, good
                elif place == "header" and text.isascii() and text.isprintable():
                    yield method, fill(path), {name: text}, good
            for header in ("x-bunho-user", "x-request-id", "cookie", "authorization"):
                if text.isascii() and text.isprintable() and TEXTS.index(text) % 4 == 0:
                    shown = {"cookie": f"bunho_session={text}", "authorization": f"Bearer {text}"}.get(header, text)
                    yield method, fill(path), {header: shown}, good
            for name in (body or {}).get("properties", {}):
                yield method, fill(path), {}, dict(good, **{name: text})
        for other in OTHERS if has_body else ():
            for name in body.get("properties", {}):
                yield method, fill(path), {}, dict(good, **{name: other})


def tables(bunho, url):
    """What must be the same afterwards."""
    if url:
        import subprocess

        ask = "select table_name, count(*) from information_schema.columns where table_schema = 'public' group by 1 order by 1"
        return subprocess.run(["psql", url, "-Atc", ask], capture_output=True, text=True, check=True).stdout
    with sqlite3.connect(f"file:{bunho.folder}/data/ledger.db?mode=ro", uri=True) as ledger:
        schema = ledger.execute("select type, name, sql from sqlite_master order by 1, 2").fetchall()
        return schema, ledger.execute("select id, quantity from offers where id = 'keeps'").fetchall()


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else None
    report = Report("injection" + (" into " + url.split(":")[0] if url else " into sqlite"))
    bunho = Bunho(ledger=url)
    admin = {"authorization": f"Bearer {ADMIN_KEY}"}
    call(bunho.url, "PUT", "/admin/api/offers/keeps", admin, {"kind": "coupon", "quantity": 7})
    claim = json.loads(call(bunho.url, "POST", "/v1/offers/keeps/claims", {"x-bunho-user": "keeper"}, {"quantity": 1})[2])
    # Lists answer when the ledger has what was decided before.
    call(bunho.url, "GET", "/v1/claims", {"x-bunho-user": "keeper"})
    before = tables(bunho, url)
    document = json.loads(bunho.get("/openapi.json")[2])
    by_status = {}
    for method, path, headers, body in requests(document):
        # Nobody is let in as keeper by an accident of the list.
        status, got, said, took = call(bunho.url, method, path, dict(KEY, **headers), body)
        what = f"{method} {path[:150]} {json.dumps(headers)[:100]} {json.dumps(body)[:200]}"
        by_status[status] = by_status.get(status, 0) + 1
        report.check(status != 500 and status < 504, f"{what}: {status} {said[:300]}")
        # What sleeps because a text says so sleeps every time; a machine that is busy does not.
        for _ in range(2):
            if took >= SLEPT:
                took = min(took, call(bunho.url, method, path, dict(KEY, **headers), body)[3])
        report.check(took < SLEPT, f"{what}: took {took:.1f} s")
        names = {name.lower() for name in got.keys()}
        report.check("x-injected" not in names and "x=1" not in (got.get("set-cookie") or ""), f"{what}: its header came back")
        if status >= 400:
            shown = SHOWN.search(said.decode(errors="replace"))
            asked = path + json.dumps(headers) + json.dumps(body)
            report.check(not shown or shown.group(0).lower() in asked.lower(), f"{what}: shows {shown and shown.group(0)}: {said[:300]}")
    call(bunho.url, "GET", "/v1/claims", {"x-bunho-user": "keeper"})
    report.check(tables(bunho, url) == before, "the tables are not what they were")
    kept = json.loads(call(bunho.url, "GET", f"/v1/claims/{claim['id']}", {"x-bunho-user": "keeper"})[2])
    report.check(kept == claim, f"the claim that was there is {kept}")
    report.check(bunho.alive() and bunho.get("/readyz")[0] == 200, "bunho is not well")
    log = open(bunho.log.name).read()
    report.check("panicked" not in log and "ERROR" not in log, f"the log has: {log[-500:]}")
    print(f"  answers by status: {dict(sorted(by_status.items()))}")
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
