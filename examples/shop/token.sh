#!/usr/bin/env bash
# Prints a token as the shop's identity provider makes it, for five minutes: token.sh CUSTOMER [SCOPE]
set -euo pipefail
cd "$(dirname "$0")"

base64url() { base64 -w 0 | tr '+/' '-_' | tr -d '='; }

customer=${1:?the name of a customer} scope=${2:-orders} now=$(date +%s)
head=$(printf '{"alg":"EdDSA","kid":"shop-1"}' | base64url)
claims=$(printf '{"iss":"https://id.shop.example","aud":"shop","sub":"%s","scope":"%s","iat":%d,"exp":%d}' \
    "$customer" "$scope" "$now" $((now + 300)) | base64url)
# openssl signs a file with Ed25519, and no pipe.
signed=$(mktemp)
trap 'rm -f "$signed"' EXIT
printf '%s.%s' "$head" "$claims" >"$signed"
signature=$(openssl pkeyutl -sign -rawin -inkey secrets/issuer.pem -in "$signed" | base64url)
printf '%s.%s.%s\n' "$head" "$claims" "$signature"
