// Maven: org.bitbucket.b_c:jose4j:0.9.6 (JDK 15 or newer, which has Ed25519)
import static org.jose4j.jwa.AlgorithmConstraints.ConstraintType.PERMIT;

import org.jose4j.jwk.HttpsJwks;
import org.jose4j.jwt.JwtClaims;
import org.jose4j.jwt.consumer.InvalidJwtException;
import org.jose4j.jwt.consumer.JwtConsumerBuilder;
import org.jose4j.keys.resolvers.HttpsJwksVerificationKeyResolver;

public final class Verify {
    // The keys are fetched once and kept as long as the answer says; a pass under a key that is not among them has them fetched again.
    private static final HttpsJwks KEYS = new HttpsJwks(System.getenv().getOrDefault("BUNHO_JWKS", "http://127.0.0.1:8080/.well-known/jwks.json"));

    /** What the pass says, if it is good for this zone; anything else throws. */
    public static JwtClaims verify(String pass, String zone) throws InvalidJwtException {
        return new JwtConsumerBuilder().setVerificationKeyResolver(new HttpsJwksVerificationKeyResolver(KEYS))
            .setJwsAlgorithmConstraints(PERMIT, "EdDSA").setExpectedIssuer("bunho").setExpectedAudience(zone)
            .setRequireExpirationTime().setRequireNotBefore().setRequireSubject().setAllowedClockSkewInSeconds(5)
            .build().processToClaims(pass);
    }
}
