// Asks Verify.java, or with "kotlin" Verify.kt, about each line "zone pass" and prints yes or no.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import org.jose4j.jwt.JwtClaims;

public final class Try {
    public static void main(String[] arguments) throws Exception {
        boolean kotlin = arguments[0].equals("kotlin");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split(" ", 2);
            try {
                JwtClaims claims = kotlin ? VerifyKt.verify(parts[1], parts[0]) : Verify.verify(parts[1], parts[0]);
                System.out.println("yes " + claims.getSubject());
            } catch (Exception refused) {
                System.out.println("no");
            }
        }
    }
}
