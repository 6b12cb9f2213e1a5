# pip install 'pyjwt[crypto]'
import os

import jwt

# The keys are fetched once and kept for five minutes; a pass under a key that is not among them has them fetched again, at most once in five seconds.
url = os.environ.get("BUNHO_JWKS", "http://127.0.0.1:8080/.well-known/jwks.json")
keys = jwt.PyJWKClient(url, lifespan=300, timeout=3, cooldown_duration=5)


def verify(text: str, zone: str) -> dict:
    """What the pass says, if it is good for this zone; anything else raises."""
    key = keys.get_signing_key_from_jwt(text)
    rules = {"require": ["exp", "nbf", "sub", "iss", "aud"]}
    return jwt.decode(text, key, algorithms=["EdDSA"], audience=zone, issuer="bunho", leeway=5, options=rules)
