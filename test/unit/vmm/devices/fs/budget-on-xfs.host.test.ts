// The budget of a share on XFS, which takes more blocks than a write needs and gives them back later.
// The file system is in a file, and mounted in a namespace that ends with its process.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/** Mounts it, says so, and holds the namespace until its stdin ends. */
const MOUNT = 'mount -o loop "$1" "$2" && echo mounted && read -r _';

const folder = mkdtempSync(join(tmpdir(), 'tsvm-xfs-'));
const image = join(folder, 'image');
execFileSync('truncate', ['-s', '1G', image]);
execFileSync('/usr/sbin/mkfs.xfs', ['-q', image]);
const args = ['-m', '--propagation', 'private', 'sh', '-c', MOUNT, 'sh', image, '/mnt'];
const holder = spawn('unshare', args, { stdio: ['pipe', 'pipe', 'inherit'] });
const ended = once(holder, 'exit');
await Promise.race([once(holder.stdout, 'data'), ended]);

const before = process.env.TMPDIR;
process.env.TMPDIR = `/proc/${holder.pid}/root/mnt`;

afterAll(async () => {
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  holder.stdin.end();
  await ended;
  rmSync(folder, { recursive: true });
});

// Its tests are this file's too.
await import('./budget.test.js');
