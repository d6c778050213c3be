// The block device: requests, disks made of extents, rates, invalid requests and saved state.
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type BlkState,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
  VirtioBlk,
} from '../../../../../vmm/devices/blk/device.js';
import * as libc from '../../../../../vmm/host/libc.js';
import { type DiskExtent, type DiskRates, MachineError } from '../../../../../vmm/machine.js';
import {
  CONFIG_GENERATION,
  INTERRUPT_CONFIG_CHANGE,
  INTERRUPT_STATUS,
  STATUS,
} from '../../../../../vmm/virtio/mmio/registers.js';
import { type Piece, VirtioDriver } from '../../../../fixtures/virtio-driver.js';

const SECTOR = 512;
let folder: string;
let files = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-blk-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let at = 0; at < length; at++) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    bytes[at] = state >>> 16;
  }
  return bytes;
}

function file(contents: Buffer): string {
  const path = join(folder, `disk${files++}`);
  writeFileSync(path, contents);
  return path;
}

/** A block driver. It sends one request at a time, cut into pieces as the test specifies. */
class BlkDriver extends VirtioDriver {
  readonly #header = this.allocate(16);
  readonly #status = this.allocate(1, 1);
  readonly #data = this.allocate(1024 * 1024, 4096);
  readonly #table = this.allocate(4096);

  static open(extents: DiskExtent[], readOnly = false, options = {}): BlkDriver {
    return new BlkDriver(VirtioBlk.open({ id: 'layer', readOnly, extents }), options).start();
  }

