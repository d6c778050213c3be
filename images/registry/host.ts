// What registries are called. Docker's own goes by several names, which are one here.

import { ImageError } from '../errors.js';

export const DOCKER_HUB = 'docker.io';
/** Where Docker's own registry is served. */
const DOCKER_HUB_SERVICE = 'registry-1.docker.io';
const DOCKER_HUB_NAMES = [DOCKER_HUB, 'index.docker.io', DOCKER_HUB_SERVICE];
const HOST = /^([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?$/;

/** One spelling for what is the same registry: `HOST[:PORT]`. */
export function canonicalHost(host: string): string {
  const name = host.toLowerCase().replace(/:443$/, '');
  return DOCKER_HUB_NAMES.includes(name) ? DOCKER_HUB : name;
}

/**
 * The registry that a person means: a host with or without a port, or a URL of it; Docker's own for none.
 *
 * @throws ImageError `bad-reference`
 */
export function registryHost(server: string | undefined): string {
  if (server === undefined) return DOCKER_HUB;
  const host = hostOf(server);
  if (!HOST.test(host)) throw new ImageError('bad-reference', `invalid registry '${server}': HOST[:PORT] is wanted`);
  return canonicalHost(host) === DOCKER_HUB ? DOCKER_HUB : host;
}

/** The host of what may be a URL. */
export function hostOf(server: string): string {
  return server.replace(/^https?:\/\//i, '').replace(/\/.*$/, '');
}

/** Where a registry is asked first. */
export function hostUrl(host: string): URL {
  return new URL(`https://${canonicalHost(host) === DOCKER_HUB ? DOCKER_HUB_SERVICE : host}`);
}
