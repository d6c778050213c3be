// The FUSE server: reads a request from a descriptor chain and writes the reply into it. The guest
// sees a directory of the shares, `0`, `1`, ... Where the host's file system changes, the guest's
// does too (FUSE_SUBMOUNTS). A request is copied out of guest memory before it is examined; only
// the data of reads and writes is transferred in place.
import { constants } from 'node:os';
import { type LaterShare, MachineError, type ShareSpec } from '../../machine.js';
import type { Check } from '../../saved-state.js';
import type { DescriptorChain } from '../../virtio/queue.js';
import * as attributes from './attributes.js';
import { Budget } from './budget.js';
import { copyFileRange } from './copy.js';
import * as directories from './directories.js';
import * as files from './files.js';
import * as fuse from './fuse.js';
import { Handles } from './handles.js';
import {
  Host,
  MAX_REPLY,
  MAX_REQUEST,
  PAYLOAD,
  REPLY,
  REQUEST,
  S_IFDIR,
  S_IFREG,
  SCRATCH,
  STATX_DEV_MAJOR,
  STATX_DEV_MINOR,
} from './host.js';
import type { Share } from './inode.js';
import { Inodes } from './inodes.js';
import * as namespace from './namespace.js';
import type { Owner } from './owner.js';
import { Session } from './session.js';
import { type FuseState, fuseState, MAX_HANDLES, MAX_INODES } from './state.js';

const { E2BIG, EINVAL, EIO, ENOENT, ENOSYS, ENOTTY, EPROTO } = constants.errno;

const SYS_PRLIMIT64 = 302;
const RLIMIT_NOFILE = 7;
/** Descriptors reserved for the rest of the machine. */
const RESERVED_DESCRIPTORS = 256;

/** Bytes of the guest's memory for each file that is remembered, and the least number of files. */
const MEMORY_PER_INODE = 8192;
const LEAST_INODES = 2 ** 16;

const PAGE = 4096;
/** The most pages of a read or write: Linux's own limit. */
const MAX_PAGES = 256;
const MAX_WRITE = MAX_PAGES * PAGE;
const MAX_BACKGROUND = 64;

/** Features that the server enables if the guest's kernel has them. */
const WANTED =
  fuse.FUSE_ASYNC_READ |
  fuse.FUSE_ATOMIC_O_TRUNC |
  fuse.FUSE_BIG_WRITES |
  fuse.FUSE_DONT_MASK |
  fuse.FUSE_AUTO_INVAL_DATA |
  fuse.FUSE_DO_READDIRPLUS |
  fuse.FUSE_READDIRPLUS_AUTO |
  fuse.FUSE_ASYNC_DIO |
  fuse.FUSE_PARALLEL_DIROPS |
  fuse.FUSE_POSIX_ACL |
  fuse.FUSE_MAX_PAGES |
  fuse.FUSE_CACHE_SYMLINKS |
  fuse.FUSE_SUBMOUNTS |
  fuse.FUSE_HANDLE_KILLPRIV_V2 |
  fuse.FUSE_SETXATTR_EXT;
/** Features without which shares do not work: the guest's kernel is too old. */
const NEEDED = fuse.FUSE_MAX_PAGES | fuse.FUSE_DONT_MASK;

const NO_REPLY = 1;

interface Operation {
  /** The least bytes of arguments. */
  least: number;
  /** Returns the bytes of the reply's payload, or the negative errno. */
  serve(session: Session, node: number, server: FuseServer, chain: DescriptorChain): number;
  flags?: number;
}

const OPERATIONS: (Operation | undefined)[] = [];

function on(opcode: number, least: number, serve: Operation['serve'], flags = 0): void {
  OPERATIONS[opcode] = { least, serve, flags };
}