  /** Returns the data area, cut at `cuts`. */
  #pieces(length: number, cuts: number[]): Piece[] {
    const edges = [0, ...cuts.filter((cut) => cut > 0 && cut < length).sort((a, b) => a - b), length];
    return edges.slice(1).map((end, index) => ({
      address: this.#data.address + edges[index]!,
      length: end - edges[index]!,
    }));
  }

  request(
    type: number,
    sector: number,
    {
      data,
      room = 0,
      cuts = [],
      indirect = false,
    }: { data?: Buffer; room?: number; cuts?: number[]; indirect?: boolean },
  ): { status: number; data: Buffer; used: number } {
    const header = this.bytes(this.#header);
    header.writeUInt32LE(type, 0);
    header.writeUInt32LE(0, 4);
    header.writeBigUInt64LE(BigInt(sector), 8);
    this.bytes(this.#status)[0] = 0xff;
    const readable: Piece[] = [this.#header];
    const writable: Piece[] = [];
    if (data !== undefined && data.length > 0) {
      this.bytes({ ...this.#data, length: data.length }).set(data);
      readable.push(...this.#pieces(data.length, cuts));
    }
    if (room > 0) writable.push(...this.#pieces(room, cuts));
    writable.push(this.#status);
    const queue = this.queueAt(0);
    queue.add(readable, writable, indirect ? this.#table : undefined);
    queue.kick();
    const used = queue.takeUsed();
    expect(used).toBeDefined();
    return {
      status: this.bytes(this.#status).readUInt8(),
      data: Buffer.from(this.bytes({ ...this.#data, length: room })),
      used: used!.length,
    };
  }
}

describe('blk', () => {
  test('a disk is its extents laid end to end, and a read may span several', () => {
    const a = file(pattern(8 * SECTOR, 1));
    const b = file(pattern(16 * SECTOR, 2));
    const extents = [
      { path: a, offset: 2 * SECTOR, length: 3 * SECTOR },
      { path: b, offset: 0, length: 5 * SECTOR },
      { path: a, offset: 0, length: SECTOR },
    ];
    const disk = Buffer.concat(extents.map((e) => readFileSync(e.path).subarray(e.offset, e.offset + e.length)));
    using driver = BlkDriver.open(extents, true);
    expect(Number(new DataView(driver.device.config.buffer).getBigUint64(0, true))).toBe(9);
    const { status, data, used } = driver.request(VIRTIO_BLK_T_IN, 0, { room: disk.length, cuts: [100, 1000, 2000] });
    expect(status).toBe(VIRTIO_BLK_S_OK);
    expect(data.equals(disk)).toBe(true);
    expect(used).toBe(disk.length + 1);
  });

  test('a read-only disk reports that it is and refuses writes without changing the file', () => {
    const contents = pattern(8 * SECTOR);
    const path = file(contents);
    using driver = BlkDriver.open([{ path, offset: 0, length: 8 * SECTOR }], true);
    expect(driver.device.features).toContain(VIRTIO_BLK_F_RO);
    for (const type of [VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES]) {
      expect(driver.request(type, 0, { data: Buffer.alloc(SECTOR) }).status).toBe(VIRTIO_BLK_S_IOERR);
    }
    expect(readFileSync(path).equals(contents)).toBe(true);
  });

  test.each([
    ['fails if the file cannot be flushed', undefined, VIRTIO_BLK_S_IOERR],
    ['does not reach the file of a volatile disk', true, VIRTIO_BLK_S_OK],
  ])('a flush %s', (_, volatile, status) => {
    // A character device takes writes, but fdatasync(2) refuses it.
    const extents = [{ path: '/dev/null', offset: 0, length: SECTOR }];
    const device = VirtioBlk.open({ id: 'layer', readOnly: false, ...(volatile && { volatile }), extents });
    using driver = new BlkDriver(device).start();
    expect(driver.request(VIRTIO_BLK_T_OUT, 0, { data: Buffer.alloc(SECTOR) }).status).toBe(VIRTIO_BLK_S_OK);
    expect(driver.request(VIRTIO_BLK_T_FLUSH, 0, {}).status).toBe(status);
  });

  test('get-id returns the serial number, padded with zeroes', () => {
    using driver = BlkDriver.open([{ path: file(pattern(SECTOR)), offset: 0, length: SECTOR }]);
    const { status, data } = driver.request(VIRTIO_BLK_T_GET_ID, 0, { room: 20 });
    expect(status).toBe(VIRTIO_BLK_S_OK);
    expect(data.toString('latin1')).toBe('layer'.padEnd(20, '\0'));
  });

  test('discarded and zeroed ranges read as zeroes, and their neighbours do not', () => {
    const path = file(pattern(64 * SECTOR));
    const model = readFileSync(path);
    using driver = BlkDriver.open([
      { path, offset: 0, length: 32 * SECTOR },
      { path, offset: 32 * SECTOR, length: 32 * SECTOR },
    ]);
    const range = (sector: number, count: number, flags: number): Buffer => {
      const bytes = Buffer.alloc(16);
      bytes.writeUInt32LE(sector, 0);
      bytes.writeUInt32LE(count, 8);
      bytes.writeUInt32LE(flags, 12);
      return bytes;
    };
    const zero = (sector: number, count: number) => model.fill(0, sector * SECTOR, (sector + count) * SECTOR);
    expect(driver.request(VIRTIO_BLK_T_DISCARD, 0, { data: range(8, 8, 0) }).status).toBe(VIRTIO_BLK_S_OK);
    zero(8, 8);
    const two = Buffer.concat([range(17, 2, 0), range(20, 1, 0)]);
    expect(driver.request(VIRTIO_BLK_T_DISCARD, 0, { data: two }).status).toBe(VIRTIO_BLK_S_OK);
    zero(17, 2);
    zero(20, 1);
    for (const [sector, count, flags] of [
      [31, 3, 0],
      [40, 8, 1],
    ] as const) {
      const data = range(sector, count, flags);
      expect(driver.request(VIRTIO_BLK_T_WRITE_ZEROES, 0, { data }).status).toBe(VIRTIO_BLK_S_OK);
      zero(sector, count);
    }
    expect(driver.request(VIRTIO_BLK_T_IN, 0, { room: model.length }).data.equals(model)).toBe(true);
    expect(readFileSync(path).length).toBe(model.length);
    const refused: [number, Buffer, number][] = [
      [VIRTIO_BLK_T_DISCARD, range(0, 1, 1), VIRTIO_BLK_S_UNSUPP],
      [VIRTIO_BLK_T_WRITE_ZEROES, range(0, 1, 2), VIRTIO_BLK_S_UNSUPP],
      [VIRTIO_BLK_T_WRITE_ZEROES, range(63, 2, 0), VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_WRITE_ZEROES, Buffer.concat([range(0, 1, 0), range(2, 1, 0)]), VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_DISCARD, Buffer.concat([range(0, 1, 0), range(63, 2, 0)]), VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_DISCARD, range(0, 1, 0).subarray(0, 15), VIRTIO_BLK_S_IOERR],
      [VIRTIO_BLK_T_DISCARD, Buffer.alloc(0), VIRTIO_BLK_S_IOERR],
    ];
    for (const [type, data, status] of refused) expect(driver.request(type, 0, { data }).status).toBe(status);
    expect(readFileSync(path).equals(model)).toBe(true);
  });

  test('zeroes are written if the file system cannot zero a range', () => {
    // A memfd is in tmpfs, which has holes but no FALLOC_FL_ZERO_RANGE.
    const fd = libc.memfd_create('disk', 0);
    const path = `/proc/self/fd/${fd}`;
    const model = pattern(300 * SECTOR);
    writeFileSync(path, model);
    using driver = BlkDriver.open([{ path, offset: 0, length: model.length }]);
    const range = Buffer.alloc(16);
    range.writeUInt32LE(3, 0);
    range.writeUInt32LE(290, 8);
    expect(driver.request(VIRTIO_BLK_T_WRITE_ZEROES, 0, { data: range }).status).toBe(VIRTIO_BLK_S_OK);
    expect(readFileSync(path).equals(model.fill(0, 3 * SECTOR, 293 * SECTOR))).toBe(true);
    libc.close(fd);
  });

  test('a request of more than 32 MiB, all in the same memory, is refused', () => {
    const path = file(Buffer.alloc(0));
    truncateSync(path, 64 * 1024 * 1024);
    using driver = BlkDriver.open([{ path, offset: 0, length: 64 * 1024 * 1024 }]);
    const [header, status, data] = [driver.allocate(16), driver.allocate(1), driver.allocate(1024 * 1024, 4096)];
    driver.queueAt(0).add([header], [...Array.from({ length: 33 }, () => data), status]);
    driver.queueAt(0).kick();
    expect(driver.queueAt(0).takeUsed()).toBeDefined();
    expect(driver.bytes(status)[0]).toBe(VIRTIO_BLK_S_IOERR);
  });

  test('a range beyond the disk or an unknown type is an error, and the next request works', () => {
    using driver = BlkDriver.open([{ path: file(pattern(8 * SECTOR)), offset: 0, length: 8 * SECTOR }]);
    expect(driver.request(VIRTIO_BLK_T_IN, 8, { room: SECTOR }).status).toBe(VIRTIO_BLK_S_IOERR);
    expect(driver.request(VIRTIO_BLK_T_IN, 7, { room: 2 * SECTOR }).status).toBe(VIRTIO_BLK_S_IOERR);
    expect(driver.request(VIRTIO_BLK_T_IN, 2 ** 52, { room: SECTOR }).status).toBe(VIRTIO_BLK_S_IOERR);
    expect(driver.request(VIRTIO_BLK_T_IN, 0, { room: SECTOR - 1 }).status).toBe(VIRTIO_BLK_S_IOERR);
    expect(driver.request(VIRTIO_BLK_T_OUT, 8, { data: pattern(SECTOR) }).status).toBe(VIRTIO_BLK_S_IOERR);
    expect(driver.request(77, 0, {}).status).toBe(VIRTIO_BLK_S_UNSUPP);
    expect(driver.request(VIRTIO_BLK_T_FLUSH, 0, {}).status).toBe(VIRTIO_BLK_S_OK);
    expect(driver.request(VIRTIO_BLK_T_IN, 7, { room: SECTOR }).status).toBe(VIRTIO_BLK_S_OK);
    expect(driver.failures).toEqual([]);
  });

  test('a file that shrinks under a running guest is an I/O error', () => {
    const path = file(pattern(8 * SECTOR));
    using driver = BlkDriver.open([{ path, offset: 0, length: 8 * SECTOR }]);
    truncateSync(path, 3 * SECTOR + 1);
    expect(driver.request(VIRTIO_BLK_T_IN, 0, { room: 3 * SECTOR }).status).toBe(VIRTIO_BLK_S_OK);
    expect(driver.request(VIRTIO_BLK_T_IN, 0, { room: 4 * SECTOR }).status).toBe(VIRTIO_BLK_S_IOERR);
  });

  test('a request without header or status breaks the device until a reset', () => {
    using driver = BlkDriver.open([{ path: file(pattern(SECTOR)), offset: 0, length: SECTOR }]);
    driver.queueAt(0).add([driver.allocate(15)], [driver.allocate(1)]);
    driver.queueAt(0).kick();
    expect(driver.failures).toEqual(['blk: a request has no header or no room for its status']);
    expect(driver.readRegister(STATUS) & 64).toBe(64);
    expect(driver.readRegister(INTERRUPT_STATUS)).toBe(2);
    driver.writeRegister(STATUS, 0);
    expect(driver.readRegister(STATUS)).toBe(0);
  });

  test('a missing, short or misaligned file causes one clear error', () => {
    const path = file(pattern(4 * SECTOR));
    const open = (extents: DiskExtent[]) => () => VirtioBlk.open({ id: 'x', readOnly: true, extents });
    const missing = join(folder, 'missing');
    expect(open([{ path: missing, offset: 0, length: SECTOR }])).toThrow(
      new MachineError('host', `cannot open disk file ${missing}: ENOENT`),
    );
    expect(open([{ path, offset: SECTOR, length: 4 * SECTOR }])).toThrow(
      new MachineError('host', `disk file ${path} has 2048 bytes, but its extent needs 2560`),
    );
    expect(open([{ path, offset: 1, length: SECTOR }])).toThrow(/does not consist of whole sectors/);
    expect(open([{ path, offset: 0, length: -SECTOR }])).toThrow(/does not consist of whole sectors/);
  });

  test('a disk without capacity gets one when it is restored, and its driver is told', () => {
    const path = file(pattern(8 * SECTOR));
    const open = (sectors: number) => () =>
      VirtioBlk.open({ id: 'layer', readOnly: false, extents: [{ path, offset: 0, length: sectors * SECTOR }] });
    using driver = BlkDriver.open([]);
    const capacity = () => Number(new DataView(driver.device.config.buffer).getBigUint64(0, true));
    const changes = () => driver.readRegister(CONFIG_GENERATION);
    expect(capacity()).toBe(0);
    expect(driver.request(VIRTIO_BLK_T_IN, 0, { room: SECTOR }).status).toBe(VIRTIO_BLK_S_IOERR);
    const before = changes();
    driver.replaceDevice(open(8));
    expect(capacity()).toBe(8);
    expect(changes()).toBe(before + 1);
    expect(driver.readRegister(INTERRUPT_STATUS) & INTERRUPT_CONFIG_CHANGE).not.toBe(0);
    driver.replaceDevice(open(8));
    expect(changes()).toBe(before + 1);
    expect(() => driver.replaceDevice(open(4))).toThrow(/blk\.device\.sectors is not the disk's 4 sectors, or 0/);
  });

  test('a restored device continues where the saved one stopped', () => {
    const path = file(pattern(8 * SECTOR));
    const extents = [{ path, offset: 0, length: 8 * SECTOR }];
    using driver = BlkDriver.open(extents);
    const written = pattern(SECTOR, 9);
    driver.request(VIRTIO_BLK_T_OUT, 1, { data: written });
    driver.transport.write(0x100 + 32, new Uint8Array([0]));
    driver.replaceDevice(() => VirtioBlk.open({ id: 'layer', readOnly: false, extents }));
    expect(driver.device.features).toContain(VIRTIO_BLK_F_CONFIG_WCE);
    expect(driver.device.config[32]).toBe(0);
    expect(driver.request(VIRTIO_BLK_T_IN, 1, { room: SECTOR, indirect: true }).data.equals(written)).toBe(true);
    expect(driver.readRegister(STATUS) & 64).toBe(0);
  });

  describe('with rates', () => {
    const extents = () => [{ path: file(pattern(64 * SECTOR)), offset: 0, length: 64 * SECTOR }];
    const open = (rates: DiskRates, disk = extents(), options = {}) =>
      new VirtioDriver(VirtioBlk.open({ id: 'x', readOnly: false, extents: disk, rates }), options).start();
    /** Makes a request for `sectors` sectors available. Returns the buffer of its status. */
    const add = (driver: VirtioDriver, sectors: number, type = VIRTIO_BLK_T_IN): Piece => {
      const [header, status] = [driver.allocate(16), driver.allocate(1)];
      driver.bytes(header).writeUInt32LE(type, 0);
      driver.bytes(status)[0] = 0xff;
      driver.queueAt(0).add([header], sectors === 0 ? [status] : [driver.allocate(sectors * SECTOR), status]);
      return status;
    };
    const servedOf = (driver: VirtioDriver, statuses: Piece[]) =>
      statuses.filter((status) => driver.bytes(status)[0] === VIRTIO_BLK_S_OK).length;

    test.each([true, false])('requests wait until earlier ones are paid off (event index %s)', (eventIndex) => {
      // The rate is a hundred of these requests per second: ten pass at once, one incurs the debt,
      // and each of the others waits 10 ms.
      using driver = open({ readBytes: 6400 * SECTOR }, extents(), { eventIndex });
      const statuses = Array.from({ length: 20 }, () => add(driver, 64));
      driver.queueAt(0).kick();
      expect(servedOf(driver, statuses)).toBeLessThan(20);
      // While requests wait, the driver is not asked to kick, and the event loop is idle.
      statuses.push(add(driver, 64));
      expect(driver.queueAt(0).kick()).toBe(false);
      let turns = 0;
      for (; servedOf(driver, statuses) < 21; turns++) driver.loop.poll(-1);
      expect(turns).toBeLessThan(60);
      for (let count = 0; count < 21; count++) expect(driver.queueAt(0).takeUsed()).toBeDefined();
      statuses.push(add(driver, 1));
      expect(driver.queueAt(0).kick()).toBe(true);
      while (servedOf(driver, statuses) < 22) driver.loop.poll(-1);
    });

    test('a request without a rate passes at once unless it is behind a waiting one', () => {
      using driver = open({ readOperations: 1 });
      const statuses = [
        VIRTIO_BLK_T_FLUSH,
        VIRTIO_BLK_T_IN,
        VIRTIO_BLK_T_FLUSH,
        VIRTIO_BLK_T_IN,
        VIRTIO_BLK_T_FLUSH,
      ].map((type) => add(driver, type === VIRTIO_BLK_T_IN ? 1 : 0, type));
      driver.queueAt(0).kick();
      expect(statuses.map((status) => driver.bytes(status)[0])).toEqual([0, 0, 0, 0xff, 0xff]);
    });

    test('a flush counts as a write', () => {
      using driver = open({ writeOperations: 1 });
      const statuses = [0, 0, 0].map(() => add(driver, 0, VIRTIO_BLK_T_FLUSH));
      driver.queueAt(0).kick();
      expect(statuses.map((status) => driver.bytes(status)[0])).toEqual([0, 0xff, 0xff]);
    });

    test('a restored device takes over the debt and the waiting requests', () => {
      const disk = extents();
      const rates = { readOperations: 10 };
      using driver = open(rates, disk);
      const statuses = [1, 1, 1].map((sectors) => add(driver, sectors));
      driver.queueAt(0).kick();
      expect(servedOf(driver, statuses)).toBe(2);
      const state = driver.replaceDevice(() => VirtioBlk.open({ id: 'x', readOnly: false, extents: disk, rates }));
      expect((state.device as BlkState).rates?.readOperations).toBeLessThan(0);
      while (servedOf(driver, statuses) < 3) driver.loop.poll(-1);
    });

    test('a reset drops the waiting requests', () => {
      using driver = open({ readOperations: 100 });
      for (let count = 0; count < 20; count++) add(driver, 1);
      driver.queueAt(0).kick();
      driver.writeRegister(STATUS, 0);
      expect(driver.loop.poll(50)).toBe(0);
    });
  });

  test('random requests have the same effect as on a buffer', () => {
    const sectors = 48;
    const operation = fc.record({
      write: fc.boolean(),
      sector: fc.nat({ max: sectors + 2 }),
      length: fc.nat({ max: 20 * SECTOR }).map((n) => (n % 7 === 0 ? n : n - (n % SECTOR))),
      cuts: fc.array(fc.nat({ max: 20 * SECTOR }), { maxLength: 12 }),
      indirect: fc.boolean(),
      seed: fc.nat(),
    });
    const lengths = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 20 }), lengths, fc.boolean(), (operations, cutAt, eventIndex) => {
        const model = pattern(sectors * SECTOR);
        const path = file(model);
        const extents: DiskExtent[] = [];
        for (let at = 0, turn = 0; at < sectors; turn++) {
          const count = Math.min(cutAt[turn % cutAt.length]!, sectors - at);
          extents.push({ path, offset: at * SECTOR, length: count * SECTOR });
          at += count;
        }
        using driver = BlkDriver.open(extents, false, { eventIndex });
        for (const { write, sector, length, cuts, indirect, seed } of operations) {
          const start = sector * SECTOR;
          const fits = length % SECTOR === 0 && start + length <= model.length;
          const expected = fits ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
          if (write) {
            const data = pattern(length, seed);
            expect(driver.request(VIRTIO_BLK_T_OUT, sector, { data, cuts, indirect }).status).toBe(expected);
            if (fits) data.copy(model, start);
          } else {
            const read = driver.request(VIRTIO_BLK_T_IN, sector, { room: length, cuts, indirect });
            expect(read.status).toBe(expected);
            if (fits) expect(read.data.equals(model.subarray(start, start + length))).toBe(true);
          }
        }
        expect(readFileSync(path).equals(model)).toBe(true);
        rmSync(path);
      }),
      { numRuns: 60 },
    );
  });

  test('random bytes as requests never access anything beyond guest memory or the disk', () => {
    const path = join(folder, 'hostile');
    const outside = pattern(4 * SECTOR, 5);
    const fd = openSync(path, 'w+');
    writeSync(fd, outside, 0, outside.length, 0);
    writeSync(fd, outside, 0, outside.length, 12 * SECTOR);
    closeSync(fd);
    const piece = fc.record({ address: fc.nat({ max: 0x20000 }), length: fc.nat({ max: 5000 }) });
    const header = fc.record({
      type: fc.nat({ max: 16 }),
      sector: fc.oneof(fc.nat({ max: 12 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
    });
    const request = fc.tuple(header, fc.array(piece, { maxLength: 4 }), fc.array(piece, { maxLength: 4 }));
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 8 }), (requests) => {
        using driver = BlkDriver.open([{ path, offset: 4 * SECTOR, length: 8 * SECTOR }], false, {
          memorySize: 2 * 1024 * 1024,
        });
        for (const [{ type, sector }, readable, writable] of requests) {
          const at = driver.allocate(16);
          driver.bytes(at).writeUInt32LE(type, 0);
          driver.bytes(at).writeBigUInt64LE(BigInt(sector), 8);
          const offset = ({ address, length }: Piece) => ({ address: address + 0x8000, length });
          driver.queueAt(0).add([at, ...readable.map(offset)], writable.map(offset));
          driver.queueAt(0).kick();
        }
        const after = readFileSync(path);
        expect(after.subarray(0, outside.length).equals(outside)).toBe(true);
        expect(after.subarray(12 * SECTOR).equals(outside)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});
