// Formats the ports of a container as Docker does.
import { type BoundPort, type ContainerInfo, eachPort, formatPort, isRunning } from '../../sandbox/internal.js';

/**
 * `0.0.0.0:8080-8082->80-82/tcp, [::]:8080-8082->80-82/tcp, 53/udp`; empty for a stopped container.
 */
export function formatPorts({ config, state }: ContainerInfo): string {
  if (!isRunning(state)) return '';
  const bound = eachPort(state.ports ?? []);
  const names = new Set(bound.map(formatPort));
  const unpublished = (config.exposed ?? []).filter((port) => !names.has(port));
  return [...bound.reduce(addToRange, []).map(formatRange), ...unpublished].join(', ');
}

/** A range of ports of the host, published one by one to a range of ports of the container. */
interface PortRange {
  first: BoundPort;
  count: number;
}

function addToRange(ranges: PortRange[], port: BoundPort): PortRange[] {
  const found = ranges.find(
    ({ first, count }) =>
      first.protocol === port.protocol &&
      first.address === port.address &&
      first.port + count === port.port &&
      first.hostPort + count === port.hostPort,
  );
  if (found === undefined) ranges.push({ first: port, count: 1 });
  else found.count++;
  return ranges;
}

function formatRange({ first: { protocol, address, hostPort, port }, count }: PortRange): string {
  const range = (first: number) => (count === 1 ? String(first) : `${first}-${first + count - 1}`);
  return `${formatAddress(address)}:${range(hostPort)}->${range(port)}/${protocol}`;
}

/** `0.0.0.0:8080`, `[::]:8080` */
export function formatHostPort({ address, hostPort }: BoundPort): string {
  return `${formatAddress(address)}:${hostPort}`;
}

function formatAddress(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
