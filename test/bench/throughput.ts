// The throughput of the devices: streams over vsock, the image's disk, the scratch disk, and the
// network to the host.
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { type Benchmark, Samples } from './measurement.js';
import { CLI } from './paths.js';
import { timeSuccess } from './stopwatch.js';

const MIB = 2 ** 20;

/**
 * Shell commands that move bytes and print the number of bytes. The container runs and times them,
 * so the start of the machine is not included.
 */
const TASKS: [name: string, options: string[], command: string][] = [
  ['vsock, guest to host', [], 'head -c 67108864 /dev/zero >&2 && echo 67108864'],
  ['image disk, read', [], 'find /usr -xdev -type f -print0 | xargs -0 cat | wc -c'],
  [
    'scratch disk, write and sync',
    ['--disk', '1G'],
    'dd if=/dev/zero bs=1M count=64 conv=fsync status=none of=/file && echo 67108864',
  ],
];

const NETWORK_BYTES = 64 * MIB;
/** The gateway's address, at which the container reaches a server on the host. */
const HOST = '198.19.0.1';
/**
 * Words that run `command` in the image's bash, as only bash has /dev/tcp. Descriptor 3 is the
 * connection.
 */
export const overNetwork = (port: number, command: string) => `bash -c 'exec 3<>/dev/tcp/${HOST}/${port}; ${command}'`;
export const NETWORK_TASKS: [name: string, serve: (socket: Socket) => void, command: string][] = [
  // The host answers when it has received everything.
  ['network, guest to host', answerAfter, `head -c ${NETWORK_BYTES} /dev/zero >&3; head -c 8 <&3`],
  ['network, host to guest', (socket) => socket.end(Buffer.alloc(NETWORK_BYTES)), 'wc -c <&3'],
];

/** Sends the number of received bytes when all have arrived, and ends the connection. */
function answerAfter(socket: Socket): void {
  let received = 0;
  socket.on('data', ({ length }) => {
    received += length;
    if (received === NETWORK_BYTES) socket.end(String(received));
  });
}

export const throughput: Benchmark = {
  name: 'throughput',
  title: 'Throughput of the devices',
  needsKvm: true,
  async measure({ runs, image }) {
    const samples = new Samples();
    const measure = async (name: string, options: string[], command: string) => {
      const script = `start=$(date +%s%N); bytes=$(${command}); end=$(date +%s%N); echo "took $bytes $((end - start))"`;
      const { stdout } = await timeSuccess(CLI, ['run', '--rm', ...options, image, 'sh', '-c', script]);
      const [, bytes, nanoseconds] = /took (\d+) (\d+)/.exec(stdout) ?? [];
      if (bytes === undefined) throw new Error(`${name}: the container said ${JSON.stringify(stdout)}`);
      samples.add(name, 'MiB/s', Number(bytes) / MIB / (Number(nanoseconds) / 1e9));
    };
    for (const [name, options, command] of TASKS) {
      for (let run = 0; run < runs; run++) await measure(name, options, command);
    }
    for (const [name, serve, command] of NETWORK_TASKS) {
      const server = createServer(serve).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as { port: number };
      const options = ['--allow-net', `host-gateway:${port}`];
      for (let run = 0; run < runs; run++) await measure(name, options, overNetwork(port, command));
      server.close();
    }
    return samples.measurements();
  },
};
