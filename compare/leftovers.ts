// What a comparison keeps outside of its process has the process's id in its name: folders of the
// host, and names of images. So the next comparison finds what a killed one left.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasCode } from '../errors/index.js';
import type { Home } from '../sandbox/index.js';

const PREFIX = 'tsvm-compare';

/** A name that tells this process: `PID-0123456789ab`. */
export function ownName(): string {
  return `${process.pid}-${randomBytes(6).toString('hex')}`;
}

/** What the names of this process's folders begin with. */
export function ownPrefix(): string {
  return `${PREFIX}-${process.pid}-`;
}

/** A folder that only this user enters by name. */
export function makeFolder(): string {
  return mkdtempSync(join(tmpdir(), ownPrefix()));
}

/** The name of an image. */
export function imageName(): string {
  return `${PREFIX}:${ownName()}`;
}

function isDead(name: string): boolean {
  const pid = Number(/^(\d+)-/.exec(name)?.[1]);
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return hasCode(error, 'ESRCH');
  }
}

/** Removes what comparisons have left whose processes were killed. */
export async function removeLeftovers({ images }: Home): Promise<void> {
  for (const name of readdirSync(tmpdir()).filter((each) => each.startsWith(`${PREFIX}-`))) {
    // Another user's stays.
    if (!isDead(name.slice(PREFIX.length + 1))) continue;
    try {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    } catch {}
  }
  for (const { name, tag } of await images.list()) {
    if (name === PREFIX && isDead(tag ?? '')) await images.remove(`${name}:${tag}`, { force: true }).catch(() => {});
  }
}
