// npm install jose
import { createRemoteJWKSet, jwtVerify } from "jose";

// The keys are fetched once and kept; a pass under a key that is not among them has them fetched again, at most once in five seconds.
const keys = createRemoteJWKSet(new URL(process.env.BUNHO_JWKS ?? "http://127.0.0.1:8080/.well-known/jwks.json"), { cooldownDuration: 5_000 });

/** What the pass says, if it is good for this zone; anything else throws. */
export async function verify(pass, zone) {
  const rules = { algorithms: ["EdDSA"], issuer: "bunho", audience: zone, clockTolerance: 5, requiredClaims: ["exp", "nbf", "sub"] };
  return (await jwtVerify(pass, keys, rules)).payload;
}
