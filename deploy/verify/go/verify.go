// go get github.com/golang-jwt/jwt/v5 github.com/MicahParks/keyfunc/v3
package main

import (
	"context"
	"os"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// Keys fetches the keys, keeps them, and fetches them again for a pass under a key that is not among them, at most once in five seconds.
func Keys() (keyfunc.Keyfunc, error) {
	again := keyfunc.Override{RefreshUnknownKID: rate.NewLimiter(rate.Every(5*time.Second), 1), RateLimitWaitMax: time.Millisecond}
	return keyfunc.NewDefaultOverrideCtx(context.Background(), []string{os.Getenv("BUNHO_JWKS")}, again)
}

// Verify says what the pass says, if it is good for this zone.
func Verify(keys keyfunc.Keyfunc, pass, zone string) (*jwt.RegisteredClaims, error) {
	claims := &jwt.RegisteredClaims{}
	_, err := jwt.ParseWithClaims(pass, claims, keys.Keyfunc, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithAudience(zone),
		jwt.WithIssuer("bunho"), jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithLeeway(5*time.Second))
	return claims, err
}