on(fuse.FUSE_LOOKUP, 2, (session, node, server) =>
  node === fuse.FUSE_ROOT_ID ? server.lookupShare() : namespace.lookup(session, node),
);
on(fuse.FUSE_GETATTR, 16, (session, node, server) =>
  node === fuse.FUSE_ROOT_ID ? server.rootAttributes() : attributes.getattr(session, node),
);
on(fuse.FUSE_SETATTR, 88, attributes.setattr);
on(fuse.FUSE_READLINK, 0, namespace.readlink);
on(fuse.FUSE_SYMLINK, 4, namespace.symlink);
on(fuse.FUSE_MKNOD, 18, namespace.mknod);
on(fuse.FUSE_MKDIR, 10, namespace.mkdir);
on(fuse.FUSE_UNLINK, 2, namespace.unlink);
on(fuse.FUSE_RMDIR, 2, namespace.rmdir);
on(fuse.FUSE_RENAME, 12, namespace.rename);
on(fuse.FUSE_RENAME2, 20, namespace.rename2);
on(fuse.FUSE_LINK, 10, namespace.link);
on(fuse.FUSE_OPEN, 8, files.open);
on(fuse.FUSE_READ, 40, (session, _node, _server, chain) => files.read(session, chain));
on(fuse.FUSE_WRITE, 40, (session, _node, _server, chain) => files.write(session, chain));
on(fuse.FUSE_STATFS, 0, attributes.statfs);
on(fuse.FUSE_RELEASE, 24, (session) => files.release(session, session.u64(0)));
on(fuse.FUSE_FSYNC, 16, files.fsync);
on(fuse.FUSE_SETXATTR, 18, attributes.setxattr);
on(fuse.FUSE_GETXATTR, 10, attributes.getxattr);
on(fuse.FUSE_LISTXATTR, 8, attributes.listxattr);
on(fuse.FUSE_REMOVEXATTR, 2, attributes.removexattr);
on(fuse.FUSE_INIT, 16, (_session, _node, server) => server.init());
on(fuse.FUSE_OPENDIR, 8, directories.opendir);
on(fuse.FUSE_READDIR, 40, (session, _node, server, { writable }) =>
  directories.readdir(session, server.entries, false, writable.length),
);
on(fuse.FUSE_READDIRPLUS, 40, (session, _node, server, { writable }) =>
  directories.readdir(session, server.entries, true, writable.length),
);
on(fuse.FUSE_RELEASEDIR, 24, directories.releasedir);
on(fuse.FUSE_FSYNCDIR, 16, directories.fsyncdir);
on(fuse.FUSE_CREATE, 18, files.create);
on(fuse.FUSE_DESTROY, 0, (_session, _node, server) => server.clear());
on(fuse.FUSE_FALLOCATE, 32, files.fallocate);
on(fuse.FUSE_LSEEK, 24, files.lseek);
on(fuse.FUSE_COPY_FILE_RANGE, 56, copyFileRange);
on(fuse.FUSE_SYNCFS, 8, attributes.syncfs);
on(fuse.FUSE_TMPFILE, 18, files.createUnnamed);
on(fuse.FUSE_IOCTL, 0, () => -ENOTTY);
on(fuse.FUSE_FORGET, 8, namespace.forget, NO_REPLY);
on(fuse.FUSE_BATCH_FORGET, 8, namespace.batchForget, NO_REPLY);
// Each request is answered before the next is read, so there is never one to interrupt.
on(fuse.FUSE_INTERRUPT, 8, () => 0, NO_REPLY);

/** A share that is open. */
export interface OpenShare extends ShareSpec {
  /** The folder or file, opened with O_PATH. */
  fd: number;
  /** The file with the count of the budget, for reading and writing. Present if there is one. */
  countFd?: number;
}

export interface FuseOptions {
  /**
   * Owner of the files. By default, users are the same as on the host if this process may create
   * files as any user.
   */
  owner?: Owner;
  /**
   * The most files remembered, descriptors for them, and open files. By default as many as the
   * guest's memory and the host allow.
   */
  limits?: { inodes: number; descriptors: number; handles: number };
  /** Bytes of the guest's memory, for the default of `limits`. */
  memory?: number;
}

/** Serves shares, and owns their descriptors. */
export class FuseServer implements Disposable {
  readonly entries = new directories.DirectoryEntries();
  readonly #host: Host;
  readonly #session: Session;
  readonly #header: Uint8Array;
  readonly #arguments: Uint8Array;
  readonly #writeArguments: Uint8Array;
  readonly #reply: Uint8Array;
  readonly #owner: Owner | undefined;
  readonly #shares: Share[] = [];
  #hasMore = false;
  /** The protocol's minor version; 0 before FUSE_INIT. */
  #minor = 0;

