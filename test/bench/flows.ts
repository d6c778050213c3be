// TCP of a guest to its host, at rates that an emulated guest cannot reach: the guest is the host's
// own kernel, in a network namespace behind a tap interface. Our device with its relay stands beside
// pasta (passt for namespaces), slirp4netns (libslirp), and the loopback interface without a guest.
// They take turns.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { childrenNamed, KernelGuest } from '../fixtures/flows/kernel-guest.js';
import { GATEWAY, GUEST } from '../fixtures/frames.js';
import { Link, Namespace, type Program } from '../fixtures/linked-namespaces.js';
import { type Benchmark, type Measurement, ratio, Samples } from './measurement.js';
import { BENCH_FOLDER, CONNECTIONS_SOURCE, FLOWS_DEVICE } from './paths.js';
import { memoryUse } from './proc.js';

const PROGRAM = join(BENCH_FOLDER, 'connections');
const PORT = 9000;
const MTU = '65520';
const MIB = 2 ** 20;
const TURNS = 1000;
const SHORT = 3000;
const WIDTH = 100;
const STREAM = 256 * MIB;
const HELD = [0, 1000, 10_000];
/** Milliseconds after which a peer does not hold as many: slirp4netns then stands still. */
const HOLD_PATIENCE = 120_000;

/** A guest, the address of the host that it sees, and the processes of its network. */
interface Guest extends AsyncDisposable {
  name: string;
  namespace: Namespace;
  host: string;
  pids: readonly number[];
}

async function ours(link: Link): Promise<Guest> {
  const guest = await KernelGuest.create({ host: link.host, program: FLOWS_DEVICE });
  return {
    ...{ name: 'tsvm', namespace: guest.namespace, host: GATEWAY.ipv4 },
    pids: [guest.device.child.pid!],
    [Symbol.asyncDispose]: () => guest[Symbol.asyncDispose](),
  };
}

function end(program: Program): Promise<void> {
  program.child.kill('SIGKILL');
  return Promise.resolve();
}

/** pasta makes the namespace itself. */
async function pasta(link: Link): Promise<Guest> {
  const words = ['--runas', '0', '--config-net', '--quiet', '--ipv4-only', '--mtu', MTU];
  words.push('--address', GUEST.ipv4, '--netmask', '24', '--gateway', GATEWAY.ipv4);
  for (const ports of ['-t', '-u', '-T', '-U']) words.push(ports, 'none');
  const program = link.host.start('pasta', ...words, '--', 'sh', '-c', 'echo up; exec cat');
  await program.line();
  const namespace = Namespace.of(childrenNamed(program.child.pid!, '')[0]!);
  return {
    ...{ name: 'pasta', namespace, host: GATEWAY.ipv4, pids: [program.child.pid!] },
    [Symbol.asyncDispose]: () => end(program),
  };
}

async function slirp(link: Link): Promise<Guest> {
  const namespace = await Namespace.create();
  const program = link.host.start('slirp4netns', '--configure', `--mtu=${MTU}`, namespace.pid, 'tap0');
  while (!namespace.run('ip', '-br', 'address').includes('10.0.2.100'));
  return {
    ...{ name: 'slirp4netns', namespace, host: '10.0.2.2', pids: [program.child.pid!] },
    async [Symbol.asyncDispose]() {
      await end(program);
      await namespace[Symbol.asyncDispose]();
    },
  };
}

async function loopback(link: Link): Promise<Guest> {
  return { name: 'loopback', namespace: link.host, host: '127.0.0.1', pids: [], async [Symbol.asyncDispose]() {} };
}

const run = (guest: Guest, what: string, ...words: (string | number)[]) =>
  guest.namespace.run(PROGRAM, what, guest.host, String(PORT), ...words.map(String)).trim();

function measureOne(guest: Guest, samples: Samples): void {
  const { name } = guest;
  samples.add(`${name}: round trip of a byte`, 'us', (Number(run(guest, 'turns', TURNS)) / TURNS) * 1e6);
  const [seconds, failed] = run(guest, 'short', SHORT, WIDTH).split(' ');
  samples.add(`${name}: short connections, ${WIDTH} at once`, '1/s', SHORT / Number(seconds));
  samples.add(`${name}: short connections that failed, of ${SHORT}`, 'count', Number(failed));
  for (const way of ['down', 'up'] as const) {
    const rate = STREAM / MIB / Number(run(guest, way, STREAM));
    samples.add(`${name}: ${way === 'down' ? 'to' : 'from'} the guest`, 'MiB/s', rate);
  }
}

async function measureMemory(guest: Guest, samples: Samples): Promise<void> {
  for (const count of HELD) {
    const words = ['hold', guest.host, String(PORT), String(count)];
    const client = count === 0 ? undefined : guest.namespace.start(PROGRAM, ...words);
    if (client !== undefined) {
      const said = await Promise.race([client.line(), sleep(HOLD_PATIENCE, 'late', { ref: false })]);
      // A peer that cannot hold as many has no figure.
      if (said !== 'held') return end(client);
    }
    const total = guest.pids.reduce((sum, pid) => sum + memoryUse(pid).pss, 0);
    samples.add(`${guest.name}: memory with ${count} connections`, 'MiB', total);
    if (client !== undefined) await end(client);
  }
}

function ratios(measurements: readonly Measurement[]): Measurement[] {
  const of = (name: string) => measurements.filter((each) => each.name.startsWith(`${name}: `));
  return ['pasta', 'slirp4netns', 'loopback'].flatMap((peer) =>
    of('tsvm').flatMap((own) => {
      const what = own.name.slice('tsvm: '.length);
      const other = of(peer).find(({ name }) => name === `${peer}: ${what}`);
      return other === undefined || own.unit === 'count' ? [] : [ratio(`tsvm / ${peer}: ${what}`, own, other)];
    }),
  );
}

export const flows: Benchmark = {
  name: 'flows',
  title: "Connections of a guest that is the host's own kernel: ours beside pasta, slirp4netns and loopback",
  needsKvm: false,
  async measure({ runs }) {
    mkdirSync(BENCH_FOLDER, { recursive: true });
    execFileSync('gcc', ['-O2', '-o', PROGRAM, CONNECTIONS_SOURCE]);
    const samples = new Samples();
    for (let round = 0; round < runs; round++) {
      for (const create of [ours, pasta, slirp, loopback]) {
        await using link = await Link.create();
        await link.host.start(PROGRAM, 'serve', String(PORT)).line();
        await using guest = await create(link);
        measureOne(guest, samples);
        if (round === 0 && guest.pids.length > 0) await measureMemory(guest, samples);
      }
    }
    const measurements = samples.measurements();
    return [...measurements, ...ratios(measurements)];
  },
};
