// The names of hosts that ports of sandboxes have: `8080-sb-0123456789abcdef.DOMAIN`, as E2B's
// have. So each port has an origin of its own in browsers, apart from the API's and the page's.

/** The port of E2B's daemon, which the server plays. */
const DAEMON = 49_983;
const MAX_PORT = 65_535;
const HOST = /^([1-9]\d{0,4})-(sb-[0-9a-f]{16})\.([^:]+)(?::\d{1,5})?$/;

/** What a host names: a port of a sandbox. */
export interface NamedPort {
  id: string;
  port: number;
}

/** The host of a port. */
export function hostOf(domain: string, { id, port }: { id: string; port: number | 'PORT' }): string {
  return `${port}-${id}.${domain}`;
}

/**
 * Returns what finds the port that a host names. Clients may name any port of the server: a proxy may
 * stand before it.
 * @param domain `localhost:7070`. Undefined: no host names a port
 */
export function portFinder(domain?: string): (host: string | undefined) => NamedPort | undefined {
  const name = domain?.replace(/:.*/, '').toLowerCase();
  return (host = '') => {
    const [, digits, id = '', of] = HOST.exec(host.toLowerCase()) ?? [];
    const port = Number(digits);
    return of !== undefined && of === name && port <= MAX_PORT && port !== DAEMON ? { id, port } : undefined;
  };
}
