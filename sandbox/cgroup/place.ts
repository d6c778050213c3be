// Finds where this user's machines get their cgroups.
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../errors/index.js';
import { CONTROLLERS, mountedHierarchy, wordsOf } from './hierarchy.js';
import { delegatedParent, rootParent } from './parent.js';
import { hasUserBus } from './systemd.js';

export type CgroupPlace =
  /** In a folder. */
  | { kind: 'folder'; path: string }
  /** Scopes of the user's systemd, in the folder `slice`. */
  | { kind: 'systemd'; slice: string }
  /** Machines have no cgroups of their own. */
  | { kind: 'none'; why: string; advice: string };

const UNIFIED = 'boot the host with cgroup v2 alone: systemd.unified_cgroup_hierarchy=1';
const DELEGATE = 'give machines a folder of their own: docs/limits.md, --cgroup-parent';

/**
 * @param parent the folder that the caller or the environment asks for
 * @throws SandboxError `cgroup` if that folder cannot be used
 */
export function findPlace(parent: string | undefined): CgroupPlace {
  if (parent !== undefined) return { kind: 'folder', path: delegatedParent(parent) };
  const mount = mountedHierarchy();
  if (mount === undefined) return { kind: 'none', why: 'cgroup v2 is not mounted', advice: UNIFIED };
  const lacking = missingControllers(mount);
  if (lacking !== undefined) return { kind: 'none', why: `cgroup v2 lacks ${lacking}`, advice: UNIFIED };
  if (process.geteuid?.() !== 0) return userPlace(mount);
  try {
    return { kind: 'folder', path: rootParent(mount) };
  } catch (error) {
    return { kind: 'none', why: messageOf(error), advice: DELEGATE };
  }
}

/** The user's systemd is asked, if it stays when the user logs out. */
function userPlace(mount: string): CgroupPlace {
  const uid = process.geteuid?.() ?? 0;
  const username = userName(uid);
  const service = join(mount, `user.slice/user-${uid}.slice/user@${uid}.service`);
  if (!existsSync('/run/systemd/system') || !existsSync(service)) {
    return { kind: 'none', why: `user ${username} has no systemd and no delegated cgroup`, advice: DELEGATE };
  }
  if (!hasUserBus(uid)) {
    const advice = 'install dbus-user-session, and log in again';
    return { kind: 'none', why: `the systemd of user ${username} has no bus`, advice };
  }
  const lacking = missingControllers(service);
  if (lacking !== undefined) {
    const advice = 'systemctl edit user@.service, [Service], Delegate=cpu memory pids; then log in again';
    return { kind: 'none', why: `the systemd of user ${username} lacks ${lacking}`, advice };
  }
  // Otherwise a container in the background would end with the last login.
  if (!existsSync(`/var/lib/systemd/linger/${username}`)) {
    const advice = `keep it: loginctl enable-linger ${username}`;
    return { kind: 'none', why: `the systemd of user ${username} ends with the last login`, advice };
  }
  return { kind: 'systemd', slice: join(service, 'app.slice') };
}

/** A user may have no entry in the list of users. */
function userName(uid: number): string {
  try {
    return userInfo().username;
  } catch {
    return String(uid);
  }
}

function missingControllers(folder: string): string | undefined {
  const available = wordsOf(join(folder, 'cgroup.controllers'));
  const missing = CONTROLLERS.filter((name) => !available.includes(name));
  return missing.length === 0 ? undefined : `the controllers ${missing.join(', ')}`;
}
