// What a container uses: the guest's own account (cgroup v2, /proc), and the host's of its machine process.
import { readdirSync, readFileSync } from 'node:fs';
import { bytesOnDisk } from '../../images/index.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import type { ContainerConfig } from '../home/container-record.js';
import { DEFAULT_MEMORY } from '../spec/run-spec.js';
import { openRequest } from '../supervision/control-client.js';
import { askTool, splitAnswer } from './tools.js';

/** Milliseconds of a clock tick in what /proc says (proc(5), USER_HZ). */
const TICK = 10;

/** One process in an answer of the agent: uid, pid, parent, start and CPU time in ticks, terminal, and the command. */
const PROCESS = /^(\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (.*)$/s;

export interface ProcessInfo {
  uid: number;
  /** In the guest's outermost pid namespace. */
  pid: number;
  parent: number;
  /** Milliseconds after the guest's start. */
  start: number;
  /** Milliseconds of CPU time. */
  cpu: number;
  /** Device number; 0 for no terminal. */
  terminal: number;
  command: string;
}

/** Totals since the container's start, and what it has now. */
export interface Usage {
  /** Milliseconds since the epoch. */
  time: number;
  /** Milliseconds of CPU time of the container's processes. */
  cpu: number;
  /** Bytes of its memory, without the page cache that can be dropped at once, as Docker counts. */
  memory: number;
  /** Bytes that it can have at most. */
  memoryLimit: number;
  pids: number;
  /** Bytes. */
  blockRead: number;
  blockWritten: number;
  networkReceived: number;
  networkSent: number;
  /** Bytes of the writable layer, and of all that it could have. */
  layer: number;
  layerLimit: number;
  /** Of the machine's processes on the host. */
  machine: {
    /** Milliseconds of CPU time. */
    cpu: number;
    /** Bytes of the host's memory, the guest's included. */
    memory: number;
    /** Of these, what the guest's memory takes: what it has used, and not freed since. */
    guestMemory: number;
  };
}

export async function readProcesses(folder: ContainerFolder): Promise<ProcessInfo[]> {
  return splitAnswer(await askTool(folder, 'processes')).map((text) => {
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

export async function readUsage(folder: ContainerFolder, { spec }: ContainerConfig): Promise<Usage> {
  const [answer, guestMemory] = await Promise.all([
    askTool(folder, 'statistics').then(splitAnswer),
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
    machine: machineUsage(folder.state().machinePid, guestMemory),
  };
}

/** `key value` or `key: value kB`. */
function field(text: string, key: string): number {
  return Number(new RegExp(`^${key}:?\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
}

/** All interfaces but the loopback. */
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

/** The machine process and those it has started (an emulator): they are one process group, and all map the guest's memory. */
function machineUsage(pid: number | undefined, guestMemory: number): Usage['machine'] {
  const sums = { cpu: 0, memory: guestMemory, guestMemory };
  if (pid === undefined) return sums;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // The group is the fifth field, behind a name that may have anything in it.
      const fields = readFileSync(`/proc/${name}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ');
      if (Number(fields[2]) !== pid) continue;
      sums.cpu += (Number(fields[11]) + Number(fields[12])) * TICK;
      sums.memory += ownMemory(name);
    } catch {
      // It has just ended.
    }
  }
  return sums;
}

/** Bytes of a process's memory, but for what is shared memory, as the guest's is (proc(5), /proc/pid/status). */
function ownMemory(pid: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return (field(status, 'RssAnon') + field(status, 'RssFile')) * 1024;
}

/** Bytes that a container takes of the host's disk: its layer and its logs. */
export function diskUsage(folder: ContainerFolder): number {
  return bytesOnDisk(folder.path);
}
