# Asks verify.py about each line "zone pass" and prints yes or no.
import sys

from verify import verify

for line in sys.stdin:
    zone, token = line.rstrip("\n").split(" ")
    try:
        print("yes", verify(token, zone)["sub"], flush=True)
    except Exception:
        print("no", flush=True)
