<?php
// Asks verify.php about each line "zone pass" and prints yes or no. Keys are kept, and fetched again when a pass is refused: a new key may have signed it.
require $argv[1];

$keys = [];
while (($line = fgets(STDIN)) !== false) {
    [$zone, $pass] = explode(' ', rtrim($line, "\n"), 2);
    $says = verify($pass, $zone, $keys);
    if ($says === null) {
        $keys = json_decode((string) file_get_contents(getenv('BUNHO_JWKS')), true);
        $says = verify($pass, $zone, $keys);
    }
    echo $says === null ? "no\n" : "yes {$says['sub']}\n";
}
