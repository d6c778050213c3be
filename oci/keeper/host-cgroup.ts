// The cgroup of the host that an engine gives a container (`linux.cgroupsPath`), in each hierarchy of
// cgroups. Engines look into that of the container's process for its statistics, and set the share of a
// whole pod in a folder above. So all that works for the container is in it: stub, keeper and machine. An
// engine with the systemd driver names a scope instead, which systemd makes.
import { mkdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { codeOf, hasCode, messageOf } from '../../errors/index.js';
import { foldersTo, wordsOf, writeControl } from '../../sandbox/cgroup/hierarchy.js';
import { cgroupLimits } from '../../sandbox/cgroup/limits.js';
import { type Property, setProperties, startScope } from '../../sandbox/cgroup/systemd.js';
import type { OciConfig } from '../config/config.js';
import { machineResources, type OciMachine } from '../config/machine.js';
import { OciError } from '../config/oci-error.js';
import type { Scope } from '../config/scope.js';
import { replaceFile } from './state-folder.js';

/** Controllers of cgroup v2 that the limits are of. */
const CONTROLLERS = ['memory', 'cpu'];
/** Of cgroup v1. */
const QUOTA = 'cpu.cfs_quota_us';
/** Looks into a cgroup whose processes are moved, at most: some may end meanwhile. */
const MOST_ROUNDS = 100;
/** The host does not let this process make cgroups: it stays in the engine's. */
const REFUSALS = ['EACCES', 'EPERM', 'EROFS'] as const;
/** No limit of systemd, whose properties are 64 bits. */
const INFINITY = String(2n ** 64n - 1n);
/** This process, for `cgroup.procs`. */
const SELF = '0';

export interface Hierarchy {
  /** Path of the mount. */
  mount: string;
  /** Of cgroup v1, as `memory` or `name=systemd`; undefined: cgroup v2. */
  controllers: readonly string[] | undefined;
  /** Path of the caller's cgroup in it. */
  own: string;
}

export interface HostLimits {
  /** Bytes; undefined: any. */
  memory: number | undefined;
  /** CPUs; undefined: any. */
  cpus: number | undefined;
  /** The weight of cgroup v1, 2 to 262144; undefined: the kernel's. */
  shares: number | undefined;
}

/**
 * The hierarchies that this process is in and that are mounted.
 * @param own text of /proc/self/cgroup (cgroups(7))
 * @param mountinfo text of /proc/self/mountinfo (proc(5))
 */
export function hierarchies(own: string, mountinfo: string): Hierarchy[] {
  const mounts = mountinfo.split('\n').map((line) => {
    const [mounted = '', type = ''] = line.split(' - ');
    const [, , , root, mount = ''] = mounted.split(' ');
    const [kind, , options = ''] = type.split(' ');
    return { root, mount, kind, options: options.split(',') };
  });
  return own.split('\n').flatMap((line) => {
    const [, names, ...path] = line.split(':');
    if (names === undefined) return [];
    const controllers = names === '' ? undefined : names.split(',');
    const { mount } =
      mounts.find(({ root, kind, options }) => {
        // What is mounted from inside a hierarchy has other paths.
        if (root !== '/') return false;
        return controllers === undefined
          ? kind === 'cgroup2'
          : kind === 'cgroup' && controllers.every((each) => options.includes(each));
      }) ?? {};
    return mount === undefined ? [] : [{ mount, controllers, own: path.join(':') }];
  });
}

/** Path of the cgroup in a hierarchy. As with runc, a path that is not absolute is below the caller's. */
export function pathIn({ mount, own }: Hierarchy, cgroupsPath: string): string {
  // No `..` leads out of the hierarchy.
  return join(mount, join('/', cgroupsPath.startsWith('/') ? '' : own, join('/', cgroupsPath)));
}

/** Those of a process. @param pid the caller's, or `self` */
function hierarchiesOf(pid: number | 'self'): Hierarchy[] {
  return hierarchies(readCgroup(pid), readFileSync('/proc/self/mountinfo', 'utf8'));
}

/**
 * Bytes of memory that the cgroups above the container's may have. Engines give the limits of a pod so.
 * Infinity: they have no limit.
 */
export function memoryAbove(cgroupsPath: string | undefined): number {
  const limits = hierarchiesOf('self').flatMap((hierarchy) => {
    const path = pathIn(hierarchy, cgroupsPath ?? '');
    const file = hierarchy.controllers === undefined ? 'memory.max' : 'memory.limit_in_bytes';
    return foldersTo(cgroupsPath ? dirname(path) : path, hierarchy.mount).map((folder) => join(folder, file));
  });
  return Math.min(...limits.map(readLimit));
}

function readLimit(file: string): number {
  // A hierarchy of another controller has no such file, nor has one that is to be made.
  const [limit = 'max'] = wordsOf(file);
  return limit === 'max' ? Number.POSITIVE_INFINITY : Number(limit);
}

/** The limits beside those of the cgroup in the guest, which are the container's. */
export function hostLimits(
  config: Pick<OciConfig, 'annotations' | 'linux'>,
  { memory, accel }: Pick<OciMachine, 'memory' | 'accel'>,
): HostLimits {
  const { memory: limit, cpu } = machineResources(config);
  const hasMemory = (limit?.limit ?? 0) > 0;
  return {
    memory: hasMemory ? cgroupLimits({ memory, cpus: 1, accel }).memory : undefined,
    cpus: cpusOf(cpu?.quota, cpu?.period),
    shares: cpu?.shares || undefined,
  };
}

export function cpusOf(quota = 0, period = 0): number | undefined {
  return quota > 0 ? quota / (period || 100_000) : undefined;
}

/** Microseconds. One CPU more than the container's: the devices have a thread. */
function timeOf({ cpus }: HostLimits): { quota: number | undefined; cpuPeriod: number } {
  const { cpuQuota, cpuPeriod } = cgroupLimits({ memory: 0, cpus: cpus ?? 1, accel: 'auto' });
  return { quota: cpus === undefined ? undefined : cpuQuota, cpuPeriod };
}

/** The files of a cgroup with what is written to them. */
export function controlFiles(controllers: Hierarchy['controllers'], limits: HostLimits): [string, string][] {
  const { memory, shares } = limits;
  const { quota, cpuPeriod } = timeOf(limits);
  if (controllers === undefined) {
    return [
      ['memory.max', memory === undefined ? 'max' : String(memory)],
      ['cpu.max', `${quota ?? 'max'} ${cpuPeriod}`],
      ...(shares === undefined ? [] : [['cpu.weight', String(weightOf(shares))] satisfies [string, string]]),
    ];
  }
  const files: [string, string][] = [];
  if (controllers.includes('memory')) files.push(['memory.limit_in_bytes', String(memory ?? -1)]);
  if (controllers.includes('cpu')) {
    files.push(['cpu.cfs_period_us', String(cpuPeriod)], [QUOTA, String(quota ?? -1)]);
    if (shares !== undefined) files.push(['cpu.shares', String(shares)]);
  }
  return files;
}

/** The weight of cgroup v2, 1 to 10000, for one of v1, as runc has it. */
function weightOf(shares: number): number {
  const inRange = Math.min(Math.max(shares, 2), 262_144);
  return Math.floor(1 + ((inRange - 2) * 9999) / 262_142);
}

/**
 * The properties of a scope. systemd writes them to its cgroup, also later again, so they are the limits
 * of `controlFiles`.
 */
export function scopeProperties({ slice }: Scope, name: string, limits: HostLimits): Property[] {
  const { memory, shares } = limits;
  return [
    ['Description', 's', `machine of container ${name}`],
    ['Slice', 's', slice],
    // Its cgroup is the runtime's to write to, and has all controllers.
    ['Delegate', 'b', 'true'],
    // As with runc: at the end of the host, engines end what they have started before systemd does.
    ['DefaultDependencies', 'b', 'false'],
    ['CollectMode', 's', 'inactive-or-failed'],
    ['MemoryMax', 't', memory === undefined ? INFINITY : String(memory)],
    ...timeProperties(limits),
    ...(shares === undefined ? [] : [['CPUWeight', 't', String(weightOf(shares))] satisfies Property]),
    // The guest counts the processes of the container.
    ['TasksMax', 't', INFINITY],
  ];
}

function timeProperties(limits: HostLimits): Property[] {
  const { quota, cpuPeriod } = timeOf(limits);
  return [
    ['CPUQuotaPerSecUSec', 't', quota === undefined ? INFINITY : String(Math.round((quota / cpuPeriod) * 1e6))],
    ['CPUQuotaPeriodUSec', 't', String(cpuPeriod)],
  ];
}

/**
 * Path of the cgroup of a unit, if a process is in it; undefined before.
 * @param text of /proc/PID/cgroup
 */
export function unitPath(text: string, unit: string): string | undefined {
  // systemd's own hierarchy is that of version 2, or one of version 1, or both.
  const own = [...text.matchAll(/^(?:\d+:name=systemd|0:):(.*)$/gm)].map(([, path = '']) => path);
  return own.find((path) => path.endsWith(`/${unit}`));
}

interface Made extends Hierarchy {
  path: string;
}

export class HostCgroup {
  private constructor(
    private readonly made: readonly Made[],
    private limits: HostLimits,
    private isEntered: boolean,
    private readonly scope?: Scope,
  ) {}

  /**
   * Makes the cgroup. The file `cgroups` of the state folder has its paths from then on. Where the host
   * does not let this process make one, there is none.
   * @param options.enters puts this process into it
   * @param options.caller process id of the caller, whose cgroup a path that is not absolute is
   *   below
   * @throws OciError if another container is in it
   */
  static make(
    cgroupsPath: string | undefined,
    limits: HostLimits,
    { state, enters, caller = 'self' }: { state: string; enters: boolean; caller?: number | 'self' },
  ): HostCgroup {
    if (!cgroupsPath) return new HostCgroup([], limits, enters);
    const wanted = hierarchiesOf(caller).map((each) => ({ ...each, path: pathIn(each, cgroupsPath) }));
    for (const { path } of wanted) {
      const processes = wordsOf(join(path, 'cgroup.procs')).length;
      if (processes > 0) throw new OciError(`container's cgroup is not empty: ${processes} process(es) found`);
    }
    return HostCgroup.#keep(wanted, limits, { state, pid: enters ? SELF : undefined });
  }

  /**
   * Has systemd start a scope with a process. Its name is in the file `scope` of the state folder from
   * then on, unless systemd refuses: another one's may have the name, and `delete` would end that.
   * @param options.name the engine's name of the container
   * @param options.pid the process; undefined: this one
   * @throws SandboxError, OciError
   */
  static async start(
    scope: Scope,
    limits: HostLimits,
    { state, name, pid }: { state: string; name: string; pid?: number },
  ): Promise<HostCgroup> {
    const { unit } = scope;
    const before = hierarchiesOf('self');
    const look = () => unitPath(readCgroup(pid ?? 'self'), unit);
    const record = join(state, 'scope');
    replaceFile(record, `${unit}\n`);
    await startScope('system', unit, [pid ?? process.pid], {
      properties: scopeProperties(scope, name, limits),
      isStarted: () => look() !== undefined,
      onRefused: () => rmSync(record, { force: true }),
    });
    const path = look();
    if (path === undefined) throw new OciError(`the process of ${unit} has ended`);
    // The hierarchies of version 1 that systemd leaves alone have the same path.
    const wanted = before.map((hierarchy) => ({ ...hierarchy, path: join(hierarchy.mount, path) }));
    return HostCgroup.#keep(wanted, limits, { state, scope, pid: pid === undefined ? SELF : String(pid) });
  }

  /** @param options.pid a process that is put into it */
  static #keep(
    wanted: readonly Made[],
    limits: HostLimits,
    { state, scope, pid }: { state: string; scope?: Scope; pid: string | undefined },
  ): HostCgroup {
    replaceFile(join(state, 'cgroups'), wanted.map(({ path }) => `${path}\n`).join(''));
    const made = wanted.filter((each) => make(each, pid));
    const cgroup = new HostCgroup(made, limits, pid === SELF, scope);
    cgroup.#write();
    return cgroup;
  }

  /** One path for each hierarchy. */
  get paths(): string[] {
    return this.made.map(({ path }) => path);
  }

  /**
   * Leaves the cgroup no more memory than is in use: a process in it that asks for some is killed. This
   * one leaves the cgroup before, if it is in it, for the one above. Cgroup v1 alone.
   * @throws OciError without such a cgroup
   */
  starve(): void {
    const memory = this.made.find(({ controllers }) => controllers?.includes('memory'));
    if (memory === undefined) throw new OciError('the container has no cgroup of memory');
    const file = (name: string) => join(memory.path, name);
    if (this.isEntered) writeControl(join(dirname(memory.path), 'cgroup.procs'), SELF);
    // Pages of files would be taken back before a process is killed.
    writeControl(file('memory.force_empty'), '0');
    writeControl(file('memory.limit_in_bytes'), readFileSync(file('memory.usage_in_bytes'), 'latin1').trim());
  }

  /**
   * Moves all processes, but for one, to another container's cgroup, or to the one above where that
   * has none.
   * @throws Error of a system call
   */
  moveTo(other: HostCgroup, stays?: number): void {
    for (const { path, mount } of this.made) {
      const to = other.made.find((each) => each.mount === mount)?.path ?? dirname(path);
      moveAll(path, to, stays);
    }
    this.isEntered = false;
    other.isEntered = true;
  }

  /** The memory stays: it is the machine's. @throws SandboxError, OciError */
  async update(cpus: number | undefined): Promise<void> {
    this.limits = { ...this.limits, cpus };
    if (this.scope !== undefined) await setProperties('system', this.scope.unit, timeProperties(this.limits));
    // systemd does it later.
    this.#write();
  }

  #write(): void {
    for (const { path, controllers } of this.made) writeLimits(path, controllers, this.limits);
  }
}

