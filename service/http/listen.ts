// Where servers listen.
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Address {
  host: string;
  /** 0: one that is free. */
  port: number;
}

/**
 * Resolves to the server's URL once it listens: `http://127.0.0.1:7070`.
 * @throws an error with the errno of listen(2)
 */
export async function listen(server: Server, { host, port }: Address): Promise<string> {
  server.listen({ host, port });
  await once(server, 'listening');
  const { port: actual } = server.address() as AddressInfo;
  return `http://${host.includes(':') ? `[${host}]` : host}:${actual}`;
}
