"""Schemathesis over the /openapi.json of a real `bunho serve --demo`: cases made from the document, right and wrong ones, and every check that it has.

    schema.py [SECONDS]

Users are those of an issuer here (`auth.user = "jwt"`), not whoever a header names, so that calls without a credential are refused as the document says.
Left out, and why:

- `positive_data_acceptance`: what is right for a JSON schema may be refused by a rule over several fields (a window that ends before it begins), by what is in
  the state (a sold-out offer is a 409), or by a text's form that the document says in words.
- Event streams, which do not end; the console's session and accounts, whose wrong passwords are throttled.

A 503 that the document has is no error: Bunho says it where the disk does not keep up.
"""

import os
import subprocess
import sys
import tempfile

from rig import ADMIN_KEY, ROOT, Bunho

SEED = "8"
SKIPPED = r"/traffic/stream|/stock$|/session|/account"
CHECKS_SKIPPED = "positive_data_acceptance"
SETTINGS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""


def main():
    seconds = sys.argv[1] if len(sys.argv) > 1 else "45"
    with tempfile.TemporaryDirectory(prefix="bunho-schema-") as folder:
        private, public = os.path.join(folder, "key.pem"), os.path.join(folder, "issuer.pem")
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", private], check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
        bunho = Bunho(f'[auth]\nuser = "jwt"\n[auth.jwt]\nissuer = "https://id.example.com"\nkey_file = "{public}"\n[log]\nlevel = "warn"\n')
        st = os.path.join(ROOT, "target/apitest/venv/bin/schemathesis")
        arguments = [
            st, "run", f"{bunho.url}/openapi.json", "--header", f"Authorization: Bearer {ADMIN_KEY}", "--header", "X-Bunho-User: schemathesis",
            "--seed", SEED, "--checks", "all", "--exclude-checks", CHECKS_SKIPPED, "--phases", "examples,coverage,fuzzing",
            "--max-time", seconds, "--max-examples", "20", "--continue-on-failure", "--no-color", "--warnings", "off", "--request-timeout", "20",
            "--exclude-path-regex", SKIPPED,
        ]
        with open(os.path.join(folder, "schemathesis.toml"), "w") as file:
            file.write(SETTINGS)
        # What it keeps between runs would make one run unlike the next.
        code = subprocess.run(arguments, cwd=folder).returncode
        if not bunho.alive() or "panicked" in open(bunho.log.name).read():
            print(f"WRONG schemathesis: bunho is not well: {open(bunho.log.name).read()[-2000:]}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
