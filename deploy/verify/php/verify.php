<?php
// Nothing to install: sodium has been a part of PHP since 7.2.

/** What the pass says, if it is good for this zone; null for anything else. $keys: the decoded answer of /.well-known/jwks.json, which you keep. */
function verify(string $pass, string $zone, array $keys): ?array {
    [$head, $claims, $signature] = array_pad(explode('.', $pass, 3), 3, '');
    $read = fn (string $part): string => (string) base64_decode(strtr($part, '-_', '+/'), true);
    $header = json_decode($read($head), true);
    $says = json_decode($read($claims), true);
    if (!is_array($header) || !is_array($says) || ($header['alg'] ?? '') !== 'EdDSA' || isset($header['crit'])) return null;
    $known = array_column(array_filter($keys['keys'] ?? [], fn ($key) => $key['kty'] === 'OKP' && $key['crv'] === 'Ed25519'), 'x', 'kid');
    $key = $read($known[(string) ($header['kid'] ?? '')] ?? '');
    if (strlen($key) !== 32 || strlen($read($signature)) !== 64 || !sodium_crypto_sign_verify_detached($read($signature), "$head.$claims", $key)) return null;
    $good = ($says['iss'] ?? '') === 'bunho' && ($says['aud'] ?? '') === $zone && ($says['exp'] ?? 0) > time() - 5 && ($says['nbf'] ?? INF) <= time() + 5;
    return $good ? $says : null;
}
