// Onboards an app, claims its key and removes it, with a client whose types are generated from openapi.yaml.
//
//     node built/onboard.js URL NAME < token

import createClient from 'openapi-fetch';
import type { components, paths } from './schema.js';

declare const process: { argv: string[]; stdin: AsyncIterable<{ toString(): string }> };

type Job = components['schemas']['Job'];

const [url, name] = process.argv.slice(2) as [string, string];
let token = '';
for await (const part of process.stdin) token += part;
const slipway = createClient<paths>({ baseUrl: url, headers: { authorization: `Bearer ${token.trim()}` } });

async function ended(job: Job): Promise<Job> {
  const { data, error } = await slipway.GET('/v1/jobs/{id}', { params: { path: { id: job.id }, query: { wait: '30s' } } });
  if (error) throw new Error(error.detail);
  if (data.state !== 'succeeded') throw new Error(`the job is ${data.state}: ${data.error?.detail}`);
  return data;
}

const wrong = await slipway.POST('/v1/apps', { body: { name: 'not a name' } });
if (wrong.error?.code !== 'invalid_fields') throw new Error('a wrong name is accepted');

const onboarding = await slipway.POST('/v1/apps', { body: { name, media_access: 'scoped' } });
if (!onboarding.data || !('steps' in onboarding.data)) throw new Error(onboarding.error?.detail ?? 'no job');
const job = await ended(onboarding.data);
const access_key_id = job.result?.access_key_id;
if (!access_key_id) throw new Error('the job made no key');

const audit = await slipway.GET('/v1/audit', { params: { query: { app: name } } });
if (!audit.data || typeof audit.data === 'string') throw new Error('the audit is no JSON');
if (!audit.data.items.some((entry) => entry.action === 'job_requested')) throw new Error('the audit has no request');

const claim = await slipway.POST('/v1/apps/{app}/credentials/{access_key_id}/claim', { params: { path: { app: name, access_key_id } } });
if (!claim.data || typeof claim.data === 'string') throw new Error(claim.error?.detail ?? 'no secret');
if (!claim.data.AWS_SECRET_ACCESS_KEY) throw new Error('the secret is empty');

const removal = await slipway.DELETE('/v1/apps/{app}', { params: { path: { app: name } } });
if (!removal.data || !('steps' in removal.data)) throw new Error(removal.error?.detail ?? 'no job');
await ended(removal.data);
console.log(`${name}: onboarded, claimed and removed`);
