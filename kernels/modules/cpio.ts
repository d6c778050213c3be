// Writes a cpio archive of files, as the kernel unpacks it into its initial RAM file system: newc
// (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's source).

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;

function padding(length: number): Buffer {
  return Buffer.alloc(-length & 3);
}

function entry(inode: number, name: string, mode: number, data: Uint8Array): Buffer {
  const nameBytes = Buffer.from(`${name}\0`);
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, nameBytes.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return Buffer.concat([header, nameBytes, padding(header.length + nameBytes.length), data, padding(data.length)]);
}

export interface ArchivedFile {
  name: string;
  bytes: Uint8Array;
  isProgram?: boolean;
}

/** An archive of a folder and the files in it, all of root's. */
export function cpio(folder: string, files: readonly ArchivedFile[]): Buffer {
  const none = new Uint8Array();
  return Buffer.concat([
    entry(1, folder, S_IFDIR | 0o700, none),
    ...files.map(({ name, bytes, isProgram = false }, index) =>
      entry(index + 2, `${folder}/${name}`, S_IFREG | (isProgram ? 0o700 : 0o600), bytes),
    ),
    entry(0, 'TRAILER!!!', 0, none),
  ]);
}
