// What a configuration means for the machine: its shares, and the requests to the guest's agent. What
// cannot be had in a machine is refused, unless leaving it out changes nothing that a container sees.
import { isAbsolute, join, normalize } from 'node:path';
import {
  CAPABILITIES,
  type Capability,
  type ContainerSetup,
  type MachineNamespace,
  type ProcessSpec,
  RLIMITS,
  type Rlimit,
  type ShareMount,
  type TmpfsMount,
} from '../../sandbox/agent/protocol.js';
import { resolveSysctls } from '../../sandbox/spec/limits.js';
import { checkSeccompProfile } from '../../sandbox/spec/seccomp/profile.js';
import type { SeccompProfile } from '../../seccomp/profile.js';
import { readBytes } from './bytes.js';
import type { OciConfig, OciMount, OciProcess } from './config.js';
import { mountWord } from './mount-options.js';
import { NO_HOST_NETWORK, OciError } from './oci-error.js';
import { refuse } from './refused.js';

/** A folder or file of the host that the container sees. */
export interface SharedPath {
  /** Path on the host. */
  path: string;
  readOnly: boolean;
}

export interface Translation {
  /** The root first. The container names them by their index. */
  shares: SharedPath[];
  container: Omit<ContainerSetup, 'id'>;
  /**
   * What the configuration has at /dev/shm: a tmpfs, or a folder of the host, that of its ipc
   * namespace.
   */
  shm?: TmpfsMount | string;
  process: Omit<ProcessSpec, 'id'>;
  /** Of each process of the container; undefined: tsvm's own. */
  seccomp: SeccompProfile | undefined;
  /** Path of the network namespace; undefined: a new one. */
  network: string | undefined;
  /** Paths of other namespaces that are not new. */
  joined: Partial<Record<MachineNamespace, string>>;
  /** Path of the pid namespace; undefined: a new one. */
  processesOf: string | undefined;
}

/** Mounts that the agent makes in each container, by their path. */
const BUILT_IN = new Map([
  ['/proc', 'proc'],
  ['/dev', 'tmpfs'],
  ['/dev/pts', 'devpts'],
  ['/dev/mqueue', 'mqueue'],
  ['/sys', 'sysfs'],
  ['/sys/fs/cgroup', 'cgroup'],
]);

const SHM = '/dev/shm';

/** Stands for the process of a configuration that has none. */
export const NO_PROCESS: OciProcess = { args: [], cwd: '/', user: { uid: 0, gid: 0 } };

/** 2^53 and more cannot be told from RLIM_INFINITY in JSON. */
const LARGEST = 2 ** 53;

/**
 * @param bundle absolute path of the bundle
 * @throws OciError
 */
export function translate(config: OciConfig, bundle: string): Translation {
  const { root, hostname = 'tsvm', linux } = config;
  // Before all else: a pod in its node's network is in its uts namespace too.
  const network = linux.namespaces?.find(({ type }) => type === 'network');
  if (network === undefined) throw new OciError(NO_HOST_NETWORK);
  refuse(config);
  const [ipc, uts, pid] = ['ipc', 'uts', 'pid'].map(
    (type) => linux.namespaces?.find((each) => each.type === type)?.path,
  );
  const path = isAbsolute(root.path) ? root.path : join(bundle, root.path);
  const shares: SharedPath[] = [{ path, readOnly: false }];
  let shm: Translation['shm'];
  const container: Translation['container'] & { shares: object[]; tmpfs: TmpfsMount[] } = {
    hostname,
    root: { share: 0, ...(root.readonly && { readonly: true }) },
    shares: [],
    tmpfs: [],
    limits: limits(linux.resources ?? {}),
    sysctls: resolveSysctls(linux.sysctl ?? {}),
  };
  for (const mount of config.mounts ?? []) {
    const target = normalize(join('/', mount.destination)).replace(/(?<=.)\/$/, '');
    if (target === SHM) {
      if (mount.type === 'tmpfs') shm = tmpfs(target, mount);
      else if (isBind(mount)) shm = sourceOf(mount, bundle);
    } else if (isBind(mount)) {
      const share = bind(shares.length, target, mount);
      container.shares.push(share);
      shares.push({ path: sourceOf(mount, bundle), readOnly: share.readonly === true });
    } else if (BUILT_IN.get(target) !== mount.type) {
      if (mount.type !== 'tmpfs') throw new OciError(`mount ${target}: type ${mount.type} is not supported`);
      container.tmpfs.push(tmpfs(target, mount));
    }
  }
  return {
    shares,
    container,
    ...(shm && { shm }),
    process: translateProcess(config.process ?? NO_PROCESS),
    seccomp: linux.seccomp ? seccompProfile(linux.seccomp) : undefined,
    network: network.path || undefined,
    joined: { ...(ipc && { ipc }), ...(uts && { uts }) },
    processesOf: pid || undefined,
  };
}

/** @throws OciError, SandboxError */
function seccompProfile(given: Record<string, unknown>): SeccompProfile {
  if (given.listenerPath) throw new OciError('seccomp: a listener is not supported');
  return checkSeccompProfile(given);
}

