// The folder of a private network. It has the members' sockets, each named by its guest's IPv4
// address, and symbolic links from the guests' names to these addresses.
import { existsSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { parseAddress } from '../../../addresses/ip.js';
import * as libc from '../../host/libc.js';

/** Prefix of the links that are members' names, so that no name looks like an address. */
const NAME = 'name=';

export const SEQPACKET = libc.SOCK_SEQPACKET | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK;

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
export function sweep(folder: string): void {
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

export function removeMember(folder: string, address: string, names: readonly string[]): void {
  rmSync(join(folder, address), { force: true });
  for (const name of names) {
    const path = join(folder, NAME + name.toLowerCase());
    if (readlink(path) === address) rmSync(path, { force: true });
  }
}

/** Writes a name. It replaces the same name of another member. */
export function writeName(folder: string, name: string, address: string): void {
  const path = join(folder, NAME + name.toLowerCase());
  const unfinished = `${path}.${address}`;
  rmSync(unfinished, { force: true });
  symlinkSync(address, unfinished);
  renameSync(unfinished, path);
}

export function readName(folder: string, name: string): Uint32Array | undefined {
  const address = readlink(join(folder, NAME + name));
  try {
    return address === undefined ? undefined : parseAddress(address);
  } catch {
    return undefined;
  }
}

function readlink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
