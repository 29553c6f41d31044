// An OpenID provider for people whose passwords are any. Its first line is its port. The argument is JSON: `redirect_uris`,
// `post_logout_redirect_uris`, and the lifetime of access tokens in seconds, `access_token`.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// The package is in target/peers, where this file is not.
const require = createRequire(`${process.argv[2]}/`);
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
const settings = JSON.parse(process.argv[3]);

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address();

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: 'gateway',
      client_secret: 'secret of the gateway: 100% & more',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: settings.redirect_uris,
      post_logout_redirect_uris: settings.post_logout_redirect_uris,
      token_endpoint_auth_method: settings.authentication,
    },
  ],
  claims: { openid: ['sub'], email: ['email'], groups: ['groups'] },
  scopes: ['openid', 'email', 'groups'],
  // The ID token has the claims of the scopes, and not only the provider's userinfo.
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, groups: ['staff', 'admins'] }),
  }),
  issueRefreshToken: () => true,
  rotateRefreshToken: true,
  pkce: { required: () => true },
  ttl: { AccessToken: settings.access_token, Grant: 3600, IdToken: 3600, Interaction: 3600, RefreshToken: 3600, Session: 3600 },
});
server.on('request', provider.callback());
console.log(port);
