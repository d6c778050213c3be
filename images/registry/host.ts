// Names of registries. Docker's own has several, which become one here.

import { ImageError } from '../errors.js';

export const DOCKER_HUB = 'docker.io';
/** The server of Docker's own registry. */
const DOCKER_HUB_SERVICE = 'registry-1.docker.io';
const DOCKER_HUB_NAMES = [DOCKER_HUB, 'index.docker.io', DOCKER_HUB_SERVICE];
const HOST = /^([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?$/;

/** The canonical spelling of a registry: `HOST[:PORT]`. */
export function canonicalHost(host: string): string {
  const name = host.toLowerCase().replace(/:443$/, '');
  return DOCKER_HUB_NAMES.includes(name) ? DOCKER_HUB : name;
}

/**
 * Reads a registry from the command line: `HOST[:PORT]`, or a URL. The default is Docker's own.
 *
 * @throws ImageError `bad-reference`
 */
export function registryHost(server: string | undefined): string {
  if (server === undefined) return DOCKER_HUB;
  const host = hostOf(server);
  if (!HOST.test(host)) throw new ImageError('bad-reference', `invalid registry '${server}': expected HOST[:PORT]`);
  return canonicalHost(host) === DOCKER_HUB ? DOCKER_HUB : host;
}

/** The `HOST[:PORT]` of a host or URL. */
export function hostOf(server: string): string {
  return server.replace(/^https?:\/\//i, '').replace(/\/.*$/, '');
}

/** The base URL of a registry. */
export function hostUrl(host: string): URL {
  return new URL(`https://${canonicalHost(host) === DOCKER_HUB ? DOCKER_HUB_SERVICE : host}`);
}