function sourceOf({ source = '' }: OciMount, bundle: string): string {
  return isAbsolute(source) ? source : join(bundle, source);
}

function isBind({ type, options = [] }: OciMount): boolean {
  return type === 'bind' || options.includes('bind') || options.includes('rbind');
}

const BIND_FLAGS = new Map<string, Partial<ShareMount>>([
  ['ro', { readonly: true }],
  ['rro', { readonly: true }],
  ['rw', { readonly: false }],
  ['noexec', { noexec: true }],
  ['exec', { noexec: false }],
  ['nosuid', { nosuid: true }],
  ['suid', { nosuid: false }],
]);

/** Of options that contradict each other, the last one counts, as in runc. */
function bind(index: number, path: string, { options = [] }: OciMount): ShareMount {
  const mount: ShareMount = { index, path, readonly: false };
  for (const option of options) Object.assign(mount, BIND_FLAGS.get(option) ?? mountWord(path, option));
  return mount;
}

const FLAGS = new Map<string, Partial<TmpfsMount>>([
  ['ro', { readonly: true }],
  ['rro', { readonly: true }],
  ['rw', { readonly: false }],
  ['noexec', { exec: false }],
  ['exec', { exec: true }],
  ['nosuid', { suid: false }],
  ['suid', { suid: true }],
  ['nodev', { dev: false }],
  ['dev', { dev: true }],
  ['tmpcopyup', { copyUp: true }],
  ['notmpcopyup', { copyUp: false }],
]);

function tmpfs(path: string, { options = [] }: OciMount): TmpfsMount {
  const mount: TmpfsMount = { path, exec: true, suid: true, dev: true };
  for (const option of options) {
    const [name = '', value = ''] = option.split('=');
    if (name === 'size') mount.size = bytes(value, path);
    else if (name === 'mode') mount.mode = number(value, 8, 0o7777, `mount ${path}: ${option}`);
    else if (name === 'uid') mount.uid = number(value, 10, 0xffff_fffe, `mount ${path}: ${option}`);
    else if (name === 'gid') mount.gid = number(value, 10, 0xffff_fffe, `mount ${path}: ${option}`);
    else Object.assign(mount, FLAGS.get(option) ?? mountWord(path, option));
  }
  return mount;
}

function number(value: string, base: 8 | 10, max: number, where: string): number {
  const isNumber = base === 8 ? /^[0-7]{1,8}$/ : /^[0-9]{1,10}$/;
  const found = isNumber.test(value) ? Number.parseInt(value, base) : Number.NaN;
  if (!(found <= max)) throw new OciError(`${where} is not understood`);
  return found;
}

function bytes(value: string, path: string): number {
  const size = readBytes(value);
  if (Number.isNaN(size)) throw new OciError(`mount ${path}: size ${value} is not understood`);
  return size;
}

function limits({ memory, pids, cpu }: NonNullable<OciConfig['linux']['resources']>): ContainerSetup['limits'] {
  const positive = (value: number | undefined) => (value !== undefined && value > 0 ? value : 0);
  return {
    memory: positive(memory?.limit),
    pids: positive(pids?.limit),
    cpuQuota: positive(cpu?.quota),
    cpuPeriod: positive(cpu?.period),
  };
}

/** @throws OciError */
export function translateProcess(process: OciProcess): Omit<ProcessSpec, 'id'> {
  const { user, capabilities, rlimits, consoleSize, terminal, noNewPrivileges } = process;
  return {
    argv: process.args,
    env: process.env ?? [],
    cwd: process.cwd,
    exact: true,
    user: `${user.uid}:${user.gid}`,
    groups: (user.additionalGids ?? []).map(String),
    umask: user.umask ?? 0o22,
    ...(terminal && { terminal: { columns: consoleSize?.width ?? 0, rows: consoleSize?.height ?? 0 } }),
    stdin: terminal !== true,
    capabilities: known(capabilities?.bounding),
    capabilitySets: {
      permitted: known(capabilities?.permitted),
      effective: known(capabilities?.effective),
      inheritable: known(capabilities?.inheritable),
      ambient: known(capabilities?.ambient).filter((name) => canBeAmbient(name, capabilities)),
    },
    noNewPrivileges: noNewPrivileges ?? false,
    rlimits: (rlimits ?? []).map(rlimit),
  };
}

/** What the kernel cannot grant is left out, as the specification asks: buildah gives no inheritable set. */
function canBeAmbient(name: Capability, capabilities: OciProcess['capabilities']): boolean {
  return [capabilities?.permitted, capabilities?.inheritable].every((set) => set?.includes(`CAP_${name}`));
}

/** A capability that the guest's kernel does not know grants nothing. */
function known(words: readonly string[] = []): Capability[] {
  return CAPABILITIES.filter((name) => words.includes(`CAP_${name}`));
}

function rlimit({ type, soft, hard }: { type: string; soft: number; hard: number }): Rlimit {
  const name = RLIMITS.find((each) => `RLIMIT_${each.toUpperCase()}` === type);
  if (name === undefined) throw new OciError(`unknown resource limit ${type}`);
  const value = (given: number) => (given >= LARGEST ? 'unlimited' : given);
  return { name, soft: value(soft), hard: value(hard) };
}
