// The spec of a run, as plain data. Names are Docker's.
import type { PullPolicy } from '../../images/index.js';
import type { SeccompProfile } from '../../seccomp/profile.js';
import type { Accelerator, DiskRates } from '../../vmm/machine.js';
import type { Rlimit, TmpfsMount } from '../agent/protocol.js';
import type { Isolation } from '../isolation.js';
import type { JailMode } from '../jail-mode.js';
import type { Device } from './devices.js';
import type { Mount } from './mounts.js';
import type { NetworkOptions } from './network.js';

export const DEFAULT_MEMORY = 512 * 2 ** 20;
/** With less, the guest's kernel, agent and page cache leave no memory for a process. */
export const MIN_MEMORY = 64 * 2 ** 20;

/** A rate limit of one of the guest's disks, or of each disk. */
export interface DeviceRate {
  /**
   * `/dev/vda` (the image), `/dev/vdb` (the writable layer, if it is a disk) or `shares` (all mounted
   * folders and volumes together). Default: each of them.
   */
  device?: string;
  of: keyof DiskRates;
  /** Bytes or operations per second, at least 1. */
  rate: number;
}

/** Variables by name. `null` removes the variable. */
export type Environment = Readonly<Record<string, string | null>>;

export interface RunSpec {
  /** A reference that `images` resolves. */
  image: string;
  /** When the image is pulled. Default `missing`. */
  pull?: PullPolicy;
  /** `OS/ARCH[/VARIANT]` of the image. Default: what this machine runs. */
  platform?: string;
  /** Replaces the image's Cmd, unless empty. */
  command: readonly string[];
  /** Replaces the image's Entrypoint and drops its Cmd. '' removes the entrypoint. */
  entrypoint?: string;
  /** Added to the image's variables. `null` removes a variable of the image. */
  env?: Environment;
  /** Working directory, an absolute path. Default: the image's. */
  cwd?: string;
  /** `user[:group]`, names or numbers. Default: the image's. */
  user?: string;
  /** Default: 12 random hexadecimal digits. */
  hostname?: string;
  /**
   * CPUs, 0.01 to 64. The machine has the number rounded up; a CPU quota limits a fraction. Default
   * 1. On several emulated CPUs, programs that change their own code may crash or err.
   */
  cpus?: number;
  /** Guest memory in bytes, at least 64 MiB. Default 512 MiB. */
  memory?: number;
  /**
   * Bytes of the disk of the writable layer, or `memory` for a tmpfs of half the guest's memory,
   * which only a container that is removed at its end can have. Default 10 GiB.
   */
  disk?: number | 'memory';
  /** If true, the root file system is read-only. */
  readOnly?: boolean;
  tmpfs?: readonly TmpfsMount[];
  mounts?: readonly Mount[];
  /** Rate limits of disks. */
  deviceRates?: readonly DeviceRate[];
  /** Devices of the guest's kernel. The host's own cannot be given. */
  devices?: readonly Device[];
  /** Default: outbound connections to the public Internet only. */
  network?: NetworkOptions;
  /** The most processes and threads. 0 and -1 mean no limit. Default: no limit. */
  pidsLimit?: number;
  /** Resource limits of each process. A limit replaces the default of the same name. */
  ulimits?: readonly Rlimit[];
  /** Bytes of /dev/shm. Default 64 MiB. */
  shmSize?: number;
  /**
   * The folder of cgroup v2 in which the machine gets a cgroup of its own. Default: what
   * `TSVM_CGROUP_PARENT` says, else the host's place for this user, if it has one.
   */
  cgroupParent?: string;
  /** How much of a jail the machine process is in. Default: what `TSVM_JAIL` says, else `auto`. */
  jail?: JailMode;
  /** Additional groups of the user, names or numbers. */
  groupAdd?: readonly string[];
  /** Capabilities added to Docker's default set, or `ALL`. */
  capAdd?: readonly string[];
  /** Capabilities removed from the default set, or `ALL`. */
  capDrop?: readonly string[];
  /**
   * Kernel parameters by name: `net.ipv4.ip_forward`. Any may be set: the kernel is the container's
   * own.
   */
  sysctls?: Readonly<Record<string, string>>;
  /** If true: all capabilities and devices, no seccomp filter, writable /proc and /sys. */
  privileged?: boolean;
  /**
   * If true, an init of ours is process 1: it forwards signals and reaps orphans. The command is
   * its child.
   */
  init?: boolean;
  /** Seccomp profile of each process. Default: all but AF_VSOCK, AF_ALG and key rings. */
  seccomp?: SeccompProfile;
  /** If true, programs gain no privileges: set-uid bits and file capabilities have no effect. */
  noNewPrivileges?: boolean;
  /** If true, the process has a terminal. */
  terminal?: boolean;
  /** If true, the process reads the caller's stdin. */
  stdin?: boolean;
  /**
   * The kernel to boot: its absolute path, or a name of those that `tsvm kernel ls` lists. Default:
   * `guest`; if that is not built, `debian`.
   */
  kernel?: string;
  /** The folder with the modules of the kernel at a path, such as /lib/modules/6.1.0-56-amd64. */
  kernelModules?: string;
  /** If true, the guest's serial console is written to stderr. */
  console?: boolean;
  /**
   * Default `auto`: KVM if it is usable, else User-Mode Linux for one CPU and no `kernel`, where its
   * kernel is there and its jail complete, else QEMU's emulator.
   */
  accel?: Accelerator | 'auto';
  /** If true, the machine boots its kernel, although there is a template that it could come from. */
  cold?: boolean;
  /** `vm` refuses the emulator and User-Mode Linux. Default: what `TSVM_ISOLATION` says, else `default`. */
  isolation?: Isolation;
  /** Milliseconds that the process may run. It gets SIGTERM then, and SIGKILL 2 seconds later. */
  timeout?: number;
}
