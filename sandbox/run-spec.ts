// What a caller asks for: one container, in plain data. The words are Docker's.
import type { Accelerator } from '../vmm/machine.js';
import type { TmpfsMount } from './agent-protocol.js';
import { SandboxError } from './errors.js';

const MIB = 1024 * 1024;

export const DEFAULT_MEMORY = 512 * MIB;
/** Below this the guest's kernel, agent and page cache leave a process no room to start. */
export const MIN_MEMORY = 64 * MIB;
/** The guest's MP table and kernel are made for no more (vmm/machine.ts). */
export const MAX_CPUS = 64;

export interface RunSpec {
  /** A reference that `images` resolves. */
  image: string;
  /** Replaces the image's Cmd when not empty. */
  command: readonly string[];
  /** Replaces the image's Entrypoint and drops its Cmd; '' leaves no entrypoint. */
  entrypoint?: string;
  /** In order: `NAME=value` sets, `NAME` takes the variable away from what the image has. */
  env?: readonly string[];
  /** Absolute path. */
  workdir?: string;
  /** `user[:group]`, names or numbers. */
  user?: string;
  /** Default: 12 random hexadecimal digits. */
  hostname?: string;
  /** vCPUs, 1 to 64. Default 1. */
  cpus?: number;
  /** Guest memory in bytes, at least 64 MiB. Default 512 MiB. */
  memory?: number;
  /** Bytes of a scratch disk for the writable layer. Absent: a tmpfs of half the guest's memory. */
  disk?: number;
  /** The root file system cannot be written. */
  readOnly?: boolean;
  tmpfs?: readonly TmpfsMount[];
  /** The process has a terminal. */
  terminal?: boolean;
  /** The process's stdin is the caller's. */
  stdin?: boolean;
  /** Path of a kernel to boot instead of the built one. */
  kernel?: string;
  /** Show the guest's serial console. */
  console?: boolean;
  accel?: Accelerator | 'auto';
  /** Milliseconds that the process may run: SIGTERM then, SIGKILL soon after. */
  timeout?: number;
}

/**
 * Refuses what no machine could be made of, before anything is started.
 * @throws SandboxError `bad-spec`
 */
export function checkRunSpec(spec: RunSpec): void {
  const { cpus = 1, memory = DEFAULT_MEMORY, hostname, workdir } = spec;
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS) {
    throw new SandboxError(
      'bad-spec',
      `invalid number of CPUs ${cpus}: whole numbers from 1 to ${MAX_CPUS} are possible`,
    );
  }
  if (memory < MIN_MEMORY) {
    throw new SandboxError('bad-spec', `minimum memory limit allowed is ${MIN_MEMORY / MIB}MB`);
  }
  if (hostname !== undefined && !/^[A-Za-z0-9._-]{1,64}$/.test(hostname)) {
    throw new SandboxError('bad-spec', `invalid hostname '${hostname}': 1 to 64 letters, digits, dots and hyphens`);
  }
  if (workdir !== undefined && !workdir.startsWith('/')) {
    throw new SandboxError(
      'bad-spec',
      `the working directory '${workdir}' is invalid, it needs to be an absolute path`,
    );
  }
  for (const { path } of spec.tmpfs ?? []) {
    if (!path.startsWith('/') || /^\/+$/.test(path)) {
      throw new SandboxError('bad-spec', `invalid tmpfs mount '${path}': an absolute path other than '/' is needed`);
    }
  }
}
