// The block device (virtio 1.2, 5.2 "Block Device") over extents of host files. A request is served
// in the device thread, synchronously, between the files and guest memory without a copy: most
// reads are hits in the host's page cache, where a system call is cheaper than handing the request
// to another thread. Cold random reads of a slow disk, and flushes, stop the other devices for as
// long as they take. io_uring would help there.
//
// On a disk with rates, a request that must wait stays in the queue until a timer fires, and so do
// those behind it.

import { type HostFiles, OWN_FILES } from '../../host/files.js';
import type { DiskRates, DiskSpec } from '../../machine.js';
import { type Check, FieldError, integer, nullable, record } from '../../saved-state.js';
import type { DeviceContext, VirtioDevice } from '../../virtio/device.js';
import { DescriptorChain, type Virtqueue } from '../../virtio/queue.js';
import { drain } from '../drain.js';
import { Hold } from '../hold.js';
import { Disk, SECTOR_SIZE } from './disk.js';
import { checkRateLimitState, RateLimit, type RateLimitState } from './rate-limit.js';

const VIRTIO_ID_BLOCK = 2;

// Feature bits (virtio 1.2, 5.2.3).
const VIRTIO_BLK_F_SIZE_MAX = 1;
const VIRTIO_BLK_F_SEG_MAX = 2;
export const VIRTIO_BLK_F_RO = 5;
const VIRTIO_BLK_F_BLK_SIZE = 6;
const VIRTIO_BLK_F_FLUSH = 9;
const VIRTIO_BLK_F_TOPOLOGY = 10;
export const VIRTIO_BLK_F_CONFIG_WCE = 11;
const VIRTIO_BLK_F_DISCARD = 13;
const VIRTIO_BLK_F_WRITE_ZEROES = 14;

// Request types (virtio 1.2, 5.2.6).
export const VIRTIO_BLK_T_IN = 0;
export const VIRTIO_BLK_T_OUT = 1;
export const VIRTIO_BLK_T_FLUSH = 4;
export const VIRTIO_BLK_T_GET_ID = 8;
export const VIRTIO_BLK_T_DISCARD = 11;
export const VIRTIO_BLK_T_WRITE_ZEROES = 13;

export const VIRTIO_BLK_S_OK = 0;
export const VIRTIO_BLK_S_IOERR = 1;
export const VIRTIO_BLK_S_UNSUPP = 2;

/** `struct virtio_blk_req` up to its data: le32 type, le32 reserved, le64 sector. */
const HEADER_SIZE = 16;
/** `struct virtio_blk_discard_write_zeroes`: le64 sector, le32 num_sectors, le32 flags. */
const RANGE_SIZE = 16;
const RANGE_F_UNMAP = 1;
const ID_SIZE = 20;

const QUEUE_SIZE = 256;
/** Data buffers of a request: the queue's length less header and status. */
const SEG_MAX = QUEUE_SIZE - 2;
/**
 * Bytes of a data buffer. Together with SEG_MAX it limits a request, which is served in one turn,
 * to 32 MiB.
 */
const SIZE_MAX = 128 * 1024;
const MAX_REQUEST = SEG_MAX * SIZE_MAX;
const MAX_DISCARD_RANGES = 16;
const MAX_WRITE_ZEROES_RANGES = 1;
/** In sectors: 2 GiB in a range to discard; 32 MiB to fill with zeroes, which may need writing. */
const MAX_DISCARD_SECTORS = 2 ** 22;
const MAX_WRITE_ZEROES_SECTORS = 2 ** 16;

/** Offset of `writeback` in the configuration space. */
const CONFIG_WRITEBACK = 32;

