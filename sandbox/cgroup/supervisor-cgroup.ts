// The cgroup of a process that supervises a container in the background. It is beside that of the
// machine, which ends with each run of the container. The process makes its own, is in it while a
// guest may cause it work, and leaves it at its end: a cgroup with a process cannot be removed.
import { mountedHierarchy, ownCgroup } from './hierarchy.js';
import { SUPERVISOR_LIMITS } from './limits.js';
import { enter, type MachineCgroup, supervisorCgroupName } from './machine-cgroup.js';
import { type CgroupOptions, makeCgroup } from './make.js';
import { lowerPriority } from './without.js';

export class SupervisorCgroup {
  readonly #cgroup: MachineCgroup;
  /** Cgroups to leave to. */
  readonly #others: readonly string[];
  readonly #onPath: CgroupOptions['onPath'];

  private constructor(cgroup: MachineCgroup, others: readonly string[], onPath: CgroupOptions['onPath']) {
    this.#cgroup = cgroup;
    this.#others = others;
    this.#onPath = onPath;
  }

  /**
   * Puts this process, and others, into a cgroup of its own. Where there is none, they get a lower
   * priority.
   * @param id the 12 digits of the container's ID
   * @param others process IDs
   * @throws SandboxError `cgroup` if the folder that was asked for cannot be used
   */
  static async enter(
    id: string,
    options: Pick<CgroupOptions, 'parent' | 'log' | 'onPath'>,
    others: readonly number[] = [],
  ): Promise<SupervisorCgroup | undefined> {
    const mount = mountedHierarchy();
    const before = mount === undefined ? undefined : ownCgroup(mount);
    const cgroup = await makeCgroup({ ...options, name: supervisorCgroupName(id), limits: SUPERVISOR_LIMITS });
    const pids = [process.pid, ...others];
    if (cgroup === undefined || !(await cgroup.add(pids))) {
      for (const pid of pids) lowerPriority(pid);
      return undefined;
    }
    // The one before may be gone. The kernel lets root's processes into the root of the hierarchy.
    const outer = [before, mount].filter((path) => path !== undefined);
    return new SupervisorCgroup(cgroup, outer, options.onPath);
  }

  /**
   * Takes this process out of the cgroup, ends what it left there, and removes it. If it cannot
   * leave, systemd removes the cgroup after its end, or the next command does.
   * @throws SandboxError `cgroup`
   */
  async leave(): Promise<void> {
    if (!this.#others.some(canEnter)) return;
    await this.#cgroup.remove();
    this.#onPath(undefined);
  }
}

function canEnter(path: string): boolean {
  try {
    enter(path, process.pid);
    return true;
  } catch {
    return false;
  }
}
