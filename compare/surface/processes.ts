// The processes of a level as the host sees them: what they hold of the host, and what holds them.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { hasCode } from '../../errors/index.js';

export interface HostProcess {
  pid: number;
  /** The name of its program (proc(5), /proc/PID/comm). */
  name: string;
  /** Its command line, with spaces between the words. */
  words: string;
  /** Another process traces it, and makes its system calls for it. */
  traced: boolean;
  /** Its effective user. */
  uid: number;
  /** Number of its effective capabilities. */
  capabilities: number;
  /** `host` if they are those of the host's user namespace. */
  capabilitiesIn: 'host' | 'own';
  /** Types of namespaces that it does not share with this program. */
  namespaces: string[];
  /** Files, devices and folders of the host that it has open. */
  files: string[];
}

const read = (pid: number, file: string): string => readFileSync(`/proc/${pid}/${file}`, 'latin1');

const links = (folder: string): Map<string, string> =>
  new Map(
    readdirSync(folder).flatMap((name) => {
      try {
        return [[name, readlinkSync(`${folder}/${name}`)] as const];
      } catch {
        // It was closed after it was listed.
        return [];
      }
    }),
  );

const field = (status: string, name: string) => new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(status)?.[1] ?? '';

/** Its parent has not asked how it ended. */
const isEnded = (status: string): boolean => field(status, 'State').startsWith('Z');

const isTraced = (status: string): boolean => field(status, 'TracerPid') !== '0';

/** Namespaces of types that a process makes for its children are not its own. */
const isOwnType = (type: string): boolean => !type.endsWith('_for_children');

/** Returns what `look` does, or undefined if the process that it looks at has ended. @throws what it throws */
function unlessEnded<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    // The kernel says ESRCH for a process that ends as its file is read.
    if (hasCode(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}

/** Returns undefined if the process has ended. @throws Error if it is another user's */
export function describeProcess(pid: number): HostProcess | undefined {
  return unlessEnded(() => describe(pid));
}

function describe(pid: number): HostProcess | undefined {
  const status = read(pid, 'status');
  if (isEnded(status)) return undefined;
  const own = links('/proc/self/ns');
  const other = [...links(`/proc/${pid}/ns`)].filter(([type, link]) => isOwnType(type) && own.get(type) !== link);
  const namespaces = other.map(([type]) => type);
  const files = [...links(`/proc/${pid}/fd`).values()].filter((link) => link.startsWith('/'));
  return {
    pid,
    name: field(status, 'Name'),
    words: read(pid, 'cmdline').replaceAll('\0', ' ').trim(),
    traced: isTraced(status),
    uid: Number(field(status, 'Uid').split(/\s+/)[1]),
    capabilities: [...BigInt(`0x${field(status, 'CapEff') || '0'}`).toString(2)].filter((bit) => bit === '1').length,
    capabilitiesIn: namespaces.includes('user') ? 'own' : 'host',
    namespaces,
    files: [...new Set(files)].sort(),
  };
}

/** True if a process or thread has ended, or another process traces it. */
export function isEndedOrTraced(id: number): boolean {
  const look = () => {
    const status = read(id, 'status');
    return isEnded(status) || isTraced(status);
  };
  return unlessEnded(look) ?? true;
}

/** Ids of the threads of a process. One that has ended has none. */
export function threadsOf(pid: number): number[] {
  return unlessEnded(() => readdirSync(`/proc/${pid}/task`).map(Number)) ?? [];
}
