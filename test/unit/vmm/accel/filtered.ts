// A process in the place of a machine process: it takes the filter of system calls, and then makes V8, the
// devices and their rare branches work. filtered.host.test.ts runs it. Arguments: what works, and a folder.
// It prints one line, `done`, and exits with 0. The filter ends it at a call that is not on its list.
import { chmodSync, constants as fs, mkdirSync, openSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { O_PATH } from '../../../../libc/openat2.js';
import { compile, type FilteredMachine, processProfile, vcpuProfile } from '../../../../vmm/accel/system-calls.js';
import { VirtioBalloon } from '../../../../vmm/devices/balloon.js';
import {
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
  VirtioBlk,
} from '../../../../vmm/devices/blk/device.js';
import { VirtioFs } from '../../../../vmm/devices/fs/device.js';
import * as fuse from '../../../../vmm/devices/fs/fuse.js';
import { VirtioNet } from '../../../../vmm/devices/net/device.js';
import { IsolatedBackEnd } from '../../../../vmm/devices/net/isolated.js';
import { parseMac } from '../../../../vmm/devices/net/mac-address.js';
import { VirtioRng } from '../../../../vmm/devices/rng.js';
import { EventLoop } from '../../../../vmm/host/event-loop.js';
import { type HostFiles, OWN_FILES } from '../../../../vmm/host/files.js';
import { EMPTY_PATH, FIRST_FREE, fixedArguments, SLOT_PATH } from '../../../../vmm/host/fixed-arguments.js';
import { firstKept } from '../../../../vmm/host/kept-descriptors.js';
import * as libc from '../../../../vmm/host/libc.js';
import { createLogger } from '../../../../vmm/host/log.js';
import { filterProcess, filterThread, placeFilter } from '../../../../vmm/host/seccomp.js';
import { Timer } from '../../../../vmm/host/timer.js';
import { openRouteSocket } from '../../../../vmm/outside/route-socket.js';
import { harden } from '../../../../vmm/process/harden.js';
import { STATUS } from '../../../../vmm/virtio/mmio/registers.js';
import { GATEWAY, GUEST, udp } from '../../../fixtures/frames.js';
import { args, FuseGuest } from '../../../fixtures/fuse-guest.js';
import { enterAsOwn } from '../../../fixtures/own-network.js';
import { UnixPeer } from '../../../fixtures/unix-peer.js';
import { type Piece, VirtioDriver } from '../../../fixtures/virtio-driver.js';
import { OP, RCV, SEND, VsockGuest } from '../../../fixtures/vsock-guest.js';
import { networkSpec } from '../devices/net/relay/relay-peer.js';

const STDOUT = 1;
const STDERR = 2;
const MIB = 2 ** 20;
const PAGE = 4096;
const SECTOR = 512;
const SYS_MPROTECT = 10;

const PLAIN: FilteredMachine = {
  ...{ hasShares: false, slot: -1, firstKept: firstKept(), hasNetwork: false, hasBudget: false, hasRelay: false },
  ...{ canSwitchUser: false, isEmulated: true },
};

/** Prints a line without Node.js's streams, which look at what they write to. */
function say(text: string): void {
  const line = Buffer.from(`${text}\n`);
  libc.write(STDOUT, line, line.length);
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

function equal(found: unknown, expected: unknown, what: string): void {
  check(found === expected, `${what}: ${found}, and not ${expected}`);
}

/** Makes V8 take and give back memory, compile, and make errors with their stacks. */
function strain(): void {
  for (let round = 0; round < 4; round++) {
    const held: unknown[] = [];
    for (let index = 0; index < 200_000; index++)
      held.push({ index, text: `object ${index}`, pair: [index, index / 3] });
    check(held.length > 0, 'no objects');
  }
  let bytes = Buffer.alloc(1);
  for (let size = 1; size <= 64 * MIB; size *= 4) bytes = Buffer.concat([bytes, Buffer.alloc(size)]);
  check(JSON.stringify(Array.from({ length: 300_000 }, (_, at) => at)).length > MIB, 'a short text');
  for (let index = 0; index < 300; index++) {
    check(new RegExp(`^(a${index}|b)+[\\d${index}]*$`).test(`a${index}b${index}`), 'a pattern does not match');
    equal(
      new Function('x', `let sum = 0; for (let i = 0; i < 100; i++) sum += x * ${index}; return sum;`)(1),
      index * 100,
      'sum',
    );
  }
  const deep = (depth: number): number => deep(depth + 1) + 1;
  for (const fault of [
    () => deep(0),
    () => JSON.parse('{'),
    () => BigInt('x'),
    () => (undefined as never as { a: { b: 1 } }).a.b,
  ]) {
    try {
      fault();
      throw new Error('no fault');
    } catch (error) {
      check(error instanceof Error && error.stack?.includes('at ') === true, 'an error without a stack');
    }
  }
  check('\u0130'.toLowerCase().length > 0 && 'a'.localeCompare('b') < 0 && 'x'.normalize('NFD') === 'x', 'letters');
}

/** A thread in the place of a vCPU's, with its filter. */
function runThread({ shared, filter }: ThreadData): void {
  become(shared, READY);
  Atomics.wait(shared, 0, READY);
  filterThread(filter);
  strain();
  for (let turn = 0; turn < 20; turn++) Atomics.wait(shared, 1, 0, 20);
  become(shared, DONE);
  for (;;) Atomics.wait(shared, 0, DONE);
}

const [STARTING, READY, GO, DONE] = [0, 1, 2, 3];

interface ThreadData {
  /** The thread's state, and a word that does not change. */
  shared: Int32Array;
  /** Address of its filter. */
  filter: number;
}

function become(shared: Int32Array, state: number): void {
  Atomics.store(shared, 0, state);
  Atomics.notify(shared, 0);
}

/** Takes the filter of this machine. */
function confine(machine: Partial<FilteredMachine>): void {
  filterProcess(placeFilter(compile(processProfile({ ...PLAIN, ...machine }, 'kill'))));
}

class Disk extends VirtioDriver {
  readonly #header = this.allocate(16);
  readonly #status = this.allocate(1, 1);
  readonly #data = this.allocate(MIB, 4096);

  /** Returns the status. */
  request(type: number, sector: number, data = Buffer.alloc(0), room = 0): number {
    const header = this.bytes(this.#header);
    header.writeUInt32LE(type, 0);
    header.writeBigUInt64LE(BigInt(sector), 8);
    this.bytes(this.#status)[0] = 0xff;
    this.bytes({ ...this.#data, length: data.length }).set(data);
    const readable: Piece[] = [this.#header, ...(data.length > 0 ? [{ ...this.#data, length: data.length }] : [])];
    const writable: Piece[] = [...(room > 0 ? [{ ...this.#data, length: room }] : []), this.#status];
    this.queueAt(0).add(readable, writable);
    this.queueAt(0).kick();
    while (this.queueAt(0).takeUsed() === undefined) this.loop.poll(100);
    return this.bytes(this.#status).readUInt8();
  }

  range(type: number, sector: number, sectors: number, flags = 0): number {
    const segment = Buffer.alloc(16);
    segment.writeBigUInt64LE(BigInt(sector), 0);
    segment.writeUInt32LE(sectors, 8);
    segment.writeUInt32LE(flags, 12);
    return this.request(type, 0, segment);
  }

  read(sector: number, length: number): Buffer {
    equal(this.request(VIRTIO_BLK_T_IN, sector, undefined, length), VIRTIO_BLK_S_OK, 'read');
    return Buffer.from(this.bytes({ ...this.#data, length }));
  }

  /** The driver lets go of the device and takes it again, as on unbind and bind. */
  rebind(): void {
    this.writeRegister(STATUS, 0);
    this.queues.length = 0;
    this.start();
  }
}

function disk(path: string, sectors: number): Disk {
  const extents = [{ path, offset: 0, length: sectors * SECTOR }];
  return new Disk(VirtioBlk.open({ id: 'disk', readOnly: false, extents })).start();
}

/** Every kind of request of a share, twice: the guest's driver lets go of the device in between. */
function shares(folder: string, canSwitchUser: boolean): () => void {
  const path = join(folder, 'share');
  mkdirSync(path);
  chmodSync(path, 0o777);
  const countFd = openSync(join(folder, 'count'), fs.O_RDWR | fs.O_CREAT);
  truncateSync(join(folder, 'count'), 4096);
  const opened = [
    { path, readOnly: false, fd: openSync(path, O_PATH) },
    { path, readOnly: false, fd: openSync(path, O_PATH), countFd, budget: { bytes: 64 * MIB, inodes: 1000 } },
  ];
  const guest = new FuseGuest(VirtioFs.open(opened)).start() as FuseGuest;
  return () => {
    confine({ hasShares: true, slot: fixedArguments().slot, hasBudget: true, canSwitchUser });
    for (let round = 0; round < 2; round++) {
      guest.init();
      for (const share of [0, 1]) useFiles(guest, guest.share(share), canSwitchUser ? 4711 : 0);
      guest.writeRegister(STATUS, 0);
      guest.queues.length = 0;
      guest.start();
    }
    check(guest.failures.length === 0, guest.failures.join());
  };
}

function useFiles(guest: FuseGuest, root: number, user: number): void {
  guest.uid = user;
  guest.gid = user;
  const { entry, handle } = guest.create(root, 'file', fs.O_RDWR, 0o666, 0o022);
  equal(entry.mode & 0o777, 0o644, 'mode');
  if (user !== 0) equal(entry.uid, user, 'user');
  equal(guest.write(handle, 0, Buffer.alloc(100_000, 1)), 100_000, 'written');
  equal(guest.read(handle, 50_000, 100_000).length, 50_000, 'read');
  guest.call(fuse.FUSE_FALLOCATE, entry.node, args(BigInt(handle), 0n, 200_000n, 0, 0));
  guest.call(fuse.FUSE_FSYNC, entry.node, args(BigInt(handle), 0, 0));
  guest.call(fuse.FUSE_FSYNC, entry.node, args(BigInt(handle), 1, 0));
  guest.request(fuse.FUSE_FLUSH, entry.node, args(BigInt(handle), 0, 0, 0n));
  guest.call(fuse.FUSE_LSEEK, entry.node, args(BigInt(handle), 0n, fs.O_RDONLY + 3, 0));
  const other = guest.create(root, 'other', fs.O_RDWR);
  const copy = args(BigInt(handle), 0n, BigInt(other.entry.node), BigInt(other.handle), 0n, 50_000n, 0n);
  check(guest.call(fuse.FUSE_COPY_FILE_RANGE, entry.node, copy).length > 0, 'no copy');
  guest.setattr(entry.node, { size: 10 });
  guest.setattr(entry.node, { size: 20 }, handle);
  guest.setattr(entry.node, { mode: 0o600, atime: 1, mtime: 2 });
  if (user !== 0) guest.setattr(entry.node, { uid: user, gid: user });
  guest.setxattr(entry.node, 'user.name', 'value');
  equal(guest.getxattr(entry.node, 'user.name').toString(), 'value', 'extended attribute');
  check(guest.listxattr(entry.node).includes('user.name'), 'no extended attribute');
  guest.call(fuse.FUSE_REMOVEXATTR, entry.node, args('user.name'));
  const directory = guest.mkdir(root, 'directory');
  guest.link(entry.node, directory.node, 'link');
  equal(guest.readlink(guest.symlink(root, 'symlink', '/etc/passwd').node), '/etc/passwd', 'link');
  guest.mknod(root, 'pipe', 0o010644);
  guest.rename(root, 'other', directory.node, 'moved');
  check(guest.list(root, { plus: true }).length >= 4 && guest.list(directory.node).length === 2, 'names are missing');
  guest.call(fuse.FUSE_STATFS, root);
  const unnamed = guest.createUnnamed(root, fs.O_RDWR);
  guest.write(unnamed.handle, 0, Buffer.from('text'));
  guest.link(unnamed.entry.node, root, 'named');
  guest.write(other.handle, 0, Buffer.from('a file that is deleted, and open'));
  guest.unlink(directory.node, 'moved');
  equal(guest.read(other.handle, 0, 6).toString(), 'a file', 'bytes of a deleted file');
  guest.call(fuse.FUSE_FSYNCDIR, directory.node, args(BigInt(guest.opendir(directory.node)), 0, 0));
  guest.request(fuse.FUSE_SYNCFS, root, args(0n));
  for (const wrong of ['missing', '..', 'file/x'])
    check(guest.request(fuse.FUSE_LOOKUP, root, args(wrong)).error > 0, wrong);
  for (const open of [handle, other.handle, unnamed.handle]) guest.release(open);
  equal(guest.read(guest.open(guest.lookup(root, 'named').node, fs.O_RDONLY), 0, 100).toString(), 'text', 'text');
  guest.unlink(directory.node, 'link');
  for (const name of ['file', 'symlink', 'pipe', 'named']) guest.unlink(root, name);
  guest.rmdir(root, 'directory');
}

/** Each prepares, and returns what works under the filter. */
const SCENES: Record<string, (folder: string) => () => void> = {
  /** The engine, its threads, signals that stop the process, and a reader of its log that is gone. */
  runtime() {
    const shared = new Int32Array(new SharedArrayBuffer(8));
    const filter = placeFilter(compile(vcpuProfile('kill')));
    new Worker(new URL(import.meta.url), { workerData: { shared, filter } });
    Atomics.wait(shared, 0, STARTING);
    const loop = new EventLoop();
    const log = createLogger('debug');
    return () => {
      confine({ isEmulated: false });
      become(shared, GO);
      say('stop me');
      let turns = 0;
      const timer = new Timer(loop, () => {
        turns++;
        timer.set(20);
      });
      timer.set(20);
      while (turns < 60) loop.poll(-1);
      strain();
      log.error({ err: new Error('a fault', { cause: new RangeError('its cause') }) }, 'failed');
      check(libc.write(STDERR, Buffer.from('x'), 1) < 0, 'somebody reads');
      equal(libc.errno(), libc.EPIPE, 'error of a pipe without a reader');
      while (Atomics.load(shared, 0) !== DONE) Atomics.wait(shared, 0, GO, 100);
    };
  },

  /** A disk on a file system that can neither punch holes nor zero ranges, and one that is full. */
  disk(folder) {
    writeFileSync(join(folder, 'disk'), Buffer.alloc(64 * SECTOR, 0xaa));
    const driver = disk(join(folder, 'disk'), 64);
    return () => {
      const zeroes = Buffer.alloc(8 * SECTOR);
      confine({});
      equal(driver.range(VIRTIO_BLK_T_DISCARD, 0, 8), VIRTIO_BLK_S_OK, 'discard');
      equal(driver.range(VIRTIO_BLK_T_WRITE_ZEROES, 8, 8), VIRTIO_BLK_S_OK, 'zeroes');
      equal(driver.range(VIRTIO_BLK_T_WRITE_ZEROES, 16, 8, 1), VIRTIO_BLK_S_OK, 'zeroes without blocks');
      check(driver.read(8, 8 * SECTOR).equals(zeroes) && driver.read(16, 8 * SECTOR).equals(zeroes), 'other bytes');
      equal(driver.request(VIRTIO_BLK_T_OUT, 1, Buffer.alloc(SECTOR, 1)), VIRTIO_BLK_S_OK, 'write');
      equal(driver.request(VIRTIO_BLK_T_FLUSH, 0), VIRTIO_BLK_S_OK, 'flush');
      driver.rebind();
      equal(driver.read(1, SECTOR)[0], 1, 'a byte after the driver came back');
    };
  },

  /** Disks on a file system that is full, and of a file that somebody has cut. */
  full(folder) {
    for (const name of ['full', 'cut']) {
      writeFileSync(join(folder, name), '');
      truncateSync(join(folder, name), MIB);
    }
    const [full, cut] = [disk(join(folder, 'full'), MIB / SECTOR), disk(join(folder, 'cut'), MIB / SECTOR)];
    truncateSync(join(folder, 'cut'), 0);
    return () => {
      confine({});
      const statuses = [0, 512, 1024].map((sector) => full.request(VIRTIO_BLK_T_OUT, sector, Buffer.alloc(MIB / 4, 1)));
      check(statuses.includes(VIRTIO_BLK_S_IOERR), 'the file system is not full');
      equal(full.range(VIRTIO_BLK_T_WRITE_ZEROES, 1024, 1024), VIRTIO_BLK_S_IOERR, 'zeroes');
      equal(full.range(VIRTIO_BLK_T_DISCARD, 0, 2048), VIRTIO_BLK_S_OK, 'discard');
      equal(cut.request(VIRTIO_BLK_T_IN, 0, undefined, SECTOR), VIRTIO_BLK_S_IOERR, 'read');
    };
  },

  /** Each operation on files, as the user of the process and with a bound. */
  files: (folder) => shares(folder, false),

  /** Likewise with the capabilities of root's file server, which makes files of other users. */
  'files of users': (folder) => shares(folder, true),

  /** Connections both ways, with ends, resets and peers that are gone. */
  vsock(folder) {
    const path = join(folder, 'v');
    const prepared = Array.from({ length: 3 }, () => libc.createSocketPair());
    const ends = prepared.map(([end]) => new UnixPeer(end));
    for (const pair of prepared) for (const fd of pair) libc.setNonBlocking(fd);
    const files: HostFiles = {
      ...OWN_FILES,
      connect: (_path, _port, done) => done(prepared.pop()?.[1] ?? -libc.ECONNREFUSED),
    };
    const guest = new VsockGuest(path, { files });
    const callers = [UnixPeer.connect(path), UnixPeer.connect(path), UnixPeer.connect(path)];
    return () => {
      confine({});
      const streams = [1, 2, 3, 4].map((port) => guest.connect(7, port));
      guest.settle();
      equal(streams.map(({ state }) => state).join(), 'open,open,open,reset', 'states');
      for (const stream of streams.slice(0, 3)) guest.write(stream, Buffer.alloc(10_000, 1));
      guest.settle();
      // Of the first two, one end is gone before what the guest writes; the last is left to the reset.
      ends[2]![Symbol.dispose]();
      ends[1]!.end();
      guest.settle();
      for (const stream of streams.slice(0, 3)) guest.write(stream, Buffer.alloc(200_000, 2));
      guest.settle();
      guest.send(streams[1]!, OP.shutdown, SEND | RCV);
      guest.settle();
      for (const [index, line] of ['CONNECT 1000\n', 'CONNECT x\n', 'CONN'].entries())
        callers[index]!.write(Buffer.from(line));
      guest.settle();
      check(guest.streams.size > 4, 'no connection from the host');
      for (let round = 0; round < 2; round++) {
        guest.writeRegister(STATUS, 0);
        guest.queues.length = 0;
        guest.start();
      }
    };
  },

  /** Members of a private network come and go, and the guest enters another and leaves both. */
  members(folder) {
    const [lan, late] = ['lan', 'late'].map((name) => ({ name, folder: join(folder, name), names: ['us'] }));
    for (const { folder: each } of [lan!, late!]) mkdirSync(each);
    const before = enterAsOwn({ ...lan!, names: ['before'] }, '198.19.1.2');
    const ours = new Map([lan!, late!].map((network) => [network.folder, enterAsOwn(network, '198.19.1.1')]));
    const after = [lan!, late!].map((network) => enterAsOwn({ ...network, names: ['after'] }, '198.19.1.3'));
    const loop = new EventLoop();
    const device = new VirtioNet({
      spec: {
        ...networkSpec({ kind: 'relay', ports: [], reachHost: false }),
        addresses: ['198.19.1.1'],
        peers: [lan!],
      },
      backEnd: new IsolatedBackEnd(parseMac(GATEWAY.mac)),
      loop,
      routeSocket: openRouteSocket,
      networks: { enter: ({ folder: each }) => ours.get(each)!, leave() {} },
      onRefusal() {},
    });
    const driver = new VirtioDriver(device, { memorySize: 32 * MIB, loop }).start();
    const send = (number: number) => {
      const frame = udp({ source: '198.19.1.1', sourceMac: GUEST.mac, destination: `198.19.1.${number}` });
      const piece = driver.allocate(12 + frame.length, 1);
      driver.bytes(piece).set(frame, 12);
      driver.queueAt(1).add([piece], []);
      driver.queueAt(1).kick();
      while (driver.queueAt(1).takeUsed() !== undefined);
    };
    return () => {
      confine({ hasNetwork: true });
      device.join(late!);
      for (let turn = 0; turn < 10; turn++) loop.poll(10);
      const peer = libc.accept4(before.listener, null, null, libc.SOCK_NONBLOCK);
      const bytes = Buffer.alloc(65_536);
      equal(libc.read(peer, bytes, bytes.length) > 0, true, 'greeting');
      // More than the peer has room for waits, until it reads.
      for (let count = 0; count < 40_000; count++) send(2);
      let frames = 0;
      for (let turn = 0; turn < 100; turn++) {
        while (libc.read(peer, bytes, bytes.length) > 0) frames++;
        loop.poll(0);
      }
      check(frames > 0, 'no frame arrived');
      libc.close(peer);
      send(2);
      for (const fd of after[1]!.links.values()) libc.close(fd);
      send(3);
      for (let turn = 0; turn < 10; turn++) loop.poll(10);
      driver.writeRegister(STATUS, 0);
      driver.queues.length = 0;
      driver.start();
      device.leave(late!.folder);
      device.leave(lan!.folder);
      for (let turn = 0; turn < 10; turn++) loop.poll(10);
    };
  },

  /** An address without memory. */
  fault: () => () => {
    harden();
    confine({});
    new Uint8Array(libc.viewMemory(PAGE, 1))[0] = 1;
  },

  /** More than V8 may have. */
  memory: () => () => {
    harden();
    confine({});
    for (const held: unknown[] = []; ; ) held.push(new Array(100_000).fill(0));
  },

  /** What no machine process does. */
  control: () => () => {
    confine({});
    libc.fcntl(STDOUT, libc.F_SETFL, 0);
  },

  /** What the file server passes by address stays what it is. */
  'fixed arguments': () => () => {
    const { slot } = fixedArguments();
    const size = FIRST_FREE - EMPTY_PATH;
    const memory = Buffer.from(libc.viewMemory(EMPTY_PATH, size));
    const before = Buffer.from(memory);
    const random = openSync('/dev/urandom', fs.O_RDONLY);
    confine({ hasShares: true, slot });
    const mprotect = (prot: number) => libc.syscall(SYS_MPROTECT, EMPTY_PATH, size, prot, 0, 0, 0);
    check(mprotect(libc.PROT_READ | libc.PROT_WRITE) < 0, 'the memory is writable');
    check(libc.read(random, EMPTY_PATH, size) < 0, 'the kernel writes to the memory');
    for (let advice = 0; advice < 32; advice++) libc.madvise(EMPTY_PATH, size, advice);
    check(memory.equals(before), 'the memory has changed');
    equal(memory.toString('latin1', SLOT_PATH - EMPTY_PATH).split('\0')[0], `/proc/self/fd/${slot}`, 'path');
  },

  /** A balloon's pages, random bytes, and devices that a guest has broken and resets. */
  balloon() {
    const balloon = new VirtioDriver(new VirtioBalloon()).start();
    const rng = new VirtioDriver(new VirtioRng()).start();
    return () => {
      confine({});
      for (let round = 0; round < 3; round++) {
        const pages = balloon.allocate(8 * 4096, 4096);
        balloon.bytes(pages).fill(0xaa);
        for (const queue of [0, 1]) {
          const numbers = balloon.allocate(4);
          balloon.bytes(numbers).writeUInt32LE(pages.address / 4096);
          balloon.queueAt(queue).add([numbers], []);
          balloon.queueAt(queue).kick();
        }
        balloon.queueAt(2).add([], [pages]);
        balloon.queueAt(2).kick();
        check(
          balloon.bytes(pages).every((byte) => byte === 0),
          'the pages are still there',
        );
        const bytes = rng.allocate(64);
        rng.queueAt(0).add([], [bytes]);
        rng.queueAt(0).kick();
        check(
          rng.bytes(bytes).some((byte) => byte !== 0),
          'no random bytes',
        );
        for (const driver of [balloon, rng]) {
          const failures = driver.failures.length;
          driver.queueAt(0).makeAvailable(60_000);
          driver.queueAt(0).kick();
          check(driver.failures.length > failures, 'the device takes a chain that is none');
          driver.writeRegister(STATUS, 0);
          driver.queues.length = 0;
          driver.start();
        }
      }
    };
  },
};

const [, , scene = '', folder = ''] = process.argv;
if (isMainThread) {
  try {
    SCENES[scene]!(folder)();
    say('done');
    libc._exit(0);
  } catch (error) {
    say(`${error instanceof Error ? error.stack : error}`);
    libc._exit(1);
  }
} else {
  runThread(workerData);
}
