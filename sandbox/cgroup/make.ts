// Makes the cgroup of a machine, or of its supervisor.
import { join } from 'node:path';
import { messageOf } from '../../errors/index.js';
import type { Log } from '../log.js';
import type { CgroupLimits } from './limits.js';
import { FolderCgroup, type MachineCgroup } from './machine-cgroup.js';
import { givenParent } from './parent-name.js';
import { type CgroupPlace, findPlace } from './place.js';
import { SystemdScope } from './systemd-scope.js';

export interface CgroupOptions {
  /** Its name in the folder of cgroups. */
  name: string;
  /** The folder that the spec asks for. */
  parent: string | undefined;
  limits: CgroupLimits;
  log: Log;
  /** Called with its path before it is made, and without one if it cannot be used. */
  onPath(path: string | undefined): void;
}

/**
 * @returns undefined if this host gives this user none, and none was asked for
 * @throws SandboxError `cgroup` if the folder that was asked for cannot be used
 */
export async function makeCgroup(options: CgroupOptions): Promise<MachineCgroup | undefined> {
  const { parent, log, onPath } = options;
  const given = givenParent(parent);
  const place = findPlace(given);
  if (place.kind === 'none') {
    log.debug(`the machine has no cgroup of its own: ${place.why}`);
    return undefined;
  }
  if (given !== undefined) return await makeAt(place, options);
  const giveUp = (error: unknown) => {
    log.warn(`the machine has no cgroup of its own: ${messageOf(error)}`);
    onPath(undefined);
  };
  try {
    return new OptionalCgroup(await makeAt(place, options), giveUp);
  } catch (error) {
    giveUp(error);
    return undefined;
  }
}

async function makeAt(
  place: Exclude<CgroupPlace, { kind: 'none' }>,
  { name, limits, onPath }: CgroupOptions,
): Promise<MachineCgroup> {
  if (place.kind === 'systemd') {
    const scope = new SystemdScope({ ...place, name }, limits);
    onPath(scope.path);
    return scope;
  }
  const path = join(place.path, name);
  onPath(path);
  return await FolderCgroup.make(path, limits);
}

/** A cgroup that was not asked for: a machine runs without it. */
class OptionalCgroup implements MachineCgroup {
  readonly #cgroup: MachineCgroup;
  readonly #giveUp: (error: unknown) => void;
  #isGivenUp = false;

  constructor(cgroup: MachineCgroup, giveUp: (error: unknown) => void) {
    this.#cgroup = cgroup;
    this.#giveUp = giveUp;
  }

  async add(pids: readonly number[]): Promise<boolean> {
    if (this.#isGivenUp) return false;
    try {
      return await this.#cgroup.add(pids);
    } catch (error) {
      this.#isGivenUp = true;
      this.#giveUp(error);
      return false;
    }
  }

  outOfMemory(): string | undefined {
    return this.#cgroup.outOfMemory();
  }

  remove(): Promise<void> {
    return this.#cgroup.remove();
  }
}
