// The files that the guest knows by number (FUSE nodes). A file is remembered as a name in a
// remembered directory, and by what identifies it: device, inode number and time of birth. A
// descriptor is opened when needed, one name at a time down from the share's own, and closed when
// there are too many. If the name means another file by then, the result is ESTALE, and the guest
// looks the name up again.
//
// A guest remembers as many files as its memory holds, and cannot be asked to forget some. So if
// there are too many, the one that was not used for longest is forgotten here. The guest gets ESTALE
// for its number, and looks the name up again.
import { constants } from 'node:os';
import {
  type Host,
  S_IFDIR,
  S_IFMT,
  STATX_BTIME,
  STATX_DEV_MAJOR,
  STATX_DEV_MINOR,
  STATX_INO,
  STATX_MODE,
  STATX_NLINK,
} from './host.js';
import { type Inode, openDescriptor, type Share } from './inode.js';
import type { SavedInode } from './state.js';

const { ENFILE, EMFILE, ENOENT, ENOTDIR, ELOOP, ESTALE, EXDEV } = constants.errno;

/** The least limit of descriptors: walking a deep path needs some. */
const LEAST_DESCRIPTORS = 64;

export interface InodeLimits {
  /** The most files remembered. */
  inodes: number;
  /** The most descriptors open for them. */
  descriptors: number;
}

export class Inodes {
  readonly #host: Host;
  readonly #limits: InodeLimits;
  readonly #byNode = new Map<number, Inode>();
  #nextNode: number;
  /** Inodes whose descriptor may be closed, in a clock (second chance), and its hand. */
  readonly #clock: Inode[] = [];
  #hand = 0;
  #descriptors = 0;
  #request = 0;
  /** Inodes that may be forgotten, the one that was not used for longest first. */
  readonly #forgettable = { files: new Set<Inode>(), folders: new Set<Inode>() };

  /** @param firstNode the first node that is no share's root */
  constructor(host: Host, limits: InodeLimits, firstNode: number) {
    this.#host = host;
    this.#limits = { ...limits, descriptors: Math.max(limits.descriptors, LEAST_DESCRIPTORS) };
    this.#nextNode = firstNode;
  }

  get count(): number {
    return this.#byNode.size;
  }

  /** Descriptors that are open for inodes, without the shares' roots. */
  get descriptors(): number {
    return this.#descriptors;
  }

  /** The inode of a node that the guest names, or undefined. */
  get(node: number): Inode | undefined {
    return this.#byNode.get(node);
  }

  /** Adds the root of a share, whose descriptor stays open. {@link STATX} describes it. */
  addRoot(share: Share, node: number, fd: number): Inode {
    const root = this.#fromStat(share, node, undefined, '');
    root.fd = fd;
    this.#byNode.set(node, root);
    share.inodes.set(root.key, root);
    return root;
  }

  /** A node for the root of a share that comes later. */
  takeNode(): number {
    return this.#nextNode++;
  }

  /** Forgets all files of a share, none of which is open, and closes its root. */
  removeShare(share: Share): void {
    for (const inode of this.#byNode.values()) {
      if (inode.share !== share) continue;
      this.#byNode.delete(inode.node);
      this.#setOf(inode).delete(inode);
      if (inode !== share.root) this.#close(inode);
    }
    if (share.root !== undefined) this.#host.close(share.root.fd);
    share.root = undefined;
    share.inodes.clear();
  }

