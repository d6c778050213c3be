// The folder of a private network. It has the members' sockets, each named by its guest's IPv4
// address, and symbolic links from the guests' names to these addresses. Only owners of machines
// reach it. The owner of a new member listens there first, and then connects with each other member, so
// that of two that come at once at least one finds the other. The machine gets the sockets.
import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import * as libc from '../host/libc.js';
import type { PeerNetwork } from '../machine.js';
import { identityOf, type MadeLink } from './made-links.js';

/** Prefix of the links that are members' names, so that no name looks like an address. */
const NAME = 'name=';
/** Prefix of sockets that do not listen yet. */
const UNFINISHED = '.';

/** Members that come while a machine does not accept, as one that is paused. */
const BACKLOG = 1024;
const SEQPACKET = libc.SOCK_SEQPACKET | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK;

/** What the owner of a new member has for its machine. The caller owns the sockets. */
export interface Membership {
  /** Listens for members that come later. The first message of each is {@link helloOf}. */
  listener: number;
  /** Connections with the other members, by address. */
  links: Map<string, MadeLink>;
  /** Names of all members, in lower case, and the addresses that they stand for. */
  names: [name: string, address: string][];
}

/**
 * The first message of a connection: the address of the member that connects, and its names in lower
 * case. Owners alone write it.
 */
export function helloOf(address: string, names: readonly string[]): Uint8Array {
  return Buffer.from([address, ...names.map((name) => name.toLowerCase())].join('\n'));
}

/** Returns a connected socket, or the negative errno. */
function connectTo(path: string): number {
  const address = libc.unixAddress(path);
  const fd = libc.check(libc.socket(libc.AF_UNIX, SEQPACKET, 0), 'socket');
  if (libc.connect(fd, address, address.length) === 0) return fd;
  const errno = libc.errno();
  libc.close(fd);
  return -errno;
}

/** Connects the member of the address `own` with each other live one, and removes those that died. */
function connectToMembers(folder: string, own: string, hello: Uint8Array, links: Map<string, MadeLink>): void {
  for (const entry of readdirSync(folder)) {
    if (entry.startsWith(NAME) || entry.startsWith(UNFINISHED) || entry === own) continue;
    const path = join(folder, entry);
    const identity = identityOf(path);
    const fd = connectTo(path);
    if (fd === -libc.ECONNREFUSED) removeMember(folder, entry, []);
    if (fd < 0) continue;
    // A member that came in the place of this one meanwhile connects with us.
    const isSame = identity !== undefined && identity === identityOf(path);
    if (isSame && libc.write(fd, hello, hello.length) === hello.length) links.set(entry, { fd, identity });
    else libc.close(fd);
  }
}

/** Removes names of members that are gone. Returns the others. */
function readNames(folder: string): [name: string, address: string][] {
  const names: [string, string][] = [];
  for (const entry of readdirSync(folder)) {
    const address = entry.startsWith(NAME) ? readlink(join(folder, entry)) : undefined;
    if (address === undefined) continue;
    if (existsSync(join(folder, address))) names.push([entry.slice(NAME.length), address]);
    else rmSync(join(folder, entry), { force: true });
  }
  return names;
}

/** Removes the socket of an earlier member with this address, if it died. */
function removeDead(folder: string, address: string): void {
  const fd = connectTo(join(folder, address));
  if (fd >= 0) libc.close(fd);
  else if (fd === -libc.ECONNREFUSED) removeMember(folder, address, []);
}

/**
 * Listens at `path`. The socket has another name until it listens: one that refuses connections there is
 * taken for that of a member that died.
 * @throws libc.SystemError
 */
function listen(path: string, unfinished: string): number {
  const fd = libc.check(libc.socket(libc.AF_UNIX, SEQPACKET, 0), 'socket');
  try {
    const address = libc.unixAddress(unfinished);
    libc.check(libc.bind(fd, address, address.length), 'bind');
    libc.check(libc.listen(fd, BACKLOG), 'listen');
    linkSync(unfinished, path);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw hasCode(error, 'EEXIST') ? new libc.SystemError('bind', libc.EADDRINUSE) : error;
  } finally {
    rmSync(unfinished, { force: true });
  }
}

/**
 * Makes a guest a member.
 * @throws libc.SystemError, such as EADDRINUSE if another member has the address; Error
 */
export function enterNetwork({ folder, names }: PeerNetwork, address: string): Membership {
  removeDead(folder, address);
  // Also those of an earlier member with this address.
  readNames(folder);
  const listener = listen(join(folder, address), join(folder, UNFINISHED + randomBytes(3).toString('hex')));
  const links = new Map<string, MadeLink>();
  try {
    for (const name of names) writeName(folder, name, address);
    connectToMembers(folder, address, helloOf(address, names), links);
    return { listener, links, names: readNames(folder) };
  } catch (error) {
    for (const fd of [listener, ...Array.from(links.values(), (link) => link.fd)]) libc.close(fd);
    removeMember(folder, address, names);
    throw error;
  }
}

export function leaveNetwork({ folder, names }: PeerNetwork, address: string): void {
  removeMember(folder, address, names);
}

function removeMember(folder: string, address: string, names: readonly string[]): void {
  rmSync(join(folder, address), { force: true });
  for (const name of names) {
    const path = join(folder, nameLink(name.toLowerCase()));
    if (readlink(path) === address) rmSync(path, { force: true });
  }
}

/** Writes a name. It replaces the same name of another member. */
function writeName(folder: string, name: string, address: string): void {
  const path = join(folder, nameLink(name.toLowerCase()));
  const unfinished = `${path}.${address}`;
  rmSync(unfinished, { force: true });
  symlinkSync(address, unfinished);
  renameSync(unfinished, path);
}

/** Name of the link of a guest's name, in lower case, in the folder. */
function nameLink(name: string): string {
  return NAME + name;
}

/** Undefined if there is no link at `path`. */
function readlink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