/** Sets the limits of a cgroup. @throws OciError */
export function writeLimits(path: string, controllers: Hierarchy['controllers'], limits: HostLimits): void {
  for (const [file, value] of controlFiles(controllers, limits)) {
    try {
      writeLimit(join(path, file), value);
    } catch (error) {
      // A hierarchy of the host without the controller.
      if (!hasCode(error, 'ENOENT', ...REFUSALS)) throw failed(path, error);
    }
  }
}

function writeLimit(file: string, value: string): void {
  try {
    writeControl(file, value);
  } catch (error) {
    // The devices' CPU may be more than a cgroup above has, whose time holds for all below it. Version 1
    // alone refuses that.
    if (!hasCode(error, 'EINVAL') || basename(file) !== QUOTA) throw error;
    writeControl(file, '-1');
  }
}

/** Moves what is in a cgroup. A process that is moved may have made another one before. */
function moveAll(from: string, to: string, stays?: number): void {
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const found = wordsOf(join(from, 'cgroup.procs')).filter((pid) => Number(pid) !== stays);
    if (found.length === 0) return;
    for (const pid of found) {
      try {
        writeControl(join(to, 'cgroup.procs'), pid);
      } catch (error) {
        // It has ended, or is a zombie that its parent has not asked about.
        if (!hasCode(error, 'ESRCH')) throw error;
      }
    }
  }
}