  /**
   * Takes ownership of the shares' descriptors.
   * @throws MachineError `host` for a share that is neither a folder nor a file
   */
  constructor(opened: readonly OpenShare[], { owner, limits, memory = 0 }: FuseOptions = {}) {
    const host = new Host();
    this.#host = host;
    this.#header = host.bytes.subarray(REQUEST, REQUEST + fuse.IN_HEADER_SIZE);
    this.#arguments = host.bytes.subarray(REQUEST + fuse.IN_HEADER_SIZE, REQUEST + MAX_REQUEST);
    this.#writeArguments = this.#arguments.subarray(0, fuse.WRITE_IN_SIZE);
    this.#reply = host.bytes.subarray(REPLY, PAYLOAD + MAX_REPLY);
    const { inodes: inodeLimit, descriptors, handles: handleLimit } = limits ?? defaultLimits(host, memory);
    const inodes = new Inodes(host, { inodes: inodeLimit, descriptors }, firstNode(opened.length));
    const handles = new Handles(host, inodes, handleLimit);
    this.#session = new Session(host, this.#shares, inodes, handles);
    this.#owner = owner ?? (host.canSwitchUser ? undefined : { uid: process.geteuid!(), gid: process.getegid!() });
    try {
      for (const share of opened) this.#add(share, fuse.FUSE_ROOT_ID + 1 + this.#shares.length);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Serves more shares, which get the next indexes. Takes ownership of their descriptors.
   * @returns the index of the first
   * @throws MachineError `host` for one that is neither a folder nor a file: none is served then
   */
  addShares(opened: readonly (LaterShare & { fd: number })[]): number {
    const first = this.#shares.length;
    this.#hasMore = true;
    let failure: unknown;
    for (const share of opened) {
      try {
        if (failure === undefined) this.#add(share, this.#session.inodes.takeNode());
        else this.#host.close(share.fd);
      } catch (error) {
        failure = error;
      }
    }
    if (failure === undefined) return first;
    this.closeShares(opened.map((_, index) => first + index));
    throw failure;
  }

  /** Closes shares with all their files: the guest finds them gone. */
  closeShares(indexes: readonly number[]): void {
    for (const index of indexes) {
      const share = this.#shares[index];
      if (share?.root === undefined) continue;
      this.#session.handles.releaseShare(share);
      this.#session.inodes.removeShare(share);
    }
  }

  #add({ fd, countFd, path, readOnly, keepSetId = false, budget: limits = {} }: OpenShare, node: number): void {
    const host = this.#host;
    const owner = this.#owner;
    const shares = this.#shares;
    const budget = countFd === undefined ? undefined : new Budget(host, fd, countFd, limits);
    if (host.statx(fd) < 0) {
      host.close(fd);
      throw new MachineError('host', `cannot share ${path}: it has no attributes`);
    }
    const device = host.stat(STATX_DEV_MAJOR) * 2 ** 20 + host.stat(STATX_DEV_MINOR);
    const share: Share = { readOnly, keepSetId, owner, budget, device, inodes: new Map(), root: undefined };
    share.root = this.#session.inodes.addRoot(share, node, fd);
    shares.push(share);
    if (share.root.type !== S_IFDIR && share.root.type !== S_IFREG) {
      throw new MachineError('host', `cannot share ${path}: it is neither a folder nor a file`);
    }
  }

  /** Looks for files of bounded shares that another machine has deleted. To be called now and then. */
  look(): void {
    for (const share of this.#session.shares) this.#session.inodes.look(share);
  }

  /** Returns true if a share is bounded. */
  get isBounded(): boolean {
    return this.#session.shares.some(({ budget }) => budget !== undefined);
  }

  /** What is remembered and open, for the limits' tests. */
  get usage(): { inodes: number; descriptors: number; handles: number } {
    const { inodes, handles } = this.#session;
    return { inodes: inodes.count, descriptors: inodes.descriptors, handles: handles.count };
  }

  /**
   * Serves the request in the chain. Returns the bytes written to it; -1 for an invalid request, or
   * one without room for its reply.
   */
  serve(chain: DescriptorChain): number {
    const { readable, writable } = chain;
    const length = readable.length - fuse.IN_HEADER_SIZE;
    if (length < 0 || readable.read(0, this.#header) !== fuse.IN_HEADER_SIZE) return -1;
    const opcode = this.#host.request(fuse.IN_OPCODE);
    const operation = OPERATIONS[opcode];
    if (((operation?.flags ?? 0) & NO_REPLY) === 0 && writable.length < fuse.OUT_HEADER_SIZE) return -1;
    this.#session.inodes.beginRequest();
    const result = this.#run(operation, opcode, length, chain);
    if (((operation?.flags ?? 0) & NO_REPLY) !== 0) return 0;
    return this.#answer(result, opcode === fuse.FUSE_READ, writable);
  }

  #run(operation: Operation | undefined, opcode: number, length: number, chain: DescriptorChain): number {
    const { bytes } = this.#host;
    const session = this.#session;
    if (operation === undefined) return -ENOSYS;
    if (this.#host.request(fuse.IN_LENGTH) !== length + fuse.IN_HEADER_SIZE || length < operation.least) return -EINVAL;
    if (this.#minor === 0 && opcode !== fuse.FUSE_INIT) return -EIO;
    if (opcode === fuse.FUSE_WRITE) {
      chain.readable.read(fuse.IN_HEADER_SIZE, this.#writeArguments);
    } else {
      if (length >= this.#arguments.length) return -E2BIG;
      chain.readable.read(fuse.IN_HEADER_SIZE, this.#arguments);
      // Terminates a string at the end of the request.
      bytes[REQUEST + fuse.IN_HEADER_SIZE + length] = 0;
    }
    session.length = length;
    session.uid = this.#host.request(fuse.IN_UID);
    session.gid = this.#host.request(fuse.IN_GID);
    const node = this.#host.request(fuse.IN_NODE) + this.#host.request(fuse.IN_NODE + 1) * 2 ** 32;
    return operation.serve(session, node, this, chain);
  }

  /** Writes the reply. @param inPlace the payload is in the chain already */
  #answer(result: number, inPlace: boolean, writable: DescriptorChain['writable']): number {
    const { words } = this.#host;
    const fits = result <= writable.length - fuse.OUT_HEADER_SIZE;
    const payload = fits && result > 0 ? result : 0;
    const to = REPLY / 4;
    words[to] = fuse.OUT_HEADER_SIZE + payload;
    words[to + 1] = fits ? Math.min(result, 0) : -EIO;
    words[to + 2] = this.#host.request(fuse.IN_UNIQUE);
    words[to + 3] = this.#host.request(fuse.IN_UNIQUE + 1);
    writable.write(0, this.#reply, fuse.OUT_HEADER_SIZE + (inPlace ? 0 : payload));
    return fuse.OUT_HEADER_SIZE + payload;
  }

  /** `fuse_init_in`: u32 major, minor, max_readahead, flags. */
  init(): number {
    const session = this.#session;
    if (session.u32(0) !== fuse.FUSE_KERNEL_VERSION) return -EPROTO;
    const minor = session.u32(4);
    const offered = session.u32(12);
    if (minor < fuse.FUSE_LEAST_MINOR_VERSION || (offered & NEEDED) !== NEEDED) return -EPROTO;
    this.clear();
    this.#minor = Math.min(minor, fuse.FUSE_KERNEL_MINOR_VERSION);
    const owned = session.shares.some(({ owner }) => owner !== undefined);
    const flags = offered & (owned ? WANTED & ~fuse.FUSE_POSIX_ACL : WANTED);
    const { words, view } = this.#host;
    const to = PAYLOAD / 4;
    words.fill(0, to, to + fuse.INIT_OUT_SIZE / 4);
    words[to] = fuse.FUSE_KERNEL_VERSION;
    words[to + 1] = this.#minor;
    words[to + 2] = Math.min(session.u32(8), MAX_WRITE);
    words[to + 3] = flags;
    view.setUint16(PAYLOAD + 16, MAX_BACKGROUND, true);
    view.setUint16(PAYLOAD + 18, (MAX_BACKGROUND * 3) / 4, true); // congestion_threshold
    words[to + 5] = MAX_WRITE;
    words[to + 6] = 1; // time_gran: nanoseconds
    view.setUint16(PAYLOAD + 28, MAX_PAGES, true);
    return fuse.INIT_OUT_SIZE;
  }

  /** The entry of a share in the directory of shares. */
  lookupShare(): number {
    const session = this.#session;
    const length = session.nameLength(0);
    if (length < 0) return length;
    const name = session.string(0, length);
    const root = /^(0|[1-9]\d{0,4})$/.test(name) ? session.shares[Number(name)]?.root : undefined;
    if (root === undefined) return -ENOENT;
    const error = this.#host.statx(root.fd);
    return error < 0 ? error : session.putEntry(0, root);
  }

  /** The attributes of the directory of shares, which cannot be listed or changed. */
  rootAttributes(): number {
    const { words } = this.#host;
    const to = PAYLOAD / 4;
    words.fill(0, to, to + fuse.ATTR_OUT_SIZE / 4);
    words[to] = 1; // attr_valid
    words[to + 4] = fuse.FUSE_ROOT_ID;
    words[to + 4 + 15] = S_IFDIR | 0o555;
    words[to + 4 + 16] = 2; // nlink
    words[to + 4 + 20] = PAGE;
    return fuse.ATTR_OUT_SIZE;
  }

  /** Closes the guest's files and forgets what it knows. */
  clear(): number {
    this.#session.handles.clear();
    this.#session.inodes.clear();
    return 0;
  }

  /** Forgets the guest. */
  reset(): void {
    this.clear();
    this.#minor = 0;
  }

  /**
   * Returns the state. Files without a name are not part of it: they end with their descriptors.
   * @throws MachineError `unsupported`
   */
  save(): FuseState {
    if (this.#hasMore) throw new MachineError('unsupported', 'a machine that got shares later cannot be saved');
    const { inodes, handles } = this.#session;
    return { minor: this.#minor, nextNode: inodes.nextNode, inodes: inodes.save(), handles: handles.save() };
  }

  /** Checks a state that was saved. Changes nothing. */
  readonly checkState: Check<FuseState> = (value) => {
    const { shares } = this.#session;
    const roots = shares.flatMap(({ root }) => root ?? []);
    return fuseState(roots, firstNode(shares.length))(value);
  };

  /**
   * Restores a state of a server with the same shares. An open file whose name means another file
   * now is lost: EBADF.
   */
  restore(state: FuseState): void {
    const { inodes, handles } = this.#session;
    this.clear();
    this.#minor = state.minor;
    inodes.restore(state.inodes, state.nextNode);
    for (const saved of state.handles) {
      const inode = inodes.get(saved.node);
      inodes.beginRequest();
      const path = inode === undefined ? -1 : inodes.descriptor(inode);
      if (inode === undefined || path < 0) continue;
      const fd = saved.isDirectory ? this.#host.openDirectory(path) : this.#host.reopen(path, saved.flags);
      if (fd >= 0) handles.restore(saved, inode, fd);
    }
  }

  [Symbol.dispose](): void {
    this.clear();
    for (const { root, budget } of this.#session.shares) {
      if (root !== undefined) this.#host.close(root.fd);
      budget?.[Symbol.dispose]();
    }
    this.#host[Symbol.dispose]();
  }
}

/**
 * The most files that are remembered for a guest with so many bytes of memory. Each takes up to 800
 * bytes of this process: a tenth of the guest's memory, or 50 MiB if that is more.
 */
export function inodeLimit(memory: number): number {
  return Math.min(Math.max(Math.floor(memory / MEMORY_PER_INODE), LEAST_INODES), MAX_INODES);
}

/** The first node that is no share's root. */
function firstNode(shares: number): number {
  return fuse.FUSE_ROOT_ID + 1 + shares;
}

/**
 * Limits by the guest's memory, and by the host: half of the descriptors for files that the guest
 * knows, half for files that it has open.
 */
function defaultLimits(host: Host, memory: number): { inodes: number; descriptors: number; handles: number } {
  const error = host.call(SYS_PRLIMIT64, 0, RLIMIT_NOFILE, 0, host.at(SCRATCH));
  const most = error < 0 ? 1024 : Number(host.view.getBigUint64(SCRATCH, true));
  const share = Math.max(Math.floor((most - RESERVED_DESCRIPTORS) / 2), 64);
  return { inodes: inodeLimit(memory), descriptors: Math.min(share, 2 ** 14), handles: Math.min(share, MAX_HANDLES) };
}
