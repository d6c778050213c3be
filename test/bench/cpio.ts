// Writes the "newc" cpio archive of an initial RAM file system:
// Documentation/driver-api/early-userspace/buffer-format.rst.

export interface CpioEntry {
  path: string;
  /** File type and permissions, as in `st_mode`. */
  mode: number;
  content?: Uint8Array;
  /** Device number of a character device. */
  device?: { major: number; minor: number };
}

function padded(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([bytes, new Uint8Array(-bytes.length & 3)]);
}

/** Returns the archive of `entries`. A directory has to come before its contents. */
export function makeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const trailer: CpioEntry = { path: 'TRAILER!!!', mode: 0 };
  const parts = [...entries, trailer].map(({ path, mode, content = new Uint8Array(), device }, index) => {
    const { major, minor } = device ?? { major: 0, minor: 0 };
    const name = Buffer.from(`${path}\0`);
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
    // namesize, check
    const fields = [index + 1, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, name.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    return Buffer.concat([padded(Buffer.concat([Buffer.from(header), name])), padded(content)]);
  });
  return Buffer.concat(parts);
}
