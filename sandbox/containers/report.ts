// The resources that a container uses: in the guest (cgroup v2, /proc), and on the host by its
// machine process.
import { readdirSync, readFileSync } from 'node:fs';
import { bytesOnDisk } from '../../images/index.js';
import { cgroupUsage } from '../cgroup/usage.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import type { ContainerConfig, ContainerState } from '../home/container-record.js';
import { DEFAULT_MEMORY } from '../spec/run-spec.js';
import { openRequest } from '../supervision/control-client.js';
import { askTool, splitAnswer } from './tools.js';

/** Milliseconds of a clock tick in /proc (proc(5), `USER_HZ`). */
const TICK = 10;

/**
 * A process in an answer of the agent: uid, pid, parent, start and CPU time in ticks, terminal,
 * command.
 */
const PROCESS = /^(\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (.*)$/s;

export interface ProcessInfo {
  uid: number;
  /** In the guest's outermost pid namespace. */
  pid: number;
  parent: number;
  /** Milliseconds from the boot of the guest to the start of the process. */
  start: number;
  /** Milliseconds of CPU time. */
  cpu: number;
  /** Device number; 0 for no terminal. */
  terminal: number;
  command: string;
}

/** Totals since the start of the container, and current values. */
export interface Usage {
  /** Milliseconds since the epoch. */
  time: number;
  /** Milliseconds of CPU time of the container's processes. */
  cpu: number;
  /** Bytes of memory, without the page cache that can be dropped at once, like Docker. */
  memory: number;
  /** The limit, in bytes. */
  memoryLimit: number;
  pids: number;
  /** Bytes. */
  blockRead: number;
  blockWritten: number;
  networkReceived: number;
  networkSent: number;
  /** Bytes used of the writable layer, and its limit. */
  layer: number;
  layerLimit: number;
  /** Use of the host by the processes of the machine. */
  machine: {
    /** Milliseconds of CPU time. */
    cpu: number;
    /** Bytes of memory of the host, including the memory of the guest. */
    memory: number;
    /** The part of it that is memory of the guest: touched, and not freed since. */
    guestMemory: number;
    /** Processes and threads. */
    pids: number;
    /** Bytes from and to disks of the host. Absent where the machine has no cgroup that counts them. */
    disk?: { read: number; written: number };
  };
}

export async function readProcesses(folder: ContainerFolder, signal?: AbortSignal): Promise<ProcessInfo[]> {
  return splitAnswer(await askTool({ folder, signal }, 'processes')).map((text) => {
    const match = PROCESS.exec(text);
    if (match === null) throw new SandboxError('agent', "the guest's answer about processes cannot be read");
    const [, uid, pid, parent, start, cpu, terminal, command = ''] = match;
    return {
      uid: Number(uid),
      pid: Number(pid),
      parent: Number(parent),
      start: Number(start) * TICK,
      cpu: Number(cpu) * TICK,
      terminal: Number(terminal),
      command,
    };
  });
}

export async function readUsage(
  folder: ContainerFolder,
  { spec }: ContainerConfig,
  signal?: AbortSignal,
): Promise<Usage> {
  const [answer, guestMemory] = await Promise.all([
    askTool({ folder, signal }, 'statistics').then(splitAnswer),
    readGuestMemory(folder),
  ]);
  const files = new Map<string, string>();
  const fields = answer.values();
  for (const name of fields) files.set(name, fields.next().value ?? '');
  const of = (name: string, key: string) => field(files.get(name) ?? '', key);
  const [layer = 0, layerLimit = 0] = (files.get('layer') ?? '').split(' ').map(Number);
  const io = [...(files.get('io.stat') ?? '').matchAll(/([rw])bytes=(\d+)/g)];
  const sum = (direction: string) =>
    io.reduce((total, match) => total + (match[1] === direction ? Number(match[2]) : 0), 0);
  const total = of('meminfo', 'MemTotal') * 1024 || (spec.memory ?? DEFAULT_MEMORY);
  const limit = Number.parseInt(files.get('memory.max') ?? '', 10) || total;
  const network = interfaces(files.get('net/dev') ?? '');
  return {
    time: Date.now(),
    cpu: of('cpu.stat', 'usage_usec') / 1000,
    memory: Math.max(0, Number(files.get('memory.current') ?? 0) - of('memory.stat', 'inactive_file')),
    memoryLimit: Math.min(limit, total),
    pids: Number(files.get('pids.current') ?? 0),
    blockRead: sum('r'),
    blockWritten: sum('w'),
    ...network,
    layer,
    layerLimit,
    machine: machineUsage(folder.state(), guestMemory),
  };
}

/** `key value` or `key: value kB`. */
function field(text: string, key: string): number {
  return Number(new RegExp(`^${key}:?\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
}

/** Sums over all interfaces but the loopback. */
function interfaces(text: string): { networkReceived: number; networkSent: number } {
  const sums = { networkReceived: 0, networkSent: 0 };
  for (const [, name, numbers = ''] of text.matchAll(/^ *(\w+): *([\d ]+)$/gm)) {
    if (name === 'lo') continue;
    const columns = numbers.trim().split(/ +/).map(Number);
    sums.networkReceived += columns[0] ?? 0;
    sums.networkSent += columns[8] ?? 0;
  }
  return sums;
}

async function readGuestMemory(folder: ContainerFolder): Promise<number> {
  using client = await openRequest(folder, { type: 'statistics' });
  const reply = await client.next();
  return reply?.type === 'statistics' ? (reply.statistics.memory?.resident ?? 0) : 0;
}

/** As the cgroup of the machine counts it, which has all that belongs to it. */
function machineUsage(state: ContainerState, guestMemory: number): Usage['machine'] {
  const counted = state.cgroup === undefined ? undefined : cgroupUsage(state.cgroup);
  if (counted === undefined) return processUsage(state, guestMemory);
  const { disk, ...others } = counted;
  return { ...others, guestMemory, ...(disk && { disk }) };
}

/**
 * Use of the machine process and of its companion (an emulator). Each leads a process group. They map
 * the memory of the guest.
 */
function processUsage({ machinePid, companionPid }: ContainerState, guestMemory: number): Usage['machine'] {
  const sums = { cpu: 0, memory: guestMemory, guestMemory, pids: 0 };
  if (machinePid === undefined) return sums;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // The group is the fifth field. The second, a name, may contain anything.
      const fields = readFileSync(`/proc/${name}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      if (![machinePid, companionPid].includes(Number(fields[2]))) continue;
      sums.cpu += (Number(fields[11]) + Number(fields[12])) * TICK;
      sums.memory += ownMemory(name);
      // The number of threads.
      sums.pids += Number(fields[17]);
    } catch {
      // The process has just ended.
    }
  }
  return sums;
}

/**
 * Bytes of memory of a process, without shared memory such as that of the guest (proc(5),
 * /proc/pid/status).
 */
function ownMemory(pid: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return (field(status, 'RssAnon') + field(status, 'RssFile')) * 1024;
}

/** Bytes on disk of a container: its writable layer and its log. */
export function diskUsage(folder: ContainerFolder): number {
  return bytesOnDisk(folder.path);
}
