// Calls of systemd. busctl is a part of it. A library for D-Bus would be larger than these few calls.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../errors/index.js';
import { SandboxError } from '../errors.js';

/** Milliseconds for systemd to answer, and to start a scope. */
const PATIENCE = 30_000;
/** Milliseconds between two looks whether a scope has its processes. */
const INTERVAL = 2;

const MANAGER = ['org.freedesktop.systemd1', '/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager'];

export type Manager =
  /** Process 1 of the host. */
  | 'system'
  /** That of the user who runs this process. */
  | 'user';

/** A property of a unit: its name, its signature and its values, as busctl(1) has them. */
export type Property = readonly [name: string, signature: string, ...values: string[]];

/** True if the user's systemd can be called. */
export function hasUserBus(uid: number): boolean {
  return process.env.DBUS_SESSION_BUS_ADDRESS !== undefined || existsSync(busSocket(uid));
}

function busSocket(uid: number): string {
  return join(process.env.XDG_RUNTIME_DIR ?? `/run/user/${uid}`, 'bus');
}

function userBus(): NodeJS.ProcessEnv {
  const { DBUS_SESSION_BUS_ADDRESS = `unix:path=${busSocket(process.getuid?.() ?? 0)}` } = process.env;
  return { DBUS_SESSION_BUS_ADDRESS };
}

/**
 * Calls a method of systemd's manager.
 * @param signature of the values, as busctl(1) has them
 * @throws SandboxError `cgroup`
 */
export function call(manager: Manager, method: string, signature: string, values: readonly string[]): Promise<void> {
  // A value may begin with `-`.
  const words = [`--${manager}`, '--quiet', '--', 'call', ...MANAGER, method, signature, ...values];
  const env = { ...process.env, ...(manager === 'user' && userBus()) };
  return new Promise((resolve, reject) => {
    execFile('busctl', words, { timeout: PATIENCE, env }, (error, _stdout, stderr) => {
      if (error === null) return resolve();
      const why = stderr.trim().split('\n')[0] || messageOf(error);
      reject(new SandboxError('cgroup', `systemd refuses a cgroup: ${why}`, { cause: error }));
    });
  });
}

/**
 * Starts a scope with processes: systemd starts none without one.
 * @param unit name of the scope
 * @param options.isStarted whether the processes are in it
 * @param options.onRefused called if systemd starts none: another one may have the name
 * @throws SandboxError `cgroup`
 */
export async function startScope(
  manager: Manager,
  unit: string,
  pids: readonly number[],
  {
    properties,
    isStarted,
    onRefused = () => {},
  }: { properties: readonly Property[]; isStarted: () => boolean; onRefused?: () => void },
): Promise<void> {
  const all: Property[] = [['PIDs', 'au', ...counted(pids)], ...properties];
  const values = [unit, 'fail', String(all.length), ...all.flat(), '0'];
  try {
    await call(manager, 'StartTransientUnit', 'ssa(sv)a(sa(sv))', values);
  } catch (error) {
    onRefused();
    throw error;
  }
  const late = performance.now() + PATIENCE;
  // The answer is that of a job, which moves the processes later.
  while (!isStarted()) {
    if (performance.now() > late) throw new SandboxError('cgroup', `systemd does not start ${unit}`);
    await sleep(INTERVAL);
  }
}

/** Changes properties of a unit that runs. @throws SandboxError `cgroup` */
export async function setProperties(manager: Manager, unit: string, properties: readonly Property[]): Promise<void> {
  await call(manager, 'SetUnitProperties', 'sba(sv)', [unit, 'true', String(properties.length), ...properties.flat()]);
}

/** An array of busctl(1). */
export function counted(values: readonly number[]): string[] {
  return [String(values.length), ...values.map(String)];
}

/**
 * Has the user's systemd end a unit, and remove its cgroup.
 * @returns false if it has no such unit, or cannot be called
 */
export async function stopUnit(name: string): Promise<boolean> {
  try {
    await call('user', 'StopUnit', 'ss', [name, 'replace']);
    return true;
  } catch {
    return false;
  }
}
