// The network of an emulated machine: our virtio-net with its policy and its relay, compared with
// QEMU's virtio-net with `-netdev stream` and passt, to a server on the host's loopback interface.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetworkSpec } from '../../vmm/machine.js';
import { runOurs, runQemu } from './emulated-machine.js';
import { buildStreamInitramfs, compareStreams, STREAM_PROGRAM } from './emulated-stream.js';
import type { Benchmark } from './measurement.js';
import { BENCH_FOLDER } from './paths.js';

const INITRAMFS = join(BENCH_FOLDER, 'network.cpio');
const HOST = '198.19.0.1';
const GUEST = '198.19.0.2';
const NETWORK: NetworkSpec = {
  ...{ mac: '02:74:c6:13:00:02', gatewayMac: '02:74:c6:13:00:01', mtu: 65520 },
  ...{
    addresses: [GUEST],
    gateways: [HOST],
    resolvers: [],
    peerRanges: [],
    maxConnections: 100,
    optional: false,
  },
  rules: [{ allow: true, range: HOST }],
  backEnd: { kind: 'relay', ports: [], reachHost: true },
};

/** Starts the server on the host. Resolves when it listens. */
async function startServer(port: number): Promise<ChildProcess> {
  const program = join(BENCH_FOLDER, STREAM_PROGRAM);
  const server = spawn(program, ['listen-tcp', String(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(server.stdout!, 'data');
  return server;
}

async function runWithOurs(folder: string, port: number): Promise<string> {
  return runOurs(
    { initramfs: INITRAMFS, command: ['/stream', 'tcp', String(port)] },
    join(folder, 'vsock'),
    [],
    [],
    NETWORK,
  );
}

async function runWithQemu(folder: string, port: number): Promise<string> {
  const socket = join(folder, 'passt');
  // If root starts passt, it makes its socket as the user nobody.
  chmodSync(folder, 0o777);
  const args = [
    ...['--one-off', '--foreground', '--quiet', '--socket', socket, '--interface', 'lo', '--ipv4-only'],
    ...['--address', GUEST, '--netmask', '24', '--gateway', HOST, '--mac-addr', NETWORK.gatewayMac],
    ...['--mtu', String(NETWORK.mtu), '--no-dhcp', '--no-dhcpv6', '--no-ra'],
  ];
  const passt = spawn('passt', args, { stdio: 'ignore' });
  try {
    while (!existsSync(socket)) {
      if (passt.exitCode !== null) throw new Error(`passt ended with ${passt.exitCode}`);
      await sleep(10);
    }
    return await runQemu({ initramfs: INITRAMFS, command: ['/stream', 'tcp', String(port)] }, [
      ...['-netdev', `stream,id=net,server=off,addr.type=unix,addr.path=${socket}`],
      ...['-device', `virtio-net-device,netdev=net,mac=${NETWORK.mac},host_mtu=${NETWORK.mtu}`],
    ]);
  } finally {
    passt.kill();
  }
}

async function withServer(measure: (port: number) => Promise<string>): Promise<string> {
  const port = randomInt(20_000, 30_000);
  const server = await startServer(port);
  try {
    return await measure(port);
  } finally {
    server.kill();
  }
}

export const emulatedNetwork: Benchmark = {
  name: 'emulated-network',
  title: "The network of an emulated machine: our virtio-net beside QEMU's own with passt",
  needsKvm: false,
  async measure({ runs }) {
    buildStreamInitramfs(INITRAMFS);
    return compareStreams(
      runs,
      ['tsvm', (folder) => withServer((port) => runWithOurs(folder, port))],
      ['QEMU', (folder) => withServer((port) => runWithQemu(folder, port))],
    );
  },
};
