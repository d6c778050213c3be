// What the jail costs the devices: disks, a volume and the network to the host. Two containers, with a
// jail and without, do the same in turn, so each ratio compares two measurements close in time. The
// container times each task.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Container } from '../../sandbox/containers/container.js';
import { buildPrograms } from '../fixtures/tenants/programs.js';
import { startServer } from '../fixtures/tenants/server.js';
import { HOST } from '../fixtures/tenants/storms.js';
import { execIn, Tenant } from '../fixtures/tenants/tenant.js';
import { type Benchmark, type Measurement, Samples } from './measurement.js';
import { TENANT_SOURCES } from './paths.js';
import { NETWORK_TASKS, overNetwork } from './throughput.js';

/** Three percent less throughput. */
const GOAL = 1 / 0.97;

const MIB = 64;
const write = (file: string) => `dd if=/dev/zero of=${file} bs=1M count=${MIB} oflag=direct conv=fsync status=none`;
const read = (file: string) => `dd if=${file} of=/dev/null bs=1M iflag=direct status=none`;
const times = (what: string, count: number) => `/probe ${what} ${count} > /dev/null`;

interface Task {
  name: string;
  /** A shell command. */
  command: string;
}

/** In this order: a task may read what the one before it wrote. */
const TASKS: readonly Task[] = [
  { name: `disk, write ${MIB} MiB`, command: write('/stream') },
  { name: `disk, read ${MIB} MiB`, command: read('/stream') },
  { name: 'disk, 1000 random reads of 4 KiB', command: times('read /file', 1000) },
  { name: 'disk, 1000 random writes of 4 KiB', command: times('write /file', 1000) },
  { name: `volume, write ${MIB} MiB`, command: write('/data/stream') },
  { name: `volume, read ${MIB} MiB`, command: read('/data/stream') },
  { name: 'volume, 200 files made and removed', command: times('names /data', 200) },
];

async function listen(serve: (typeof NETWORK_TASKS)[number][1]): Promise<Server & { port: number }> {
  const server = createServer(serve).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return Object.assign(server, server.address() as { port: number });
}

/** Resolves to the milliseconds of a command in a container. */
async function timeIn(container: Container, command: string): Promise<number> {
  const said = await execIn(
    container,
    'sh',
    '-c',
    `start=$(date +%s%N); ${command} && echo took $(($(date +%s%N) - start))`,
  );
  const nanoseconds = /took (\d+)/.exec(said)?.[1];
  if (nanoseconds === undefined) throw new Error(`${command}: ${said}`);
  return Number(nanoseconds) / 1e6;
}

async function compare(
  { name, command }: Task,
  { free, jailed, pairs }: { free: Container; jailed: Container; pairs: number },
): Promise<Measurement[]> {
  const samples = new Samples();
  // The first of each is slower.
  for (const container of [free, jailed]) await timeIn(container, command);
  for (let pair = 0; pair < pairs; pair++) {
    // Each is the first one in turn.
    const order = pair % 2 === 0 ? [free, jailed] : [jailed, free];
    const took = new Map<Container, number>();
    for (const container of order) took.set(container, await timeIn(container, command));
    const [alone, inJail] = [took.get(free) ?? 0, took.get(jailed) ?? 0];
    samples.add(name, 'ms', alone);
    samples.add(`${name}, in a jail`, 'ms', inJail);
    samples.add(`${name}, in a jail: times as long`, 'ratio', inJail / alone);
  }
  return samples.measurements().map((each) => (each.unit === 'ratio' ? { ...each, goal: GOAL } : each));
}

export const jailThroughput: Benchmark = {
  name: 'jail-throughput',
  title: 'What the jail costs disks, volumes and the network',
  needsKvm: false,
  async measure({ runs, image }) {
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
    const servers: Server[] = [];
    try {
      const programs = buildPrograms(TENANT_SOURCES, folder);
      using echo = await startServer();
      using tenant = new Tenant();
      const tasks = [...TASKS];
      const ports = [echo.port];
      for (const [name, serve, command] of NETWORK_TASKS) {
        const server = await listen(serve);
        servers.push(server);
        ports.push(server.port);
        tasks.push({ name, command: overNetwork(server.port, command) });
      }
      tasks.push({ name: 'network, 100 connections', command: times(`connect ${HOST} ${echo.port}`, 100) });
      const allowed = ports.flatMap((port) => ['--allow-net', `host-gateway:${port}`]);
      const start = (jail: string) => {
        const options = ['--jail', jail, '--disk', '1G', '-v', `${jail}:/data`, ...allowed, ...programs];
        return tenant.container(tenant.tsvm('run', '-d', ...options, image, 'sleep', '100000'));
      };
      const containers = { free: start('off'), jailed: start('auto'), pairs: runs };
      const found: Measurement[] = [];
      for (const task of tasks) found.push(...(await compare(task, containers)));
      return found;
    } finally {
      for (const server of servers) server.close();
      rmSync(folder, { recursive: true });
    }
  },
};
