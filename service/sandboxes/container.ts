// Containers in the homes of tenants.
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, hasCode, messageOf } from '../../errors/index.js';
import { fullReference, parseName } from '../../images/reference.js';
import {
  type Accelerator,
  Container,
  type Fallback,
  Home,
  type JailMode,
  type Secrets,
  SnapshotStore,
  type Upstream,
} from '../../sandbox/index.js';
import { ServiceError } from '../errors.js';
import type { Resources } from '../records.js';

/** Milliseconds for a supervisor that is just starting the container, or ending it. */
const REMOVAL_TIMEOUT = 60_000;
const PAUSE = 100;
/** Milliseconds for a supervisor that an earlier server has told to continue the container. */
const RESUME_TIMEOUT = 60_000;
/**
 * Milliseconds for what keeps a container from being saved: processes that just start, and another
 * copy of it.
 */
const SAVE_TIMEOUTS = new Map([
  ['agent', 10_000],
  ['conflict', 600_000],
]);

/** Names of containers that are sandboxes, or runs of jobs. Others in a home are the administrator's own. */
const OWN_NAME = /^(sb-[0-9a-f]{16}|job-[0-9a-f]{16}-\d+)$/;
/** Names of snapshots that are of sandboxes. */
const OWN_SNAPSHOT = /^sn-[0-9a-f]{16}$/;

export interface MachineOptions {
  /** Path of the data folder. */
  folder: string;
  /** What all sandboxes and jobs together may hold. */
  host: Resources;
  accel: Accelerator | 'auto';
  jail: JailMode;
  /** How the proxies of secrets' placeholders reach hosts. */
  upstream?: Upstream | undefined;
  /** Called with a failure that no request gets. */
  onFault: (message: string) => void;
  /** Called if a machine is not on KVM. */
  onFallback: (fallback: Fallback) => void;
}

/** Path of the audit log of a data folder: an absolute one, for other processes. */
export function auditPath(folder: string): string {
  return resolve(folder, 'audit.log');
}

/**
 * What proxies of placeholders are told: how they reach hosts, and where they tell of requests.
 * @param about whose requests these are
 */
export function proxied({ folder, upstream }: MachineOptions, about: Record<string, string>): Secrets {
  return { ...(upstream && { upstream }), audit: { file: auditPath(folder), about } };
}

/** Path of a tenant's state folder. */
export function homePath(folder: string, tenant: string): string {
  return join(folder, 'tenants', tenant);
}

export function homeOf(folder: string, tenant: string): Home {
  return new Home(homePath(folder, tenant));
}

/** The container, if it is there and not damaged. */
export function findContainer(home: Home, id: string): Container | undefined {
  try {
    return Container.find(home, id);
  } catch (error) {
    if (hasCode(error, 'no-such-container', 'damaged')) return undefined;
    throw error;
  }
}

/**
 * Ends the container and removes it, whatever state it is in. A supervisor that a dead server has
 * told to start it may take its lock at any moment: it is killed then.
 * @throws SandboxError `running` if it does not end in time, `state`, `cgroup`
 */
export async function removeContainer(home: Home, id: string): Promise<void> {
  const deadline = performance.now() + REMOVAL_TIMEOUT;
  for (;;) {
    try {
      return await Container.find(home, id).remove({ force: true, volumes: true });
    } catch (error) {
      if (hasCode(error, 'no-such-container')) return;
      if (hasCode(error, 'damaged')) return await home.removeDamaged(home.containers.findFolder(id));
      if (!hasCode(error, 'running') || performance.now() > deadline) throw error;
      await sleep(PAUSE);
    }
  }
}

/**
 * Saves the container. Processes that are just being started have begun before. If an earlier server has
 * told its supervisor to, that has done it.
 * @throws SandboxError as `Container.suspend`
 */
export async function suspendContainer(container: Container): Promise<void> {
  await save(async () => {
    try {
      await container.suspend();
    } catch (error) {
      if (container.state.status !== 'suspended') throw error;
    }
  });
}

/** Makes a snapshot of the container, which runs on. @throws SandboxError as `Container.snapshot` */
export async function copyContainer(container: Container, name: string): Promise<void> {
  await save(async () => {
    await container.snapshot(name);
  });
}

/** Calls `act` until nothing stands in its way that goes by. */
async function save(act: () => Promise<void>): Promise<void> {
  const began = performance.now();
  for (;;) {
    try {
      return await act();
    } catch (error) {
      const timeout = SAVE_TIMEOUTS.get(codeOf(error) ?? '') ?? 0;
      if (performance.now() - began >= timeout) throw error;
      await sleep(PAUSE);
    }
  }
}

/** Removes a snapshot, if it is there. @throws SandboxError `state` */
export async function removeSnapshot(home: Home, name: string): Promise<void> {
  try {
    await new SnapshotStore(home).remove(name);
  } catch (error) {
    if (!hasCode(error, 'no-such-snapshot')) throw error;
  }
}

/**
 * Continues a suspended container, if that is not done already. If an earlier server has told a
 * supervisor to, that does it.
 * @throws SandboxError as `Container.resume`
 */
export async function resumeContainer(
  container: Container,
  options: Parameters<Container['resume']>[0],
): Promise<void> {
  const deadline = performance.now() + RESUME_TIMEOUT;
  while (container.state.status !== 'running') {
    try {
      return await container.resume(options);
    } catch (error) {
      if (!hasCode(error, 'running') || performance.now() > deadline) throw error;
      await sleep(PAUSE);
    }
  }
}

/**
 * Removes the containers of sandboxes and jobs, and the snapshots, that an earlier server left in a
 * tenant's home.
 * @param known names of those that records are of
 */
export async function removeLeft(
  { folder, onFault }: MachineOptions,
  tenant: string,
  known: ReadonlySet<string>,
): Promise<void> {
  try {
    const home = homeOf(folder, tenant);
    for (const { name = '' } of Container.list(home)) {
      if (OWN_NAME.test(name) && !known.has(name)) await removeContainer(home, name);
    }
    const snapshots = new SnapshotStore(home);
    for (const name of snapshots.names()) {
      if (OWN_SNAPSHOT.test(name) && !known.has(name)) await snapshots.remove(name);
    }
    await snapshots.sweep();
  } catch (error) {
    onFault(`cannot remove what an earlier server left of ${tenant}: ${messageOf(error)}`);
  }
}

/** The full name of an image: a file of the host is none. @throws ServiceError `bad-request` */
export function imageName(text: string): string {
  try {
    return fullReference(parseName(text));
  } catch (cause) {
    throw new ServiceError('bad-request', `image: ${messageOf(cause)}`, { cause });
  }
}
