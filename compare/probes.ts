// What code inside of a level sees of the host, and which doors are open to it. The gauge looks, and
// what it found is compared with the host's own.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { release, totalmem } from 'node:os';
import type { ProbeReport } from './report.js';

interface Probe {
  /** The gauge's name of it. */
  name: string;
  title: string;
  /**
   * - `value`: the gauge prints what it sees.
   * - `kernel`: a door of the kernel. It is the host's if the kernel is.
   * - `host`: it is the host's if it is open.
   */
  kind: 'value' | 'kernel' | 'host';
}

const probe = (name: string, title: string, kind: Probe['kind']): Probe => ({ name, title, kind });

export const PROBES: readonly Probe[] = [
  probe('boot', "the kernel is the host's (boot_id)", 'value'),
  probe('release', "the kernel's release", 'value'),
  probe('memory', 'size of memory', 'value'),
  probe('process', 'a process of the host', 'value'),
  probe('log', "the kernel's log", 'kernel'),
  probe('disk', 'a raw disk', 'kernel'),
  probe('kvm', '/dev/kvm', 'kernel'),
  probe('sysctl', 'writing core_pattern', 'kernel'),
  probe('modules', 'loading kernel modules', 'kernel'),
  probe('clock', 'setting the clock', 'kernel'),
  probe('bpf', 'bpf', 'kernel'),
  probe('io_uring', 'io_uring', 'kernel'),
  probe('userfaultfd', 'userfaultfd', 'kernel'),
  probe('perf', 'perf events of the kernel', 'kernel'),
  probe('keyring', 'key rings', 'kernel'),
  probe('ptrace', 'ptrace', 'kernel'),
  probe('user-namespace', 'making user namespaces', 'kernel'),
  probe('loopback', "a server on the host's loopback", 'host'),
  probe('metadata', 'the metadata address', 'host'),
];

/** What the gauge needs to know of the host. Disposal ends the server. */
export interface ProbedHost extends AsyncDisposable {
  /** Arguments of the gauge. */
  words: readonly [pid: string, port: string];
}

/** Listens on the loopback interface, where the gauge tries to connect. */
export async function openProbedHost(): Promise<ProbedHost> {
  const server = createServer((socket) => socket.destroy());
  const port = await new Promise<number>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  return {
    words: [String(process.pid), String(port)],
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The host's own values, by probe. */
function ownValues(): Record<string, string> {
  const read = (path: string) => readFileSync(path, 'latin1').split('\n')[0] ?? '';
  return {
    boot: read('/proc/sys/kernel/random/boot_id'),
    release: release(),
    memory: String(totalmem()),
    process: read(`/proc/${process.pid}/comm`),
  };
}

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
  const boot = values.get('boot') || undefined;
  // A kernel without boot_id is told by its release.
  const sharesKernel = boot === undefined ? values.get('release') === host.release : boot === host.boot;
  return PROBES.flatMap(({ name, title, kind }): ProbeReport[] => {
    if (kind === 'value') {
      const value = values.get(name);
      if (value === undefined) return [];
      if (value === '') return [{ name, title, verdict: 'closed', found: '' }];
      return [{ name, title, verdict: value === host[name] ? 'host' : 'own', found: value.slice(0, 200) }];
    }
    const door = doors.get(name);
    if (door === undefined) return [];
    if (door.state === 'closed') return [{ name, title, verdict: 'closed', found: door.why.slice(0, 200) }];
    return [{ name, title, verdict: kind === 'host' || sharesKernel ? 'host' : 'own', found: 'open' }];
  });
}
