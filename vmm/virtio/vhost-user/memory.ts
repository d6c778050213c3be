// Guest memory that a vhost-user front-end shares: the regions of its memory table, mapped into
// this process.
import * as libc from '../../host/libc.js';
import { GuestMemory, type MemoryRegion, PAGE_SIZE } from '../../host/memory.js';
import { MAX_REGIONS, type Message, REGION_SIZE, readU64, VhostUserError } from './messages.js';

/** Bounds of a region's length and addresses: far above any guest's, far below 2^53. */
const MAX_LENGTH = 2 ** 40;
const MAX_ADDRESS = 2 ** 48;

interface SharedRegion extends MemoryRegion {
  /**
   * The region's address in the front-end's process. Ring addresses are given in this address
   * space.
   */
  userAddress: number;
  /** The region's file. */
  fd: number;
}

export class SharedMemory extends GuestMemory implements Disposable {
  readonly #regions: readonly SharedRegion[];

  private constructor(regions: readonly SharedRegion[]) {
    super(regions);
    this.#regions = regions;
  }

  /**
   * Maps the regions of a SET_MEM_TABLE message, which has passed `checkMessage`, and takes their
   * descriptors. A front-end that truncates a file later crashes its own machine.
   * @throws VhostUserError for an invalid table
   */
  static map(message: Message): SharedMemory {
    const { payload } = message;
    const count = payload.getUint32(0, true);
    if (count === 0 || count > MAX_REGIONS)
      throw new VhostUserError(`the memory table has ${count} regions instead of 1 to ${MAX_REGIONS}`);
    const regions: SharedRegion[] = [];
    try {
      for (const [index, fd] of message.fds.entries()) {
        regions.push(mapRegion(payload, 8 + index * REGION_SIZE, fd));
      }
      message.fds = [];
      return new SharedMemory(regions);
    } catch (error) {
      unmap(regions);
      throw error;
    }
  }

  /**
   * Translates the front-end address of `length` bytes to a guest address. Returns undefined unless
   * all of the bytes are shared.
   */
  guestAddressOf(userAddress: number, length: number): number | undefined {
    for (const region of this.#regions) {
      const offset = userAddress - region.userAddress;
      if (offset >= 0 && offset + length <= region.length) return region.guestAddress + offset;
    }
    return undefined;
  }

  /** Host memory that the files of the regions occupy, in bytes. */
  get resident(): number {
    const statuses = this.#regions.map(({ fd }) => libc.fileStatus(fd));
    const files = new Map(statuses.map(({ inode, occupied }) => [inode, occupied]));
    return [...files.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Unmaps the memory. No view of it may be used afterwards. */
  [Symbol.dispose](): void {
    unmap(this.#regions);
    for (const { fd } of this.#regions) libc.close(fd);
  }
}

function mapRegion(payload: DataView, at: number, fd: number): SharedRegion {
  const guestAddress = readU64(payload, at);
  const length = readU64(payload, at + 8);
  const userAddress = readU64(payload, at + 16);
  const offset = readU64(payload, at + 24);
  if (length === 0 || length > MAX_LENGTH || Math.max(guestAddress, userAddress, offset) > MAX_ADDRESS) {
    throw new VhostUserError('the length or an address of a memory region is out of range');
  }
  if (offset % PAGE_SIZE !== 0)
    throw new VhostUserError('a memory region does not start at a page boundary of its file');
  if (libc.fileStatus(fd).size < offset + length) {
    throw new VhostUserError('a memory region ends beyond its file');
  }
  const flags = libc.MAP_SHARED | libc.MAP_NORESERVE;
  const hostAddress = libc.mmap(null, length, libc.PROT_READ | libc.PROT_WRITE, flags, fd, offset);
  if (hostAddress < 0) {
    throw new VhostUserError('cannot map a memory region', {
      cause: new libc.SystemError('mmap', libc.errno()),
    });
  }
  return { guestAddress, length, userAddress, hostAddress, fd };
}

function unmap(regions: readonly SharedRegion[]): void {
  for (const { hostAddress, length } of regions) libc.munmap(hostAddress, length);
}
