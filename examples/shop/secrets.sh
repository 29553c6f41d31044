#!/usr/bin/env bash
# Makes the secrets of the shop, in examples/shop/secrets: a key of its identity provider, a partner's key, and a password.
# Needs openssl. GATEWAY is the program, `gateway` if it is not set.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets

# The provider signs with the private key; the gateway has the public one.
openssl genpkey -algorithm ed25519 -out secrets/issuer.pem
x=$(openssl pkey -in secrets/issuer.pem -pubout -outform DER | tail -c 32 | base64 -w 0 | tr '+/' '-_' | tr -d '=')
printf '{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"shop-1","x":"%s"}]}\n' "$x" >secrets/jwks.json

openssl rand -hex 32 >secrets/partner.key
{
    "${GATEWAY:-gateway}" hash-key --stdin --id acme <secrets/partner.key
    echo "  metadata: { plan: gold }"
} >secrets/partners.yaml

openssl rand -hex 12 >secrets/staff.password
printf 'eve:%s\n' "$(openssl passwd -6 -stdin <secrets/staff.password)" >secrets/staff.htpasswd

echo "made: $(pwd)/secrets"
