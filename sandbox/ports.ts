// Whether the ports of the host that a container is to have are free: told before anything is started, as of passt only the
// first of a range is heard of.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { NetworkSpec, PublishedPorts } from '../vmm/machine.js';
import { SandboxError } from './errors.js';

/** @throws SandboxError `network` for a port that is in use, or not the user's to take */
export async function checkPorts(network: NetworkSpec | undefined): Promise<void> {
  if (network?.backEnd.kind !== 'passt') return;
  await Promise.all(network.backEnd.ports.flatMap(eachPort));
}

function eachPort({ protocol, address = '0.0.0.0', host, count }: PublishedPorts): Promise<void>[] {
  const check = protocol === 'tcp' ? listens : binds;
  return Array.from({ length: count }, async (_, index) => {
    const port = host + index;
    try {
      await check(address, port);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const why =
        { EADDRINUSE: 'it is in use', EACCES: 'ports below 1024 are for root', EADDRNOTAVAIL: 'no such address' }[
          code ?? ''
        ] ?? (cause as Error).message;
      const where = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
      throw new SandboxError('network', `cannot publish port ${where}/${protocol}: ${why}`, { cause });
    }
  });
}

function listens(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve()));
  });
}

function binds(address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve()));
  });
}
