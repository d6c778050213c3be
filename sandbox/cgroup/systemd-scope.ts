// The cgroup of a machine or its supervisor as a scope of the user's systemd, which moves the processes: an ordinary
// user may not take a process out of the cgroup of a login.
import { basename, join } from 'node:path';
import { wordsOf } from './hierarchy.js';
import type { CgroupLimits } from './limits.js';
import { describeOutOfMemory, type MachineCgroup, removeCgroup, writeLimit } from './machine-cgroup.js';
import { runs } from './processes.js';
import { call, counted, type Property, startScope } from './systemd.js';

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
    if (this.#isStarted) {
      await call('user', 'AttachProcessesToUnit', 'ssau', [basename(this.path), '', ...counted(pids)]);
    } else {
      await this.#start(pids);
    }
    this.#isStarted = true;
    return true;
  }

  async #start(pids: readonly number[]): Promise<void> {
    const options = { properties: properties(this.#limits), isStarted: () => this.#hasAll(pids) };
    await startScope('user', basename(this.path), pids, options);
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

function properties({ memory, swap, cpuQuota, cpuPeriod, cpuWeight, pids: tasks }: CgroupLimits): Property[] {
  return [
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
}
