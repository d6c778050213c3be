// Kubernetes' engines forward a port of a pod by a connection to `localhost`, which they make in
// the pod's network namespace on the host. Such a connection goes on to the same port of the
// guest's loopback interface, by a tool of the agent. The guest is hostile: it may never answer, or
// never end.

import { createServer, type Server, type Socket } from 'node:net';
import { Writable } from 'node:stream';
import { OwnedDescriptor } from '../../libc/owned-descriptor.js';
import { ProcessIo } from '../../sandbox/agent/process-io.js';
import type { StreamName } from '../../sandbox/agent/protocol.js';
import { REQUEST_TIMEOUT } from '../../sandbox/agent/responsiveness.js';
import type { GuestProcess } from '../../sandbox/run/guest-container.js';
import type { Loopback } from '../../vmm/outside/loopback.js';

/** Connections at once: each is a process of the guest, of which the agent has 256 at most. */
const MOST = 64;
/** Milliseconds after which a client that is silent is asked whether it is still there. */
const KEEP_ALIVE = 60_000;
const SIGKILL = 9;
const STREAMS: readonly StreamName[] = ['stdin', 'stdout', 'stderr'];

export class PortForward implements Disposable {
  readonly #server: Server;
  readonly #link: OwnedDescriptor;
  readonly #connect: (port: number) => GuestProcess;
  readonly #sockets = new Set<Socket>();

  /**
   * @param loopback owned from now on
   * @param connect starts the tool that is connected with a port of the guest; throws if it cannot
   */
  constructor({ socket, link }: Loopback, connect: (port: number) => GuestProcess) {
    this.#link = new OwnedDescriptor(link);
    this.#connect = connect;
    const options = { keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE, noDelay: true };
    this.#server = createServer({ ...options, allowHalfOpen: true, pauseOnConnect: true }, (client) =>
      this.#accept(client),
    );
    this.#server.maxConnections = MOST;
    this.#server.on('error', () => {}).listen({ fd: socket });
  }

  #accept(client: Socket): void {
    const { localAddress, localPort, remoteAddress } = client;
    client.on('error', () => {});
    // The socket listens at the namespace's other addresses too.
    if (!isLoopback(localAddress) || !isLoopback(remoteAddress) || localPort === undefined) {
      client.resetAndDestroy();
      return;
    }
    this.#sockets.add(client);
    client.once('close', () => this.#sockets.delete(client));
    // The client was told that it is connected, before the guest was asked.
    carry(client, () => this.#connect(localPort)).catch(() => client.resetAndDestroy());
  }

  [Symbol.dispose](): void {
    // Whoever connects from now on is refused.
    this.#link[Symbol.dispose]();
    this.#server.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }
}

function isLoopback(address = ''): boolean {
  return /^(?:::ffff:)?127\.|^::1$/.test(address);
}

/** Carries a connection to its end, and ends the tool with it. @throws SandboxError, OciError */
async function carry(client: Socket, connect: () => GuestProcess): Promise<void> {
  const tool = connect();
  const streams = new Map(STREAMS.map((name) => [name, tool.stream(name)] as const));
  const late = setTimeout(() => client.resetAndDestroy(), REQUEST_TIMEOUT);
  const closed = new Promise<undefined>((resolve) => {
    client.once('close', () => {
      clearTimeout(late);
      tool.signal(SIGKILL);
      // What it says of its end is not waited for.
      tool.forget();
      for (const stream of streams.values()) void stream.then((each) => each.destroy());
      resolve(undefined);
    });
  });
  const io = new ProcessIo(
    { stdin: client, stdout: client, stderr: new Writable({ write: (_chunk, _encoding, done) => done() }) },
    { onBrokenPipe: () => {}, onWriteError: () => {} },
  );
  const output = io.connect((name) => streams.get(name) ?? tool.stream(name), { terminal: false, stdin: true });
  output.catch(() => {});
  const ends = async () => {
    await Promise.all([tool.started(), ...streams.values()]);
    clearTimeout(late);
    const { code } = await tool.exited();
    if (code === 0) await output;
    return code;
  };
  const code = await Promise.race([ends(), closed]);
  if (code === 0) client.destroySoon();
  else client.resetAndDestroy();
}
