"""Security headers: a walk over every route that the OpenAPI document names, every page, and every error, held against OWASP's list of secure headers
(https://owasp.org/www-project-secure-headers/) as far as it means something for that kind of answer.
"""

import json
import re
import sys

from rig import ADMIN_KEY, Bunho, Report, call

KEY = {"authorization": f"Bearer {ADMIN_KEY}"}
# Says nothing about what it runs on.
TELLTALE = ("server", "x-powered-by", "x-aspnet-version", "via", "x-generator")
PAGES = ["/", "/wait/TEST_ZONE", "/wait/TEST_ZONE?plain=1", "/wait/nowhere", "/demo", "/docs/", "/assets/none.js"]


def routes(bunho):
    document = json.loads(bunho.get("/openapi.json")[2])
    for path, item in document["paths"].items():
        if path in ("/traffic/stream", "/v1/offers/{id}/stock"):
            continue
        filled = path.replace("{zone}", "TEST_ZONE").replace("{name}", "nobody").replace("{kid}", "none")
        filled = filled.replace("{id}", "TEST_ZONE" if "zones" in path else "demo-sneakers")
        for method in item:
            if method in ("get", "put", "post", "delete") and "session" not in path:
                yield method.upper(), filled


def looked_at(report, what, status, headers, body):
    kind = headers.get("content-type", "")
    names = {name.lower() for name in headers.keys()}
    for telltale in TELLTALE:
        report.check(telltale not in names, f"{what}: says {telltale}: {headers.get(telltale)}")
    report.check("x-request-id" in names, f"{what}: {status} has no x-request-id")
    for value in headers.get_all("set-cookie") or []:
        lower = value.lower()
        report.check("httponly" in lower and "samesite=" in lower, f"{what}: a cookie without HttpOnly or SameSite: {value}")
    if headers.get("access-control-allow-origin") == "*":
        report.check("access-control-allow-credentials" not in names, f"{what}: every origin, with credentials")
    if body and status not in (204, 304):
        report.check(kind != "", f"{what}: a body without a type")
    if status >= 400 and body and "html" not in kind and not what.startswith("GET /assets"):
        report.check(kind.startswith("application/problem+json"), f"{what}: {status} is {kind}")
    if "html" in kind:
        page(report, what, headers, body.decode())


def page(report, what, headers, text):
    policy = headers.get("content-security-policy", "")
    report.check("default-src 'none'" in policy or "default-src 'self'" in policy, f"{what}: no default-src in {policy!r}")
    report.check("frame-ancestors" in policy or headers.get("x-frame-options"), f"{what}: can be framed: {policy!r}")
    report.check("unsafe-eval" not in policy and "script-src 'unsafe-inline'" not in policy, f"{what}: {policy}")
    report.check("base-uri" in policy, f"{what}: no base-uri in {policy!r}")
    report.check(headers.get("x-content-type-options") == "nosniff", f"{what}: may be sniffed")
    report.check(headers.get("referrer-policy") is not None, f"{what}: no Referrer-Policy")
    inline = re.findall(r"<script(?![^>]*\b(?:src|type=\"application/json\"))[^>]*>", text)
    report.check(not inline or "sha256-" in policy or "nonce-" in policy, f"{what}: scripts in the page that its policy does not name: {inline[:2]}")


def main():
    report = Report("headers")
    bunho = Bunho()
    for method, path in routes(bunho):
        for who, headers in (("with the key", KEY), ("without", {})):
            body = {} if method in ("POST", "PUT") else None
            status, got, said, _ = call(bunho.url, method, path, headers, body)
            looked_at(report, f"{method} {path} {who}", status, got, said)
            private = path.startswith(("/admin/api", "/v1/claims", "/v1/standby"))
            # An answer to anything but GET is kept by nobody who is not told to.
            if private and method == "GET" and status < 300 and said:
                kept = got.get("cache-control", "")
                report.check("no-store" in kept, f"{method} {path} {who}: may be kept by caches: {kept!r}")
    for path in PAGES:
        status, got, said, _ = call(bunho.url, "GET", path, {"accept": "text/html"})
        looked_at(report, f"GET {path}", status, got, said)
    # Errors that no handler makes.
    for method, path in (("GET", "/nothing"), ("PATCH", "/v1/offers"), ("GET", "/%ff"), ("TRACE", "/healthz")):
        status, got, said, _ = call(bunho.url, method, path)
        looked_at(report, f"{method} {path}", status, got, said)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
