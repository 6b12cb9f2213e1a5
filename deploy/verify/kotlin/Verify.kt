// Gradle: implementation("org.bitbucket.b_c:jose4j:0.9.6") (JDK 15 or newer, which has Ed25519)
import org.jose4j.jwa.AlgorithmConstraints.ConstraintType.PERMIT
import org.jose4j.jwk.HttpsJwks
import org.jose4j.jwt.JwtClaims
import org.jose4j.jwt.consumer.JwtConsumerBuilder
import org.jose4j.keys.resolvers.HttpsJwksVerificationKeyResolver

// The keys are fetched once and kept as long as the answer says; a pass under a key that is not among them has them fetched again.
private val keys = HttpsJwks(System.getenv("BUNHO_JWKS") ?: "http://127.0.0.1:8080/.well-known/jwks.json")

/** What the pass says, if it is good for this zone; anything else throws. */
fun verify(pass: String, zone: String): JwtClaims =
    JwtConsumerBuilder().setVerificationKeyResolver(HttpsJwksVerificationKeyResolver(keys))
        .setJwsAlgorithmConstraints(PERMIT, "EdDSA").setExpectedIssuer("bunho").setExpectedAudience(zone)
        .setRequireExpirationTime().setRequireNotBefore().setRequireSubject().setAllowedClockSkewInSeconds(5)
        .build().processToClaims(pass)
