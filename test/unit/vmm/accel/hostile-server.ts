// A file server in the hand of a hostile guest, for kept-files.host.test.ts: it has what a machine
// process has open, takes the filter, and then tries to reach files that are no share's. Its folder
// has `share` and `disk`, and is where it was started. Prints, on stderr, what it reached, as JSON.
import { openSync } from 'node:fs';
import { O_PATH } from '../../../../libc/openat2.js';
import { compile, processProfile } from '../../../../vmm/accel/system-calls.js';
import * as fixed from '../../../../vmm/host/fixed-arguments.js';
import { inheritedFiles } from '../../../../vmm/host/inherited-files.js';
import { firstKept, keep, keepNoMore } from '../../../../vmm/host/kept-descriptors.js';
import * as libc from '../../../../vmm/host/libc.js';
import { keepRandomSource } from '../../../../vmm/host/random.js';
import { filterProcess, placeFilter } from '../../../../vmm/host/seccomp.js';

const STDERR = 2;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const [FSTAT, FCHOWNAT, FCHMODAT, DUP3, UTIMENSAT, STATX, OPENAT2, MKDIRAT] = [5, 260, 268, 292, 280, 332, 437, 258];
const S_IFMT = 0o170000;
const TYPES = new Map([
  [0o100000, 'file'],
  [0o040000, 'folder'],
  [0o020000, 'device'],
  [0o060000, 'disk'],
]);

const protection = libc.PROT_READ | libc.PROT_WRITE;
const scratch = libc.check(libc.mmap(null, 4096, protection, libc.MAP_PRIVATE | libc.MAP_ANONYMOUS, -1, 0), 'mmap');
const bytes = Buffer.from(libc.viewMemory(scratch, 4096));

const share = openSync('share', O_PATH);
const given = openSync('disk', 'r');
const { slot, neutral } = fixed.fixedArguments();
// What the machine process does before it takes its filter (vmm/process/server.ts).
const isProtected = process.argv[2] === 'kept';
for (const fd of inheritedFiles()) if (isProtected && ![share, slot, neutral].includes(fd)) keep(fd);
if (isProtected) keepRandomSource();
if (isProtected) keepNoMore(neutral);
const parts = { hasBudget: true, hasNetwork: true, hasRelay: true, canSwitchUser: true, isEmulated: true };
const first = firstKept();
const reach = isProtected ? first : 2 ** 16;
filterProcess(placeFilter(compile(processProfile({ ...parts, hasShares: true, slot, firstKept: reach }, 'refuse'))));

const call = (number: number, ...[a = 0, b = 0, c = 0, d = 0, e = 0]: number[]) => {
  const result = libc.syscall(number, a, b, c, d, e, 0);
  return result < 0 ? -libc.errno() : result;
};

/** Type and identity of an open file. */
function look(fd: number): { mode: number; identity: string } | undefined {
  if (call(FSTAT, fd, scratch) < 0) return undefined;
  return { mode: bytes.readUInt32LE(24), identity: `${bytes.readBigUInt64LE(0)} ${bytes.readBigUInt64LE(8)}` };
}

const name = (text: string) => {
  bytes.write(`${text}\0`, 1024, 'latin1');
  return scratch + 1024;
};

/** What can be made to stand for a path, but the share and memory of this process. */
const reached: string[] = [];
const own = [share, neutral].map((fd) => look(fd)?.identity);
const places = [...Array(1024).keys(), ...Array.from({ length: 64 }, (_, index) => first + index)];
for (const fd of places) {
  const found = look(fd);
  const type = TYPES.get((found?.mode ?? 0) & S_IFMT);
  if (found === undefined || type === undefined || own.includes(found.identity)) continue;
  if (call(DUP3, fd, slot, 0o2000000) < 0) continue;
  // Its mode stays as it is.
  if (call(FCHMODAT, AT_FDCWD, fixed.SLOT_PATH, found.mode & 0o7777) === 0) reached.push(`mode of a ${type}`);
  const opened = call(OPENAT2, AT_FDCWD, fixed.SLOT_PATH, fixed.howToReopen(libc.O_RDWR), fixed.HOW_SIZE);
  if (opened >= 0 && type === 'file') reached.push(`a ${type} that is open to be read`);
}
const opened = call(OPENAT2, AT_FDCWD, name('disk'), fixed.HOW_PATH, fixed.HOW_SIZE);
const withoutDescriptor = {
  open: opened < 0 ? opened : 0,
  look: call(STATX, AT_FDCWD, fixed.EMPTY_PATH, AT_EMPTY_PATH, 0x7ff, scratch),
  owner: call(FCHOWNAT, AT_FDCWD, fixed.EMPTY_PATH, -1, -1, AT_EMPTY_PATH),
  times: call(UTIMENSAT, AT_FDCWD, fixed.EMPTY_PATH, 0, AT_EMPTY_PATH),
  folder: call(MKDIRAT, AT_FDCWD, name('made'), 0o700),
};
// What the file server does.
const file = call(OPENAT2, share, name('file'), fixed.howToCreate(0o600, true), fixed.HOW_SIZE);
const serves = file >= 0 && call(DUP3, file, slot, 0o2000000) === slot;
const again = call(OPENAT2, AT_FDCWD, fixed.SLOT_PATH, fixed.howToReopen(libc.O_RDWR), fixed.HOW_SIZE);
const text = JSON.stringify({ reached: [...new Set(reached)], withoutDescriptor, serves: serves && again >= 0 });
libc.write(STDERR, Buffer.from(text), Buffer.byteLength(text));
// The descriptor from before it was kept.
libc._exit(given > 0 ? 0 : 1);