function readCgroup(pid: number | 'self'): string {
  return readFileSync(`/proc/${pid}/cgroup`, 'utf8');
}

/** @param pid of a process that is put into it. @returns false if the host does not let this process */
function make({ path, mount, controllers }: Made, pid: string | undefined): boolean {
  try {
    for (const folder of foldersTo(path, mount).slice(1)) {
      mkdirSync(folder, { recursive: true });
      if (controllers === undefined) enableControllers(dirname(folder));
      else if (controllers.includes('cpuset')) copyCpuset(dirname(folder), folder);
    }
    if (pid !== undefined) writeControl(join(path, 'cgroup.procs'), pid);
    return true;
  } catch (error) {
    if (!hasCode(error, ...REFUSALS)) throw failed(path, error);
    remove(path);
    return false;
  }
}

function remove(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // It was not made.
  }
}

function failed(path: string, error: unknown): OciError {
  return new OciError(`cgroup ${path}: ${codeOf(error) ?? messageOf(error)}`);
}

/** Those that the kernel lets a folder have: one with processes has none below it. */
function enableControllers(folder: string): void {
  for (const controller of CONTROLLERS) {
    try {
      writeControl(join(folder, 'cgroup.subtree_control'), `+${controller}`);
    } catch {
      // Without it the cgroup has no such limit.
    }
  }
}

/** No process can be in a cgroup of this controller that has no CPUs (cpusets.rst). */
function copyCpuset(parent: string, folder: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (wordsOf(join(folder, file)).length > 0) continue;
    writeControl(join(folder, file), readFileSync(join(parent, file), 'latin1').trim());
  }
}