function configSpace(sectors: number): Uint8Array {
  const config = new Uint8Array(60);
  const view = new DataView(config.buffer);
  view.setUint32(0, sectors % 2 ** 32, true); // capacity
  view.setUint32(4, Math.floor(sectors / 2 ** 32), true);
  view.setUint32(8, SIZE_MAX, true); // size_max
  view.setUint32(12, SEG_MAX, true); // seg_max
  view.setUint32(20, SECTOR_SIZE, true); // blk_size
  view.setUint8(24, 3); // topology.physical_block_exp: 4 KiB
  view.setUint16(26, 1, true); // topology.min_io_size, in blocks
  view.setUint8(CONFIG_WRITEBACK, 1);
  view.setUint16(34, 1, true); // num_queues
  view.setUint32(36, MAX_DISCARD_SECTORS, true);
  view.setUint32(40, MAX_DISCARD_RANGES, true); // max_discard_seg
  view.setUint32(44, 8, true); // discard_sector_alignment
  view.setUint32(48, MAX_WRITE_ZEROES_SECTORS, true);
  view.setUint32(52, MAX_WRITE_ZEROES_RANGES, true); // max_write_zeroes_seg
  view.setUint8(56, 1); // write_zeroes_may_unmap
  return config;
}

export interface BlkState {
  /** `writeback` of the configuration space: 0 or 1. */
  writeback: number;
  /** Capacity. */
  sectors: number;
  /** null: the disk has no rates. */
  rates: RateLimitState | null;
}

/** A disk without capacity can be plugged in. Any other has the capacity that it was saved with. */
function capacityFrom(own: number): Check<number> {
  return (value) => {
    if (value === 0 || value === own) return value;
    throw new FieldError(`the disk's ${own} sectors, or 0`);
  };
}

export class VirtioBlk implements VirtioDevice<BlkState> {
  readonly type = VIRTIO_ID_BLOCK;
  readonly name = 'blk';
  readonly features: readonly number[];
  readonly queueSizes = [QUEUE_SIZE];
  readonly checkState: Check<BlkState>;
  readonly config: Uint8Array;
  readonly #disk: Disk;
  readonly #id = new Uint8Array(ID_SIZE);
  readonly #header = new Uint8Array(HEADER_SIZE);
  readonly #headerView = new DataView(this.#header.buffer);
  readonly #ranges = new Uint8Array(MAX_DISCARD_RANGES * RANGE_SIZE);
  readonly #rangesView = new DataView(this.#ranges.buffer);
  readonly #status = new Uint8Array(1);
  readonly #serve = (chain: DescriptorChain, queue: Virtqueue) => this.#serveRequest(chain, queue);
  readonly #again = () => this.kick(0);
  readonly #rates: RateLimit | undefined;
  readonly #hold = new Hold();
  #context: DeviceContext | undefined;
  #chain: DescriptorChain | undefined;

