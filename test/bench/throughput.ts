// Bytes through the devices: streams over vsock, the image's disk, the scratch disk, the network to this machine.
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { type Benchmark, Samples } from './measurement.js';
import { CLI } from './paths.js';
import { timeSuccess } from './stopwatch.js';

const MIB = 2 ** 20;

/**
 * Shell commands that move bytes and tell how many. They run in the container, which times them itself: the machine's
 * start is no part of them.
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
/** The gateway, where a server of the host's is. */
const HOST = '198.19.0.1';
/** Words of the shell that the image has by the name of bash, which alone has /dev/tcp. */
const overNetwork = (port: number, command: string) => `bash -c 'exec 3<>/dev/tcp/${HOST}/${port}; ${command}'`;
const NETWORK_TASKS: [name: string, serve: (socket: Socket) => void, command: string][] = [
  // The host's answer says that it has got all.
  ['network by passt, guest to host', answerAfter, `head -c ${NETWORK_BYTES} /dev/zero >&3; head -c 8 <&3`],
  ['network by passt, host to guest', (socket) => socket.end(Buffer.alloc(NETWORK_BYTES)), 'wc -c <&3'],
];

/** Says how much was received when that is all. */
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
