// Writes the initramfs: the agent as /init, and /dev/console, which the kernel opens before it.
// Format: newc cpio (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
// Usage: node initramfs.mjs AGENT INITRAMFS

import { readFileSync, renameSync, writeFileSync } from 'node:fs';

const S_IFDIR = 0o040000;
const S_IFCHR = 0o020000;
const S_IFREG = 0o100000;

/** Zero bytes up to the next multiple of four. */
function padding(length) {
  return Buffer.alloc(-length & 3);
}

/** One entry: header of hexadecimal fields, name, contents. */
function entry(inode, name, mode, { data = Buffer.alloc(0), major = 0, minor = 0 } = {}) {
  const nameBytes = Buffer.from(`${name}\0`);
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, nameBytes.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return Buffer.concat([header, nameBytes, padding(header.length + nameBytes.length), data, padding(data.length)]);
}

const [agent, initramfs] = process.argv.slice(2);
const archive = Buffer.concat([
  entry(1, 'dev', S_IFDIR | 0o755),
  entry(2, 'dev/console', S_IFCHR | 0o600, { major: 5, minor: 1 }),
  entry(3, 'root', S_IFDIR | 0o700),
  entry(4, 'init', S_IFREG | 0o755, { data: readFileSync(agent) }),
  entry(0, 'TRAILER!!!', 0),
]);
writeFileSync(`${initramfs}.part`, archive);
renameSync(`${initramfs}.part`, initramfs);
