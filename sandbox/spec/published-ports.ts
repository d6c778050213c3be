// Published ports of a container: parsers of Docker's `--publish` and `--expose`, and the ports
// that a machine has bound.
import { isIP } from 'node:net';
import type { PublishedPorts } from '../../vmm/machine.js';
import { defined } from '../defined.js';
import { SandboxError } from '../errors.js';
import { parsePortRange } from './network-rules.js';

/** The most ports of one option. Each port is a socket; a longer range is a mistake. */
const MAX_PORTS = 1000;

/** A port of a container: `80/tcp`. */
export interface ExposedPort {
  protocol: PublishedPorts['protocol'];
  port: number;
}

/** A port of the host that leads to a port of a container. */
export interface BoundPort extends ExposedPort {
  /** Address of the host. */
  address: string;
  hostPort: number;
}

/**
 * Parses `8080:80`, `80` (any free port of the host), `127.0.0.1::80/udp`, `8000-8010:80` (the
 * first free port of the range), `[::1]:8000-8010:8000-8010`.
 * @throws SandboxError `bad-spec`
 */
export function parsePublished(text: string): PublishedPorts {
  const fail = (why: string): never => {
    throw new SandboxError('bad-spec', `invalid published port '${text}': ${why}`);
  };
  const match = /^(?:(?:(?:\[([^\]]*)\]|([^:[\]]*)):)?([^:/[\]]*):)?([^:/[\]]+)(?:\/(.*))?$/s.exec(text);
  if (match === null) return fail('[[IP:][HOST]:]GUEST[/udp] is needed');
  const [, bracketed, plain, host = '', guest = '', word = 'tcp'] = match;
  const protocol = toProtocol(word) ?? fail(`'${word}' is neither tcp nor udp`);
  const address = bracketed ?? (plain || undefined);
  if (address !== undefined && (isIP(address) === 0 || address.includes('%'))) {
    fail(`'${address}' is no address of the host`);
  }
  const to = parsePortRange(guest) ?? fail(`'${guest}' is no port or range of ports`);
  const count = to[1] - to[0] + 1;
  if (count > MAX_PORTS) fail(`at most ${MAX_PORTS} ports can be published at once`);
  const ports = defined({ protocol, address, guest: to[0], count });
  if (host === '') return { ...ports, host: 0 };
  const from = parsePortRange(host) ?? fail(`'${host}' is no port or range of ports`);
  if (count === 1 && from[1] > from[0]) return { ...ports, host: from[0], last: from[1] };
  if (from[1] - from[0] + 1 !== count) fail('as many ports of the host as of the container are needed');
  return { ...ports, host: from[0] };
}

function toProtocol(word: string): PublishedPorts['protocol'] | undefined {
  const protocol = word.toLowerCase();
  return protocol === 'tcp' || protocol === 'udp' ? protocol : undefined;
}

/**
 * Parses `80`, `80/udp`, `8000-8010/tcp`.
 * @throws SandboxError `bad-spec`
 */
export function parseExposed(text: string): ExposedPort[] {
  const [range = '', word = 'tcp', ...rest] = text.split('/');
  const protocol = toProtocol(word);
  const [first, last] = parsePortRange(range) ?? [0, 0];
  if (protocol === undefined || rest.length > 0 || first === 0 || last - first >= MAX_PORTS) {
    throw new SandboxError('bad-spec', `invalid port '${text}': PORT or FIRST-LAST, /tcp or /udp, is needed`);
  }
  return Array.from({ length: last - first + 1 }, (_, index) => ({ protocol, port: first + index }));
}

/** The ports that an image exposes. Invalid entries are ignored. */
export function imagePorts(words: readonly string[]): ExposedPort[] {
  const ports = words.flatMap((word) => {
    try {
      return parseExposed(word);
    } catch {
      return [];
    }
  });
  return ports.slice(0, MAX_PORTS);
}

/** `80/tcp` */
export function formatPort({ protocol, port }: ExposedPort): string {
  return `${port}/${protocol}`;
}

/**
 * The ports that `--publish-all` adds: exposed ports that are not published otherwise, at free
 * ports of the host.
 */
export function publishAll(exposed: readonly ExposedPort[], published: readonly PublishedPorts[]): PublishedPorts[] {
  const isPublished = ({ protocol, port }: ExposedPort) =>
    published.some((each) => each.protocol === protocol && port >= each.guest && port < each.guest + each.count);
  const names = new Map(exposed.filter((port) => !isPublished(port)).map((port) => [formatPort(port), port]));
  return [...names.values()].map(({ protocol, port }) => ({ protocol, guest: port, host: 0, count: 1 }));
}

/**
 * The ports that a machine has bound, one by one. Sorted by the container's port, IPv4 before IPv6.
 */
export function eachPort(bound: readonly PublishedPorts[]): BoundPort[] {
  return bound
    .flatMap(({ protocol, address = '0.0.0.0', host, guest, count }) =>
      Array.from({ length: count }, (_, index) => ({
        ...{ protocol, port: guest + index, address, hostPort: host + index },
      })),
    )
    .sort(
      (a, b) =>
        a.port - b.port ||
        a.protocol.localeCompare(b.protocol) ||
        isIP(a.address) - isIP(b.address) ||
        a.hostPort - b.hostPort,
    );
}
