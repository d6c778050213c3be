// What code inside of a level sees of the host, and which doors are open to it. The gauge looks, and
// what it found is compared with the host's own.
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { cpus, hostname, networkInterfaces, release, totalmem } from 'node:os';
import { PROBES } from './probe-list.js';
import type { ProbeReport } from './report.js';

/** What the gauge needs to know of the host. Disposal ends the servers. */
export interface ProbedHost extends AsyncDisposable {
  /** Arguments of the gauge. */
  words: readonly [pid: string, port: string, address: string, name: string];
}

/**
 * Listens on the loopback interface, on one more address of the host if it has one, and on an abstract
 * socket. There the gauge tries to connect.
 * @param name of the abstract socket; also a part of the paths of the host that a level may show
 */
export async function openProbedHost(name: string): Promise<ProbedHost> {
  const server = await listen({ host: '127.0.0.1', port: 0 });
  const port = portOf(server);
  const servers = [server, await listen({ path: `\0${name}` })];
  const address = Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .find(({ internal, family }) => !internal && family === 'IPv4')?.address;
  if (address !== undefined) servers.push(await listen({ host: address, port }));
  return {
    words: [String(process.pid), String(port), address ?? '-', name],
    async [Symbol.asyncDispose]() {
      await Promise.all(servers.map((each) => new Promise((resolve) => each.close(resolve))));
    },
  };
}

async function listen(where: { host: string; port: number } | { path: string }): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, resolve);
  });
  return server;
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function firstLine(path: string): string {
  try {
    return readFileSync(path, 'latin1').split('\n')[0] ?? '';
  } catch {
    // Not every host has a firmware, or an ID.
    return '';
  }
}

/** The host's own values, by probe. */
function ownValues(): Record<string, string> {
  return {
    boot: firstLine('/proc/sys/kernel/random/boot_id'),
    release: release(),
    hostname: hostname(),
    memory: String(totalmem()),
    process: firstLine(`/proc/${process.pid}/comm`),
    'cpu-model': cpus()[0]?.model ?? '',
    cpus: firstLine('/sys/devices/system/cpu/present'),
    'boot-time': /^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1] ?? '',
    'command-line': firstLine('/proc/cmdline'),
    product: firstLine('/sys/class/dmi/id/product_name'),
    'machine-id': firstLine('/etc/machine-id'),
  };
}

/** Seconds by which the time of one boot differs between two looks, because the clock is adjusted. */
const ADJUSTED = 2;

function isSameTime(one: string | undefined, other: string | undefined): boolean {
  return Math.abs(Number(one || Number.NaN) - Number(other || Number.NaN)) <= ADJUSTED;
}

/**
 * systemd-nspawn and LXC show a boot_id that they have made up, and gVisor has none. But a kernel of
 * the same release that was started at the same time is the same one.
 */
function isSameKernel(values: ReadonlyMap<string, string>, host: Record<string, string>): boolean {
  if (values.get('boot') === host.boot) return true;
  if (values.get('release') !== host.release) return false;
  return !values.get('boot') || isSameTime(values.get('boot-time'), host['boot-time']);
}

/** The gauge reads so many bytes of a line. */
const LINE = 255;
const FOUND = 200;

/**
 * Reads what the gauge said. Lines that it lacks give no entry: what was not found out is not guessed.
 * @param host for tests; default: this host's values
 */
export function readProbes(text: string, host: Record<string, string> = ownValues()): ProbeReport[] {
  const values = new Map([...text.matchAll(/^([\w-]+) = (.*)$/gm)].map(([, name = '', value = '']) => [name, value]));
  const doors = new Map(
    [...text.matchAll(/^([\w-]+) (open|closed) ?(.*)$/gm)].map(([, name = '', state = '', why = '']) => [
      name,
      { state, why },
    ]),
  );
  const sharesKernel = isSameKernel(values, host);
  return PROBES.flatMap(({ name, title, kind }): ProbeReport[] => {
    if (kind === 'value') {
      const value = values.get(name);
      if (value === undefined) return [];
      if (value === '') return [{ name, title, verdict: 'closed', found: '' }];
      const isHost = name === 'boot-time' ? isSameTime(value, host[name]) : value === host[name]?.slice(0, LINE);
      return [{ name, title, verdict: isHost ? 'host' : 'own', found: value.slice(0, FOUND) }];
    }
    const door = doors.get(name);
    if (door === undefined) return [];
    if (door.state === 'closed') return [{ name, title, verdict: 'closed', found: door.why.slice(0, FOUND) }];
    return [{ name, title, verdict: kind === 'host' || sharesKernel ? 'host' : 'own', found: 'open' }];
  });
}
