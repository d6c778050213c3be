// The folder of a private network. It has the members' sockets, each named by its guest's IPv4
// address, and symbolic links from the guests' names to these addresses. The owner of a machine
// makes what is in it; the machine only connects.
import { chmodSync, existsSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { parseAddress } from '../../addresses/ip.js';
import * as libc from '../host/libc.js';
import type { PeerNetwork } from '../machine.js';

/** Bytes of an address as text, and more than any has. */
const LONGEST_ADDRESS = 64;
/** Prefix of the links that are members' names, so that no name looks like an address. */
const NAME = 'name=';

const BACKLOG = 64;
const SEQPACKET = libc.SOCK_SEQPACKET | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK;

/** Returns a connected socket, or the negative errno. */
export function connectTo(path: string): number {
  const fd = libc.check(libc.socket(libc.AF_UNIX, SEQPACKET, 0), 'socket');
  const address = libc.unixAddress(path);
  if (libc.connect(fd, address, address.length) === 0) return fd;
  const errno = libc.errno();
  libc.close(fd);
  return -errno;
}

/** Removes the sockets and names of members that died. */
function sweep(folder: string): void {
  for (const entry of readdirSync(folder)) {
    if (entry.startsWith(NAME)) continue;
    const fd = connectTo(join(folder, entry));
    if (fd >= 0) libc.close(fd);
    else if (fd === -libc.ECONNREFUSED) removeMember(folder, entry, []);
  }
  for (const entry of readdirSync(folder)) {
    const address = entry.startsWith(NAME) ? readlink(join(folder, entry)) : undefined;
    if (address !== undefined && !existsSync(join(folder, address))) rmSync(join(folder, entry), { force: true });
  }
}

/**
 * Makes a guest a member.
 * @returns the socket that listens for the other members
 * @throws libc.SystemError, such as EADDRINUSE if another member has the address; Error
 */
export function enterNetwork({ folder, names }: PeerNetwork, address: string): number {
  sweep(folder);
  const fd = libc.check(libc.socket(libc.AF_UNIX, SEQPACKET, 0), 'socket');
  try {
    const path = libc.unixAddress(join(folder, address));
    libc.check(libc.bind(fd, path, path.length), 'bind');
    libc.check(libc.listen(fd, BACKLOG), 'listen');
    // Machines connect, each of which may have a user of its own. The folder above is closed to others.
    chmodSync(folder, 0o711);
    chmodSync(join(folder, address), 0o666);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  try {
    for (const name of names) writeName(folder, name, address);
    return fd;
  } catch (error) {
    libc.close(fd);
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
export function nameLink(name: string): string {
  return NAME + name;
}

/**
 * The address that the link at `path` stands for; undefined if there is none. Machine processes
 * read names too, and make this call for links alone (accel/system-calls.ts).
 */
export function readName(path: string): Uint32Array | undefined {
  const address = readlink(path);
  try {
    return address === undefined ? undefined : parseAddress(address);
  } catch {
    return undefined;
  }
}

function readlink(path: string): string | undefined {
  const bytes = Buffer.alloc(LONGEST_ADDRESS);
  const length = libc.readlinkat(libc.AT_FDCWD, path, bytes, bytes.length);
  return length < 0 ? undefined : bytes.toString('latin1', 0, length);
}
