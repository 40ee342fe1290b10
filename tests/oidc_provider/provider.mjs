// An OpenID Connect provider on loopback, with a login form and no others of its own.
//
//     node provider.mjs '{"ana": {"name": "Ana Example", "groups": ["leads"]}}'
//
// The argument has the claims of each account by its login. Prints its issuer when it is ready, and ends with its standard
// input, so that it never outlives whoever started it.

import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const accounts = JSON.parse(process.argv[2] ?? '{}');
const CLIENT = { client_id: 'slipway', client_secret: 'a secret / of: tests' };

const isLocal = (uri) => new URL(uri).hostname === '127.0.0.1';

// The provider's own pages print a notice for developers, and nobody reads its output any more.
const devicePage = (text, form = '', button = '') => `<!doctype html><html lang="en"><title>Sign in</title><main><h1>Sign in</h1>
<p>${text}</p>${form}${button}</main></html>`;
const devicePages = {
  userCodeInputSource(context, form) {
    context.body = devicePage('Enter the code', form, '<button form="op.deviceInputForm">Continue</button>');
  },
  userCodeConfirmSource(context, form, _client, _device, code) {
    context.body = devicePage(`Is the code ${code}?`, form, '<button form="op.deviceConfirmForm">Yes</button>');
  },
  successSource(context) {
    context.body = devicePage('You are signed in.');
  },
};

function configuration() {
  return {
    clients: [{
      ...CLIENT,
      redirect_uris: ['http://127.0.0.1/auth/callback'],
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
    }],
    cookies: { keys: ['for these tests alone'] },
    claims: {
      openid: ['sub', 'groups'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
    },
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: false }, deviceFlow: { enabled: true, ...devicePages } },
    findAccount: (_context, id) => accounts[id] && ({ accountId: id, claims: () => ({ sub: id, ...accounts[id] }) }),
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    // Who signs in consents: the client is the organisation's own.
    async loadExistingGrant(context) {
      const { client, session, provider, params } = context.oidc;
      const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope(params.scope);
      await grant.save();
      return grant;
    },
    pkce: { required: () => true },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 3600 },
  };
}

const form = (uid) => `<!doctype html><html lang="en"><title>Sign in</title><main><h1>Sign in</h1>
<form method="post" action="/interaction/${uid}"><label>Login <input name="login" autofocus></label>
<button type="submit">Sign in</button></form></main></html>`;

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return new URLSearchParams(Buffer.concat(parts).toString());
}

async function interact(provider, request, response) {
  const { uid } = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(form(uid));
    return;
  }
  const login = (await body(request)).get('login');
  const result = accounts[login]
    ? { login: { accountId: login } }
    : { error: 'access_denied', error_description: 'nobody by this login' };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration());
  // The services of tests are at any port.
  provider.Client.prototype.redirectUriAllowed = isLocal;
  provider.Client.prototype.postLogoutRedirectUriAllowed = isLocal;
  const handle = provider.callback();
  server.on('request', (request, response) => {
    if (!request.url.startsWith('/interaction/')) {
      handle(request, response);
      return;
    }
    interact(provider, request, response).catch((error) => {
      response.statusCode = 400;
      response.end(String(error));
    });
  });
  console.log(issuer);
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
