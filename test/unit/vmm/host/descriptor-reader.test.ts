// Proves that open files which one process passes arrive in another in their order.
import { closeSync, fstatSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { O_PATH } from '../../../../libc/openat2.js';
import { MAX_DESCRIPTORS, passDescriptors } from '../../../../libc/pass-descriptors.js';
import { DescriptorReader } from '../../../../vmm/host/descriptor-reader.js';
import * as libc from '../../../../vmm/host/libc.js';

let folder: string;
let reader: DescriptorReader;
let ours: number;
let theirs: number;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  [ours, theirs] = libc.createSocketPair();
  reader = new DescriptorReader(theirs, 4096);
});

afterEach(() => {
  reader[Symbol.dispose]();
  for (const fd of [ours, theirs]) closeSync(fd);
  rmSync(folder, { recursive: true });
});

const open = (): number => readdirSync('/proc/self/fd').length;

function text(count: number): string {
  return Buffer.from(reader.data.buffer, reader.data.byteOffset, count).toString();
}

test('as many as one message takes, between ordinary bytes', () => {
  const paths = Array.from({ length: MAX_DESCRIPTORS }, (_, index) => join(folder, String(index)));
  for (const path of paths) writeFileSync(path, '');
  const before = open();
  const sent = paths.map((path) => openSync(path, O_PATH));
  libc.write(ours, Buffer.from('before\n'), 7);
  passDescriptors(ours, sent, Buffer.from('files\n'));
  libc.write(ours, Buffer.from('after\n'), 6);
  const inodes = sent.map((fd) => fstatSync(fd).ino);
  for (const fd of sent) closeSync(fd);
  let received = '';
  while (received.length < 19) received += text(reader.receive(0, 4096));
  expect(received).toBe('before\nfiles\nafter\n');
  const taken = reader.take();
  expect(taken.map((fd) => fstatSync(fd).ino)).toEqual(inodes);
  expect(reader.take()).toEqual([]);
  for (const fd of taken) closeSync(fd);
  expect(open()).toBe(before);
});

test('those that are not taken are closed', () => {
  const before = open();
  const fd = openSync(folder, O_PATH);
  for (let message = 0; message < 3; message++) passDescriptors(ours, [fd, fd], Buffer.from('x'));
  closeSync(fd);
  while (reader.descriptors < 6) expect(reader.receive(0, 4096)).toBeGreaterThan(0);
  expect(open()).toBe(before + 6);
  reader[Symbol.dispose]();
  expect(open()).toBe(before);
  reader = new DescriptorReader(theirs, 1);
});

test('an empty socket and a closed one are told apart', () => {
  expect(reader.receive(0, 16)).toBe(-libc.EAGAIN);
  libc.shutdown(ours, libc.SHUT_WR);
  expect(reader.receive(0, 16)).toBe(0);
});

test('a peer that is gone or does not read is an error', () => {
  const fd = openSync(folder, O_PATH);
  expect(() => {
    for (;;) passDescriptors(ours, [fd], Buffer.alloc(4096));
  }).toThrow('sendmsg: EAGAIN');
  libc.shutdown(theirs, 0);
  closeSync(fd);
});