  /** Takes ownership of `disk`. @param id the answer to GET_ID, cut after 20 bytes */
  constructor(disk: Disk, id: string, rates?: DiskRates) {
    this.#disk = disk;
    this.#rates = rates && new RateLimit(rates);
    this.#id.set(Buffer.from(id).subarray(0, ID_SIZE));
    this.config = configSpace(this.#sectors);
    this.checkState = record<BlkState>({
      writeback: integer(0, 1),
      sectors: capacityFrom(this.#sectors),
      rates: nullable(checkRateLimitState),
    });
    const common = [VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_TOPOLOGY];
    const writable = [VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES];
    this.features = disk.readOnly ? [...common, VIRTIO_BLK_F_RO] : [...common, ...writable];
  }

  /**
   * Opens the disk's files and creates their device.
   * @throws MachineError as {@link Disk.open}
   */
  static open(spec: DiskSpec, files: HostFiles = OWN_FILES): VirtioBlk {
    return new VirtioBlk(Disk.open(spec, files), spec.id, spec.rates);
  }

  get #sectors(): number {
    return this.#disk.length / SECTOR_SIZE;
  }

  /** The driver chooses between write-back and write-through (virtio 1.2, 5.2.5.2). */
  writeConfig(offset: number, data: Uint8Array): void {
    if (offset !== CONFIG_WRITEBACK || data.length !== 1) return;
    if (this.#context?.hasFeature(VIRTIO_BLK_F_CONFIG_WCE)) this.config[CONFIG_WRITEBACK] = data[0] === 0 ? 0 : 1;
  }

  activate(context: DeviceContext): void {
    this.#context = context;
    this.#chain = new DescriptorChain(context.memory, QUEUE_SIZE);
    this.#hold.start(context.loop, this.#again);
  }

  kick(index: number): void {
    if (this.#context === undefined || this.#chain === undefined || this.#hold.isHeld) return;
    drain(this.#context, index, this.#chain, this.#serve, this.#again);
  }

  #serveRequest(chain: DescriptorChain, queue: Virtqueue): number {
    const { readable, writable } = chain;
    // virtio 1.2, 5.2.6: the status is the last byte the device writes. Without room for it the
    // device cannot answer.
    const room = writable.length - 1;
    if (room < 0 || readable.read(0, this.#header) !== HEADER_SIZE) {
      this.#context?.fail('a request has no header or no room for its status');
      return 0;
    }
    const type = this.#headerView.getUint32(0, true);
    const sector = this.#headerView.getUint32(8, true) + this.#headerView.getUint32(12, true) * 2 ** 32;
    const delay = this.#rates === undefined ? 0 : this.#admit(this.#rates, chain, type, room);
    if (delay > 0) return this.#hold.back(queue, delay);
    let written = 0;
    let status: number;
    switch (type) {
      case VIRTIO_BLK_T_IN:
        status = this.#readSectors(chain, sector, room);
        if (status === VIRTIO_BLK_S_OK) written = room;
        break;
      case VIRTIO_BLK_T_OUT:
        status = this.#writeSectors(chain, sector);
        break;
      case VIRTIO_BLK_T_FLUSH:
        status = this.#disk.readOnly || this.#disk.flush() ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
        break;
      case VIRTIO_BLK_T_GET_ID:
        written = writable.write(0, this.#id, Math.min(ID_SIZE, room));
        status = VIRTIO_BLK_S_OK;
        break;
      case VIRTIO_BLK_T_DISCARD:
      case VIRTIO_BLK_T_WRITE_ZEROES:
        status = this.#serveRanges(chain, type);
        break;
      default:
        status = VIRTIO_BLK_S_UNSUPP;
    }
    this.#status[0] = status;
    writable.write(room, this.#status);
    // The status lies behind all the room for data: used length covers it only if the data does.
    queue.push(chain.head, written === room ? written + 1 : written);
    return readable.length + writable.length;
  }

  /** Returns the milliseconds that a request must wait; 0: its cost was taken from the rates. */
  #admit(rates: RateLimit, { readable }: DescriptorChain, type: number, room: number): number {
    switch (type) {
      case VIRTIO_BLK_T_IN:
        return rates.admit(false, Math.min(room, MAX_REQUEST));
      case VIRTIO_BLK_T_OUT:
        return rates.admit(true, Math.min(readable.length - HEADER_SIZE, MAX_REQUEST));
      case VIRTIO_BLK_T_FLUSH:
      case VIRTIO_BLK_T_DISCARD:
        return rates.admit(true, 0);
      case VIRTIO_BLK_T_WRITE_ZEROES: {
        const hasRange = readable.read(HEADER_SIZE, this.#ranges) >= RANGE_SIZE;
        const sectors = hasRange ? Math.min(this.#rangesView.getUint32(8, true), MAX_WRITE_ZEROES_SECTORS) : 0;
        return rates.admit(true, sectors * SECTOR_SIZE);
      }
      default:
        return 0;
    }
  }

  /** Returns true if the range consists of whole sectors of the disk. */
  #isOnDisk(sector: number, length: number): boolean {
    return length % SECTOR_SIZE === 0 && sector * SECTOR_SIZE + length <= this.#disk.length;
  }

  #readSectors(chain: DescriptorChain, sector: number, length: number): number {
    if (length > MAX_REQUEST || !this.#isOnDisk(sector, length)) return VIRTIO_BLK_S_IOERR;
    return this.#disk.read(sector * SECTOR_SIZE, length, chain.writable, 0) ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
  }

  #writeSectors(chain: DescriptorChain, sector: number): number {
    const length = chain.readable.length - HEADER_SIZE;
    if (this.#disk.readOnly || length > MAX_REQUEST || !this.#isOnDisk(sector, length)) return VIRTIO_BLK_S_IOERR;
    const done = this.#disk.write(sector * SECTOR_SIZE, length, chain.readable, HEADER_SIZE);
    return done && this.#afterWrite() ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
  }

  /** Write-through: a write is durable before it is answered. */
  #afterWrite(): boolean {
    const writeBack = this.#context?.hasFeature(VIRTIO_BLK_F_FLUSH) && this.config[CONFIG_WRITEBACK] === 1;
    return writeBack || this.#disk.flush();
  }

  /**
   * Discard and write-zeroes: every range is checked before the first is touched (virtio 1.2,
   * 5.2.6.2).
   */
  #serveRanges(chain: DescriptorChain, type: number): number {
    if (this.#disk.readOnly) return VIRTIO_BLK_S_IOERR;
    const discard = type === VIRTIO_BLK_T_DISCARD;
    if (!this.#context?.hasFeature(discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES)) {
      return VIRTIO_BLK_S_UNSUPP;
    }
    const length = chain.readable.length - HEADER_SIZE;
    const most = (discard ? MAX_DISCARD_RANGES : MAX_WRITE_ZEROES_RANGES) * RANGE_SIZE;
    if (length === 0 || length % RANGE_SIZE !== 0 || length > most) return VIRTIO_BLK_S_IOERR;
    chain.readable.read(HEADER_SIZE, this.#ranges);
    const limit = discard ? MAX_DISCARD_SECTORS : MAX_WRITE_ZEROES_SECTORS;
    for (let at = 0; at < length; at += RANGE_SIZE) {
      const flags = this.#rangesView.getUint32(at + 12, true);
      if ((flags & ~RANGE_F_UNMAP) !== 0 || (discard && flags !== 0)) return VIRTIO_BLK_S_UNSUPP;
      const count = this.#rangesView.getUint32(at + 8, true);
      if (count > limit || !this.#isOnDisk(this.#rangeSector(at), count * SECTOR_SIZE)) return VIRTIO_BLK_S_IOERR;
    }
    for (let at = 0; at < length; at += RANGE_SIZE) {
      const offset = this.#rangeSector(at) * SECTOR_SIZE;
      const size = this.#rangesView.getUint32(at + 8, true) * SECTOR_SIZE;
      const unmap = (this.#rangesView.getUint32(at + 12, true) & RANGE_F_UNMAP) !== 0;
      const done = discard ? this.#disk.discard(offset, size) : this.#disk.writeZeroes(offset, size, unmap);
      if (!done) return VIRTIO_BLK_S_IOERR;
    }
    return this.#afterWrite() ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
  }

  #rangeSector(at: number): number {
    return this.#rangesView.getUint32(at, true) + this.#rangesView.getUint32(at + 4, true) * 2 ** 32;
  }

  reset(): void {
    this.#context = undefined;
    this.#chain = undefined;
    this.#hold[Symbol.dispose]();
    this.config[CONFIG_WRITEBACK] = 1;
  }

  save(): BlkState {
    const writeback = this.config[CONFIG_WRITEBACK]!;
    return { writeback, sectors: this.#sectors, rates: this.#rates?.save() ?? null };
  }

  restore({ writeback, sectors, rates }: BlkState): void {
    this.config[CONFIG_WRITEBACK] = writeback;
    if (rates !== null) this.#rates?.restore(rates);
    // virtio 1.2, 5.2.6: the driver reads the capacity again.
    if (sectors !== this.#sectors) this.#context?.configChanged();
    // The kicks for chains that the driver added during the save are lost.
    this.kick(0);
  }

  [Symbol.dispose](): void {
    this.#hold[Symbol.dispose]();
    this.#disk[Symbol.dispose]();
  }
}
