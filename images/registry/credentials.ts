// A registry's credentials, which are read from and stored in Docker's own places: its config file
// or a credential helper.

import {
  type Credentials,
  changeDockerConfig,
  type DockerConfig,
  dockerConfigPath,
  readDockerConfig,
} from './docker-config.js';
import { canonicalHost, DOCKER_HUB, hostOf } from './host.js';

/** The key under which Docker stores the credentials of its own registry. */
const DOCKER_HUB_SERVER = 'https://index.docker.io/v1/';

/** The key under which a registry's credentials are stored. */
function serverName(host: string): string {
  return canonicalHost(host) === DOCKER_HUB ? DOCKER_HUB_SERVER : host;
}

/** Returns true if a key, which may be a URL, belongs to the registry. */
function isServer(entry: string, host: string): boolean {
  return canonicalHost(hostOf(entry)) === canonicalHost(host);
}

function helperOf(config: DockerConfig, host: string): string {
  const own = Object.entries(config.credHelpers).find(([server]) => isServer(server, host));
  return own ? own[1] : config.credsStore;
}

/**
 * Finds a registry's credentials in Docker's configuration.
 *
 * @param host `HOST[:PORT]`
 * @returns null if there are none
 * @throws ImageError `bad-settings`
 */
export async function findCredentials(host: string): Promise<Credentials | null> {
  const config = readDockerConfig(dockerConfigPath());
  const helper = helperOf(config, host);
  if (helper !== '') {
    const { helperGet } = await import('./credential-helper.js');
    return helperGet(helper, serverName(host));
  }
  const exact = config.auths.get(serverName(host));
  if (exact) return exact;
  for (const [entry, credentials] of config.auths) if (credentials && isServer(entry, host)) return credentials;
  return null;
}

/**
 * Stores a registry's credentials.
 *
 * @returns the path of the file that holds them in readable form, or null if a helper holds them
 * @throws ImageError
 */
export async function storeCredentials(host: string, credentials: Credentials): Promise<string | null> {
  const path = dockerConfigPath();
  const helper = helperOf(readDockerConfig(path), host);
  const server = serverName(host);
  if (helper === '') {
    changeDockerConfig(path, server, (other) => isServer(other, host), credentials);
    return path;
  }
  const { helperStore } = await import('./credential-helper.js');
  await helperStore(helper, server, credentials);
  changeDockerConfig(path, server, (other) => isServer(other, host), 'in-helper');
  return null;
}

/**
 * Erases a registry's credentials.
 *
 * @returns false if there were none
 * @throws ImageError
 */
export async function eraseCredentials(host: string): Promise<boolean> {
  const path = dockerConfigPath();
  const config = readDockerConfig(path);
  const helper = helperOf(config, host);
  const known = [...config.auths.keys()].some((entry) => isServer(entry, host));
  if (helper !== '') {
    const { helperErase } = await import('./credential-helper.js');
    await helperErase(helper, serverName(host));
  }
  if (known) changeDockerConfig(path, serverName(host), (other) => isServer(other, host), null);
  return known || helper !== '';
}
