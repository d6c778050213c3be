// Login and logout. A login checks the credentials with the registry before it stores them.

import { Connections, discard } from './connections.js';
import { eraseCredentials, storeCredentials } from './credentials.js';
import type { Credentials } from './docker-config.js';
import { Endpoint } from './endpoint.js';
import { hostUrl } from './host.js';
import { failureOf } from './refusal.js';
import { readSettings } from './settings.js';
import { retrying } from './transient.js';

/** Milliseconds of the first wait after a failure. */
const DELAY = 500;

/**
 * Checks a name and a password with a registry, and stores them.
 *
 * @param host as returned by `registryHost`
 * @returns the path of the file that holds the password in readable form, or null if a credential
 *   helper holds it
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
  return await storeCredentials(host, credentials);
}

/**
 * Erases the credentials that `login` stored.
 *
 * @returns false if there were none
 * @throws ImageError `bad-settings`
 */
export function logout(host: string): Promise<boolean> {
  return eraseCredentials(host);
}