  #key(share: Share): number | string {
    const low = this.#host.stat(STATX_INO);
    const high = this.#host.stat(STATX_INO + 1);
    const device = this.#device();
    if (device === share.device && high < 2 ** 21) return high * 2 ** 32 + low;
    return `${device} ${high} ${low}`;
  }

  #device(): number {
    return this.#host.stat(STATX_DEV_MAJOR) * 2 ** 20 + this.#host.stat(STATX_DEV_MINOR);
  }

  #fromStat(share: Share, node: number, parent: Inode | undefined, name: string): Inode {
    return {
      node,
      share,
      key: this.#key(share),
      device: this.#device(),
      birthSeconds: this.#host.stat(STATX_BTIME),
      birthNanoseconds: this.#host.stat(STATX_BTIME + 2),
      type: this.#host.stat(STATX_MODE) & S_IFMT,
      parent,
      name,
      fd: -1,
      lookups: 0,
      users: 0,
      openFds: [],
      orphan: false,
      held: 0,
      place: -1,
      recentlyUsed: false,
      request: -1,
      stamp: '',
    };
  }

  /**
   * Returns true if {@link STATX} describes this file, and not another file with the same inode
   * number.
   */
  #isOf(inode: Inode): boolean {
    return (
      inode.type === (this.#host.stat(STATX_MODE) & S_IFMT) &&
      inode.birthSeconds === this.#host.stat(STATX_BTIME) &&
      inode.birthNanoseconds === this.#host.stat(STATX_BTIME + 2) &&
      inode.key === this.#key(inode.share)
    );
  }

  /** The inode of the file of {@link STATX}, if it is known. */
  find(share: Share): Inode | undefined {
    const inode = share.inodes.get(this.#key(share));
    return inode !== undefined && this.#isOf(inode) ? inode : undefined;
  }

  /**
   * The inode, known or new, of the file of {@link STATX}, `name` in `parent`. Undefined if there
   * are too many.
   */
  adopt(parent: Inode, name: string): Inode | undefined {
    const { share } = parent;
    const known = share.inodes.get(this.#key(share));
    if (known !== undefined && this.#isOf(known)) {
      if (known !== share.root && (known.parent !== parent || known.name !== name)) this.moved(known, parent, name);
      known.recentlyUsed = true;
      return known;
    }
    // The parent is in use before room is made, so that it stays.
    this.#use(parent);
    if (this.#hasRoom()) return this.#add(share, parent, name);
    this.#unuse(parent);
    return undefined;
  }

  /**
   * A new inode for the file of {@link STATX}, which was just created, and has no name. The caller
   * registers its open file. Undefined if there are too many.
   */
  adoptUnnamed(share: Share): Inode | undefined {
    return this.#hasRoom() ? this.#add(share, undefined, '') : undefined;
  }

  /** Forgets a file if there are too many. Returns false if all are in use. */
  #hasRoom(): boolean {
    const { files, folders } = this.#forgettable;
    // A folder may be the working directory of a process, which cannot look it up again.
    return this.#byNode.size < this.#limits.inodes || this.#forgetOne(files) || this.#forgetOne(folders);
  }

  #forgetOne(candidates: Set<Inode>): boolean {
    for (const inode of candidates) {
      candidates.delete(inode);
      if (inode.recentlyUsed) {
        // It comes again when all others have come.
        inode.recentlyUsed = false;
        candidates.add(inode);
        continue;
      }
      inode.lookups = 0;
      this.#drop(inode);
      return true;
    }
    return false;
  }

  #setOf({ type }: Inode): Set<Inode> {
    return type === S_IFDIR ? this.#forgettable.folders : this.#forgettable.files;
  }

  /** The inode may be forgotten, unless it is in use or has no name by which it is found again. */
  #mayForget(inode: Inode): void {
    if (inode.users === 0 && inode.parent !== undefined) this.#setOf(inode).add(inode);
  }

  #use(inode: Inode): void {
    if (inode.users++ === 0) this.#setOf(inode).delete(inode);
  }

  #add(share: Share, parent: Inode | undefined, name: string): Inode {
    const inode = this.#fromStat(share, this.#nextNode++, parent, name);
    this.#byNode.set(inode.node, inode);
    // The file that had the inode number before is gone from the host. The guest's node of it
    // stays, and is stale.
    share.inodes.set(inode.key, inode);
    this.#mayForget(inode);
    return inode;
  }

  /** The inode is now `name` in `parent`. */
  moved(inode: Inode, parent: Inode, name: string): void {
    const before = inode.parent;
    this.#use(parent);
    inode.parent = parent;
    inode.name = name;
    this.#mayForget(inode);
    if (inode.fd >= 0) this.#mayClose(inode);
    if (before !== undefined) this.#unuse(before);
  }

  /**
   * The inode's known name was removed. Its descriptor, which the caller has opened, stays open.
   */
  unnamed(inode: Inode): void {
    const { parent } = inode;
    if (parent === undefined) return;
    this.#mustStay(inode);
    this.#setOf(inode).delete(inode);
    inode.parent = undefined;
    inode.name = '';
    this.#unuse(parent);
  }

  /** The guest forgets `count` lookups of the node. */
  forget(node: number, count: number): void {
    const inode = this.#byNode.get(node);
    if (inode === undefined) return;
    inode.lookups = Math.max(0, inode.lookups - count);
    this.#drop(inode);
  }

  /** Registers `fd`, an open file of the inode. */
  opened(inode: Inode, fd: number): void {
    this.#use(inode);
    inode.openFds.push(fd);
  }

  /** An open file of the inode is about to be closed. */
  closing(inode: Inode): void {
    if (inode.fd < 0 && inode.openFds.length === 1) this.#dropOrphan(inode);
  }

  /** The last descriptor of the inode is about to be closed. */
  #dropOrphan(inode: Inode): void {
    if (inode.orphan) inode.share.budget?.drop(inode);
    inode.orphan = false;
  }

  /** Looks for files that another machine with the same bounded share has deleted. */
  look(share: Share): void {
    const { budget } = share;
    budget?.look(() => {
      for (const inode of this.#byNode.values()) {
        if (inode.share !== share || inode.orphan || inode === share.root) continue;
        const fd = inode.fd < 0 ? openDescriptor(inode) : inode.fd;
        if (fd < 0 || this.#host.statx(fd) < 0 || this.#host.stat(STATX_NLINK) > 0) continue;
        // A descriptor that is kept for speed alone keeps no file.
        if (inode.place >= 0) this.#close(inode);
        const open = inode.fd < 0 ? openDescriptor(inode) : inode.fd;
        if (open >= 0) budget.found(inode, open);
      }
    });
  }

  /** Runs `act`, which may close the last open file of the inode. Its O_PATH descriptor stays. */
  keep(inode: Inode, act: () => number): number {
    this.#use(inode);
    try {
      return act();
    } finally {
      this.#unuse(inode);
    }
  }

  /** Unregisters `fd`, an open file of the inode that was closed. */
  closed(inode: Inode, fd: number): void {
    inode.openFds.splice(inode.openFds.indexOf(fd), 1);
    this.#unuse(inode);
  }

  #unuse(inode: Inode): void {
    inode.users--;
    this.#mayForget(inode);
    this.#drop(inode);
  }

  /** Forgets an inode without lookups and users, and then its parents likewise. */
  #drop(from: Inode): void {
    for (let inode: Inode | undefined = from; inode !== undefined; ) {
      if (inode.lookups > 0 || inode.users > 0 || inode === inode.share.root) return;
      this.#byNode.delete(inode.node);
      this.#setOf(inode).delete(inode);
      if (inode.share.inodes.get(inode.key) === inode) inode.share.inodes.delete(inode.key);
      this.#close(inode);
      const parent: Inode | undefined = inode.parent;
      if (parent !== undefined) {
        parent.users--;
        this.#mayForget(parent);
      }
      inode = parent;
    }
  }

  /** Another request begins: descriptors that earlier ones needed may be closed. */
  beginRequest(): void {
    this.#request++;
  }

  /**
   * Returns a descriptor of the inode, O_PATH or of an open file, valid until the next request; or
   * the negative errno.
   */
  descriptor(inode: Inode): number {
    this.#need(inode);
    const open = openDescriptor(inode);
    return open < 0 ? this.#pathDescriptor(inode) : open;
  }

  /** Makes sure that the inode has an O_PATH descriptor: it is about to lose its name. */
  hold(inode: Inode): void {
    this.#need(inode);
    this.#pathDescriptor(inode);
  }

  #need(inode: Inode): void {
    inode.recentlyUsed = true;
    inode.request = this.#request;
  }

  #pathDescriptor(inode: Inode): number {
    if (inode.fd >= 0) return inode.fd;
    const path: Inode[] = [];
    let top = inode;
    while (top.fd < 0 && (top === inode || openDescriptor(top) < 0)) {
      // More steps than inodes: the host has moved directories into each other.
      if (top.parent === undefined || path.length > this.#byNode.size) return -ESTALE;
      path.push(top);
      top = top.parent;
    }
    while (path.length > 0) {
      const next = path.pop()!;
      const error = this.#open(next, top);
      if (error < 0) return error;
      top = next;
    }
    return inode.fd;
  }

  /** Opens `inode` by its name in `parent`, whose descriptor is open. */
  #open(inode: Inode, parent: Inode): number {
    const parentFd = parent.fd >= 0 ? parent.fd : openDescriptor(parent);
    if (this.#descriptors >= this.#limits.descriptors && !this.#closeOne(parent)) return -ENFILE;
    let fd = this.#host.openPath(parentFd, this.#host.name(inode.name));
    // The host may have fewer descriptors than its limit promises.
    if (isOutOfDescriptors(fd) && this.#closeOne(parent)) {
      fd = this.#host.openPath(parentFd, this.#host.name(inode.name));
    }
    if (fd < 0) return staleIfGone(fd);
    const error = this.#host.statx(fd);
    if (error < 0 || !this.#isOf(inode)) {
      this.#host.close(fd);
      return error < 0 ? error : -ESTALE;
    }
    this.#descriptors++;
    inode.fd = fd;
    this.#mayClose(inode);
    return 0;
  }

  #close(inode: Inode): void {
    if (inode.fd < 0) return;
    this.#mustStay(inode);
    if (inode.openFds.length === 0) this.#dropOrphan(inode);
    this.#host.close(inode.fd);
    inode.fd = -1;
    this.#descriptors--;
  }

  #mayClose(inode: Inode): void {
    if (inode.place >= 0) return;
    inode.place = this.#clock.length;
    this.#clock.push(inode);
  }

  #mustStay(inode: Inode): void {
    if (inode.place < 0) return;
    const last = this.#clock.pop()!;
    if (last !== inode) {
      this.#clock[inode.place] = last;
      last.place = inode.place;
    }
    inode.place = -1;
  }

  /**
   * Closes a descriptor that was not used recently, except that of `keep` and those that this
   * request needs. Returns false if all must stay open.
   */
  #closeOne(keep: Inode): boolean {
    for (let left = 2 * this.#clock.length; left > 0; left--) {
      this.#hand = (this.#hand + 1) % this.#clock.length;
      const inode = this.#clock[this.#hand];
      if (inode === undefined || inode === keep || inode.request === this.#request) continue;
      if (inode.recentlyUsed) {
        inode.recentlyUsed = false;
        continue;
      }
      this.#close(inode);
      return true;
    }
    return false;
  }

  /** Forgets everything except the shares' roots. */
  clear(): void {
    for (const set of Object.values(this.#forgettable)) set.clear();
    for (const inode of this.#byNode.values()) {
      if (inode === inode.share.root) {
        inode.users = 0;
        inode.openFds.length = 0;
        inode.lookups = 0;
        continue;
      }
      this.#close(inode);
      this.#byNode.delete(inode.node);
      inode.share.inodes.delete(inode.key);
    }
  }

  /** Returns the inodes that have a name, parents before children. */
  save(): SavedInode[] {
    const saved: SavedInode[] = [];
    const done = new Set<Inode>();
    const add = (inode: Inode): void => {
      const path: Inode[] = [];
      for (let at: Inode | undefined = inode; !done.has(at) && at !== at.share.root; at = at.parent) {
        if (at.parent === undefined || path.length > this.#byNode.size) return;
        path.push(at);
      }
      for (const at of path.reverse()) {
        done.add(at);
        const { node, key, device, birthSeconds, birthNanoseconds, type, name, lookups } = at;
        const parent = at.parent!.node;
        saved.push({ node, parent, key, device, birthSeconds, birthNanoseconds, type, name, lookups });
      }
    };
    for (const inode of this.#byNode.values()) add(inode);
    return saved;
  }

  /** Restores saved inodes. The table has only its roots before. */
  restore(saved: readonly SavedInode[], nextNode: number): void {
    this.#nextNode = nextNode;
    for (const { parent: parentNode, ...known } of saved) {
      const parent = this.#byNode.get(parentNode);
      if (parent === undefined) continue;
      const { share } = parent;
      this.#use(parent);
      const fresh = {
        fd: -1,
        users: 0,
        openFds: [],
        orphan: false,
        held: 0,
        place: -1,
        recentlyUsed: false,
        request: -1,
        stamp: '',
      };
      const inode: Inode = { ...known, ...fresh, share, parent };
      this.#byNode.set(inode.node, inode);
      share.inodes.set(inode.key, inode);
      this.#mayForget(inode);
    }
  }

  get nextNode(): number {
    return this.#nextNode;
  }
}

/**
 * Turns errors of a name that is gone or has changed into ESTALE: the guest's knowledge is out of
 * date.
 */
function staleIfGone(error: number): number {
  return error === -ENOENT || error === -ENOTDIR || error === -ELOOP || error === -EXDEV ? -ESTALE : error;
}

/** Returns true if the host has no descriptors left. */
function isOutOfDescriptors(error: number): boolean {
  return error === -EMFILE || error === -ENFILE;
}
