// What a caller asks for: one container, in plain data. The words are Docker's.
import type { PullPolicy } from '../../images/index.js';
import type { Accelerator, DiskRates } from '../../vmm/machine.js';
import type { Rlimit, TmpfsMount } from '../agent/protocol.js';
import type { Mount } from './mounts.js';
import type { NetworkOptions } from './network.js';
import type { SeccompProfile } from './seccomp/profile.js';

export const DEFAULT_MEMORY = 512 * 2 ** 20;
/** Below this the guest's kernel, agent and page cache leave a process no room to start. */
export const MIN_MEMORY = 64 * 2 ** 20;

/** A rate of one of the guest's disks, or of each. */
export interface DeviceRate {
  /** `/dev/vda` is the image, `/dev/vdb` the writable layer where that is a disk. Absent: each of them. */
  device?: string;
  of: keyof DiskRates;
  /** In a second, at least 1. */
  rate: number;
}

/** Variables by name. null removes the variable. */
export type Environment = Readonly<Record<string, string | null>>;

export interface RunSpec {
  /** A reference that `images` resolves. */
  image: string;
  /** When a registry is asked for it. Default `missing`. */
  pull?: PullPolicy;
  /** `OS/ARCH[/VARIANT]` of the image. Default: what this machine runs. */
  platform?: string;
  /** Replaces the image's Cmd when not empty. */
  command: readonly string[];
  /** Replaces the image's Entrypoint and drops its Cmd; '' leaves no entrypoint. */
  entrypoint?: string;
  /** Set over the image's variables. null removes a variable that the image has. */
  env?: Environment;
  /** Absolute path. */
  cwd?: string;
  /** `user[:group]`, names or numbers. */
  user?: string;
  /** Default: 12 random hexadecimal digits. */
  hostname?: string;
  /** CPUs, 0.01 to 64: as many vCPUs as hold it, and a quota of their time where it is a fraction. Default 1. */
  cpus?: number;
  /** Guest memory in bytes, at least 64 MiB. Default 512 MiB. */
  memory?: number;
  /** Bytes of a scratch disk for the writable layer. Absent: a tmpfs of half the guest's memory. */
  disk?: number;
  /** The root file system cannot be written. */
  readOnly?: boolean;
  tmpfs?: readonly TmpfsMount[];
  mounts?: readonly Mount[];
  /** What disks may do in a second. */
  deviceRates?: readonly DeviceRate[];
  /** Default: outbound connections, to addresses of the public Internet alone. */
  network?: NetworkOptions;
  /** The most processes and threads. 0, -1 or absent: no limit. */
  pidsLimit?: number;
  /** Of each process; one of a name that is given takes the place of the default. */
  ulimits?: readonly Rlimit[];
  /** Bytes of /dev/shm. Default 64 MiB. */
  shmSize?: number;
  /** Further groups of the user, names or numbers. */
  groupAdd?: readonly string[];
  /** Capabilities beside Docker's default ones, or `ALL`. */
  capAdd?: readonly string[];
  /** Of the default ones those to leave out, or `ALL`. */
  capDrop?: readonly string[];
  /** Kernel parameters by name: `net.ipv4.ip_forward`. All of them: the kernel is the container's own. */
  sysctls?: Readonly<Record<string, string>>;
  /** All capabilities and devices, no seccomp filter, and a kernel that may be changed through /proc and /sys. */
  privileged?: boolean;
  /** A process 1 of our own, which hands signals on and reaps; the command is its child. */
  init?: boolean;
  /** What becomes of each system call. Absent: nothing is filtered. */
  seccomp?: SeccompProfile;
  /** No program makes its process more privileged: set-uid bits and file capabilities have no effect. */
  noNewPrivileges?: boolean;
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
