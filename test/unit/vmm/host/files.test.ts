// The files that the owner of a machine sent: each is taken once, and what has been used is closed.
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GivenFiles } from '../../../../vmm/host/files.js';
import { fileName, listenerName } from '../../../../vmm/machine.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-files-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
const inodes = new Map<number, number>();
/** A descriptor of a new file. Another thread may get its number once it is closed. */
function opened(): number {
  const fd = openSync(join(folder, `${count++}`), 'w');
  inodes.set(fd, fstatSync(fd).ino);
  return fd;
}
function isOpen(fd: number): boolean {
  try {
    return fstatSync(fd).ino === inodes.get(fd);
  } catch {
    return false;
  }
}

const unasked = () => expect.unreachable();

test('after the boot only what the machine has taken stays open', () => {
  const files = new GivenFiles(unasked);
  const [kernel, disk, listener, taken] = [opened(), opened(), opened(), opened()];
  const names = [fileName('/k', true), fileName('/d', false), listenerName('/l'), listenerName('/t')];
  files.add(names, [kernel, disk, listener, taken]);
  const own = files.open('/k', 0);
  expect(files.take(listenerName('/t'))).toBe(taken);
  files.closeRest();
  expect([kernel, disk, listener, taken].map(isOpen)).toEqual([false, false, false, true]);
  for (const fd of [own, taken]) closeSync(fd);
});

test('a file that the owner did not send is an error that names it', () => {
  const files = new GivenFiles(unasked);
  expect(() => files.open('/etc/shadow', 0)).toThrow('the owner of the machine did not send: read /etc/shadow');
  expect(() => files.take('routes')).toThrow('the owner of the machine did not send: routes');
});

test('descriptors and names of different numbers are refused, and closed', () => {
  const fd = opened();
  expect(() => new GivenFiles(unasked).add(['one', 'two'], [fd])).toThrow('1 open files came for 2 names');
  expect(isOpen(fd)).toBe(false);
});
