// Logging in: credentials are tried at the registry before they are kept.

import { ImageError } from '../errors.js';
import { Connections, discard } from './connections.js';
import { eraseCredentials, serverName, storeCredentials } from './credentials.js';
import type { Credentials } from './docker-config.js';
import { Endpoint } from './endpoint.js';
import { failureOf } from './refusal.js';
import { DOCKER_HUB_HOST, readSettings } from './settings.js';
import { retrying } from './transient.js';

const DELAY = 500;
const DOCKER_HUB = 'docker.io';
const HOST = /^([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?$/;

/**
 * The registry that a person means: a host with or without a port, or a URL of it; Docker's own for none.
 *
 * @throws ImageError `bad-reference`
 */
export function registryHost(server: string | undefined): string {
  if (server === undefined) return DOCKER_HUB;
  const host = server.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  if (!HOST.test(host)) throw new ImageError('bad-reference', `invalid registry '${server}': HOST[:PORT] is wanted`);
  return serverName(host) === serverName(DOCKER_HUB) ? DOCKER_HUB : host;
}

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
  const url = new URL(`https://${host === DOCKER_HUB ? DOCKER_HUB_HOST : host}`);
  const endpoint = new Endpoint(host, url, connections, async () => credentials);
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
