// The ports of EXPOSE: `[[IP:]HOST_PORT:]PORT[-LAST][/PROTOCOL]`. An address and a port of the host
// are read and dropped, as BuildKit does.
import { isIP } from 'node:net';
import { BuildError } from '../build-error.js';
import { MAX_EXPOSED } from '../limits.js';

export interface Exposed {
  /** As written: of the three forms `tcp`, `udp` and `sctp` in any case; '' if none is given. */
  protocol: string;
  /** An address or a port of the host is given. */
  hasHost: boolean;
  range: Range;
}

type Range = [first: number, last: number];

/** Reads the words of EXPOSE of a whole Dockerfile, and counts their ports. */
export class ExposedReader {
  #left = MAX_EXPOSED;

  /** @throws BuildError `bad-dockerfile`, `too-large` */
  read(text: string): Exposed {
    const exposed = parseExposed(text);
    const [first, last] = exposed.range;
    this.#left -= last - first + 1;
    if (this.#left < 0) throw new BuildError('too-large', `EXPOSE names more than ${MAX_EXPOSED} ports`);
    return exposed;
  }
}

/** `80/tcp` each. */
export function* portsOf({ protocol, range: [first, last] }: Exposed): Generator<string> {
  const suffix = protocol.toLowerCase() || 'tcp';
  for (let port = first; port <= last; port++) yield `${port}/${suffix}`;
}

function parseExposed(text: string): Exposed {
  const [, host = '', port = '', protocol = ''] = /^(?:(.*):)?([^:/]*)(?:\/(.*))?$/s.exec(text) ?? [];
  const range = rangeOf(port);
  if (range === undefined) throw bad(`invalid containerPort: ${port === '' ? text : port}`);
  if (!/^(tcp|udp|sctp|)$/i.test(protocol)) throw bad(`invalid port: "${text}": invalid proto: ${protocol}`);
  checkHost(host, text, range);
  return { protocol, hasHost: host !== '', range };
}

function checkHost(host: string, text: string, [first, last]: Range): void {
  if (host === '') return;
  const colon = host.lastIndexOf(':');
  const address = host.slice(0, Math.max(0, colon)).replace(/^\[(.*)\]$/, '$1');
  if (address !== '' && isIP(address) === 0) throw bad(`invalid IP address: ${address}`);
  const port = host.slice(colon + 1);
  if (port === '') return;
  const range = rangeOf(port);
  if (range === undefined) throw bad(`invalid hostPort: ${port}`);
  if (first !== last && range[1] - range[0] !== last - first) {
    throw bad(`invalid ranges specified for container and host Ports: ${text}`);
  }
}

function rangeOf(text: string): Range | undefined {
  const [, start, end = start] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  const range: Range = [Number(start), Number(end)];
  return range[0] <= range[1] && range[1] <= 65535 ? range : undefined;
}

function bad(message: string): BuildError {
  return new BuildError('bad-dockerfile', message);
}
