// The cgroup of a machine or its supervisor as a scope of the user's systemd, which moves the processes: an ordinary
// user may not take a process out of the cgroup of a login.
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SandboxError } from '../errors.js';
import { wordsOf } from './hierarchy.js';
import type { CgroupLimits } from './limits.js';
import { describeOutOfMemory, type MachineCgroup, removeCgroup, writeLimit } from './machine-cgroup.js';
import { runs } from './processes.js';
import { call } from './user-systemd.js';

/** Milliseconds for systemd to start a scope. */
const PATIENCE = 30_000;
const INTERVAL = 2;

export class SystemdScope implements MachineCgroup {
  readonly path: string;
  readonly #limits: CgroupLimits;
  #isStarted = false;

  /**
   * @param slice path of the cgroup of the user's `app.slice`
   * @param name of the scope, without its ending
   */
  constructor({ slice, name }: { slice: string; name: string }, limits: CgroupLimits) {
    this.path = join(slice, `${name}.scope`);
    this.#limits = limits;
  }

  async add(pids: readonly number[]): Promise<true> {
    if (this.#isStarted) await call('AttachProcessesToUnit', 'ssau', [basename(this.path), '', ...counted(pids)]);
    else await this.#start(pids);
    this.#isStarted = true;
    return true;
  }

  /** systemd starts no scope without a process. */
  async #start(pids: readonly number[]): Promise<void> {
    const unit = basename(this.path);
    await call('StartTransientUnit', 'ssa(sv)a(sa(sv))', [unit, 'fail', ...properties(pids, this.#limits), '0']);
    const late = performance.now() + PATIENCE;
    // The answer is that of a job, which moves the processes later.
    while (!this.#hasAll(pids)) {
      if (performance.now() > late) throw new SandboxError('cgroup', `systemd does not start ${unit}`);
      await sleep(INTERVAL);
    }
    // systemd of Debian 12 has no property for it.
    writeLimit(join(this.path, 'memory.oom.group'), '1');
    // Its properties for disks take paths in /dev. The file is there if the user's systemd has the controller.
    for (const line of this.#limits.io) writeLimit(join(this.path, 'io.max'), line);
  }

  /** A process that has ended needs no cgroup. /proc may hide one from its own user. */
  #hasAll(pids: readonly number[]): boolean {
    const inside = wordsOf(join(this.path, 'cgroup.procs'));
    return pids.every((pid) => inside.includes(String(pid)) || !runs(pid));
  }

  outOfMemory(): string | undefined {
    return describeOutOfMemory(this.path, this.#limits);
  }

  remove(): Promise<void> {
    return removeCgroup(this.path);
  }
}

function properties(
  pids: readonly number[],
  { memory, swap, cpuQuota, cpuPeriod, cpuWeight, pids: tasks }: CgroupLimits,
): string[] {
  const all = [
    ['PIDs', 'au', ...counted(pids)],
    ['Description', 's', 'a machine of tsvm, or its supervisor'],
    ['Slice', 's', 'app.slice'],
    ['Delegate', 'b', 'true'],
    ['CollectMode', 's', 'inactive-or-failed'],
    ['MemoryMax', 't', String(memory)],
    ['MemorySwapMax', 't', String(swap)],
    ['CPUQuotaPerSecUSec', 't', String(Math.round((cpuQuota / cpuPeriod) * 1e6))],
    ['CPUWeight', 't', String(cpuWeight)],
    ['TasksMax', 't', String(tasks)],
  ];
  return [String(all.length), ...all.flat()];
}

function counted(pids: readonly number[]): string[] {
  return [String(pids.length), ...pids.map(String)];
}
