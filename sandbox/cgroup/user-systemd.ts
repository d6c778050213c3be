// Calls of the user's systemd. busctl is a part of systemd. A library for D-Bus would be larger than
// these few calls.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../errors/index.js';
import { SandboxError } from '../errors.js';

/** Milliseconds for systemd to answer. */
const PATIENCE = 30_000;

const MANAGER = ['org.freedesktop.systemd1', '/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager'];

/** True if the user's systemd can be called. */
export function hasUserBus(uid: number): boolean {
  return process.env.DBUS_SESSION_BUS_ADDRESS !== undefined || existsSync(busSocket(uid));
}

function busSocket(uid: number): string {
  return join(process.env.XDG_RUNTIME_DIR ?? `/run/user/${uid}`, 'bus');
}

/**
 * Calls a method of systemd's manager.
 * @param signature of the values, as busctl(1) has them
 * @throws SandboxError `cgroup`
 */
export function call(method: string, signature: string, values: readonly string[]): Promise<void> {
  const uid = process.getuid?.() ?? 0;
  const { DBUS_SESSION_BUS_ADDRESS = `unix:path=${busSocket(uid)}` } = process.env;
  const words = ['--user', '--quiet', 'call', ...MANAGER, method, signature, ...values];
  const env = { ...process.env, DBUS_SESSION_BUS_ADDRESS };
  return new Promise((resolve, reject) => {
    execFile('busctl', words, { timeout: PATIENCE, env }, (error, _stdout, stderr) => {
      if (error === null) return resolve();
      const why = stderr.trim().split('\n')[0] || messageOf(error);
      reject(new SandboxError('cgroup', `systemd refuses a cgroup: ${why}`, { cause: error }));
    });
  });
}

/**
 * Has systemd end a unit, and remove its cgroup.
 * @returns false if it has no such unit, or cannot be called
 */
export async function stopUnit(name: string): Promise<boolean> {
  try {
    await call('StopUnit', 'ss', [name, 'replace']);
    return true;
  } catch {
    return false;
  }
}
