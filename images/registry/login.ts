// Logging in: credentials are tried at the registry before they are kept.

import { Connections, discard } from './connections.js';
import { eraseCredentials, storeCredentials } from './credentials.js';
import type { Credentials } from './docker-config.js';
import { Endpoint } from './endpoint.js';
import { hostUrl } from './host.js';
import { failureOf } from './refusal.js';
import { readSettings } from './settings.js';
import { retrying } from './transient.js';

const DELAY = 500;

/**
 * Tries a name and a password at a registry and keeps them.
 *
 * @param host as `registryHost` gives it
 * @returns the file in which the password can be read, or null if a credential helper keeps it
 * @throws ImageError `unauthorized`, `network`, `bad-settings`
 */
export async function login(host: string, username: string, password: string): Promise<string | null> {
  const credentials: Credentials = { kind: 'password', username, password };
  using connections = new Connections(readSettings());
  const endpoint = new Endpoint(host, hostUrl(host), connections, async () => credentials);
  await retrying(DELAY, async () => {
    const answer = await endpoint.get('v2/', '');
    if (answer.status !== 200) throw await failureOf(answer, 'a login');
    discard(answer);
  });
  return storeCredentials(host, credentials);
}

/**
 * Forgets what `login` kept.
 *
 * @returns false if there was nothing
 * @throws ImageError `bad-settings`
 */
export function logout(host: string): Promise<boolean> {
  return eraseCredentials(host);
}
