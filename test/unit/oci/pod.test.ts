// Proves that a container finds the machine of its network namespace, and no other one's.
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readCreate } from '../../../oci/config/create.js';
import { announce, findPod, joinedNamespaces, Pod, withdraw } from '../../../oci/keeper/pod.js';

let root: string;
let server: Server;
let socket: string;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'tsvm-pod-'));
  socket = join(root, '.socket');
  server = createServer();
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  for (const id of ['pod', 'new', 'other']) mkdirSync(join(root, id));
  symlinkSync(socket, join(root, 'pod/keeper'));
  announce(join(root, 'pod'), process.pid);
});
afterEach(() => {
  server.close();
  rmSync(root, { recursive: true });
});

const find = (network: string | undefined) => findPod(join(root, 'new'), network);

test('a container finds the keeper whose first container is in its network namespace', async () => {
  expect(await find(`/proc/${process.pid}/ns/net`)).toBe(socket);
  // By the namespace, and not by its path.
  expect(await find('/proc/thread-self/ns/net')).toBe(socket);
});

test('a new namespace, another one and one that is missing have no machine', async () => {
  expect(await find(undefined)).toBeUndefined();
  expect(await find(`/proc/${process.pid}/ns/ipc`)).toBeUndefined();
  expect(await find('/proc/0/ns/net')).toBeUndefined();
});

test('a keeper that is gone is passed over', async () => {
  await new Promise((resolve) => server.close(resolve));
  expect(await find('/proc/self/ns/net')).toBeUndefined();
  // A socket that a killed one has left.
  writeFileSync(socket, '');
  expect(await find('/proc/self/ns/net')).toBeUndefined();
  unlinkSync(socket);
});

test('a machine that has ended is passed over: its number may be that of a new namespace', async () => {
  for (const _ of ['once', 'again']) withdraw(join(root, 'pod'));
  expect(await find('/proc/self/ns/net')).toBeUndefined();
});

test.each(['mnt', 'pid'])('a machine in another %s namespace is refused: paths and numbers differ', async (type) => {
  const { dev, ino } = statSync('/proc/self/ns/net', { bigint: true });
  const own = ['mnt', 'pid'].map((each) => (each === type ? `${each}:[1]` : readlinkSync(`/proc/self/ns/${each}`)));
  writeFileSync(join(root, 'pod/network'), `${dev}:${ino} ${own.join(' ')}`);
  await expect(find('/proc/self/ns/net')).rejects.toThrow('in another mount or pid namespace');
});

test('each start of a container tells why the machine cannot boot, until it can', async () => {
  using pod = new Pod({ accel: 'uml', memory: 2 ** 30, largestLimit: 2 ** 30 }, 'tsvm', 2 ** 20);
  await pod.machine.listen(join(root, 'agent'));
  expect(() => pod.boot()).toThrow('the container is not created');
  pod.keepNamespaces(process.pid);
  let network = 'five interfaces';
  const booted: string[] = [];
  pod.onBoot = (path) => {
    if (network !== 'one interface') throw new Error(network);
    booted.push(readlinkSync(path));
  };
  for (const _ of ['first', 'second']) expect(() => pod.boot()).toThrow('five interfaces');
  network = 'one interface';
  pod.boot();
  expect(booted).toEqual([readlinkSync('/proc/self/ns/net')]);
});

test("a container joins the first one's namespaces, and no other's", () => {
  const { pid } = process;
  const open = (type: string) => openSync(`/proc/${pid}/ns/${type}`, 'r');
  const first = { ipc: open('ipc'), uts: open('uts') };
  expect(joinedNamespaces({}, undefined)).toEqual(['ipc', 'uts']);
  expect(joinedNamespaces({}, first)).toEqual([]);
  expect(joinedNamespaces({ uts: `/proc/${pid}/ns/uts` }, first)).toEqual(['uts']);
  const message = "joining another container's ipc namespace is not supported";
  for (const given of [undefined, first]) {
    expect(() => joinedNamespaces({ ipc: `/proc/${pid}/ns/uts` }, given)).toThrow(message);
  }
  for (const fd of Object.values(first)) closeSync(fd);
});

test("the first one has those that an engine keeps by files, and never the host's", () => {
  const path = join(root, 'kept');
  writeFileSync(path, '');
  using pod = new Pod({ accel: 'uml', memory: 2 ** 30, largestLimit: 2 ** 30 }, 'tsvm', 2 ** 20);
  pod.keepNamespaces(process.pid, { ipc: path });
  expect(joinedNamespaces({ ipc: path }, pod.namespaces)).toEqual(['ipc']);
  expect(() => joinedNamespaces({ uts: path }, pod.namespaces)).toThrow("joining another container's uts");
  const host = join(root, 'host');
  symlinkSync('/proc/self/ns/uts', host);
  expect(() => joinedNamespaces({ uts: host }, undefined)).toThrow("the host's uts namespace is not supported");
});

test('the request to join has all that it needs', () => {
  const request = { id: 'a', bundle: '/b', state: '/s', console: false, systemd: true, pid: 7 };
  expect(readCreate(JSON.stringify(request))).toEqual(request);
  for (const more of [
    { id: '' },
    { bundle: 'b' },
    { state: undefined },
    { console: 'no' },
    { systemd: 1 },
    { pid: 0 },
  ]) {
    expect(() => readCreate(JSON.stringify({ ...request, ...more }))).toThrow();
  }
});
