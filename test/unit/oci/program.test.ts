// Proves that the program of a container is looked up in the container alone, whatever its links say, and
// that engines are told in runc's words.
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { O_PATH } from '../../../libc/openat2.js';
import type { Translation } from '../../../oci/config/translate.js';
import { checkProgram } from '../../../oci/keeper/program.js';

let folder: string;
const opened: number[] = [];

function program(path: string, mode = 0o755): void {
  writeFileSync(path, '');
  chmodSync(path, mode);
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-program-'));
  const root = join(folder, 'root');
  for (const name of ['bin', 'etc', 'opt', 'data', 'run']) mkdirSync(join(root, name), { recursive: true });
  mkdirSync(join(folder, 'volume/tools'), { recursive: true });
  mkdirSync(join(folder, 'outside'));
  program(join(root, 'bin/sh'));
  program(join(root, 'bin/plain'), 0o644);
  program(join(root, 'opt/mine'), 0o100);
  program(join(root, 'data/hidden'));
  program(join(folder, 'outside/secret'));
  program(join(folder, 'volume/tools/drill'));
  program(join(folder, 'single'));
  const links = {
    'bin/absolute': '/bin/sh',
    'bin/relative': 'sh',
    'bin/above': '../../../../../../bin/sh',
    'bin/escape': `${'../'.repeat(20)}${join(folder, 'outside/secret')}`,
    'bin/escape-absolute': join(folder, 'outside/secret'),
    'bin/loop': 'loop',
    'bin/self': '/proc/self/exe',
    out: join(folder, 'outside'),
    'var-run': '/run',
    usr: '/',
  };
  for (const [name, target] of Object.entries(links)) symlinkSync(target, join(root, name));
  symlinkSync(Buffer.from('sh\xff', 'latin1'), join(root, 'bin/bytes'));
  for (const path of [root, join(folder, 'volume'), join(folder, 'single')]) opened.push(openSync(path, O_PATH));
});
afterAll(() => {
  for (const fd of opened) closeSync(fd);
  rmSync(folder, { recursive: true });
});

/** Returns undefined if the container may have the program. */
function refusal(name: string, { path = '/bin', cwd = '/' } = {}): string | undefined {
  const translation: Translation = {
    shares: [],
    container: {
      hostname: 'box',
      root: { share: 0 },
      tmpfs: [{ path: '/scratch' }, { path: '/data' }],
      shares: [
        { index: 1, path: '/data/volume' },
        { index: 2, path: '/var-run/single' },
        { index: 2, path: '/made/by/the/agent' },
      ],
    },
    process: { argv: [name], env: ['PATH=/wrong', 'A=b', ...(path === '' ? [] : [`PATH=${path}`])], cwd },
    network: undefined,
    joined: {},
    processesOf: undefined,
    seccomp: undefined,
  };
  const files = readdirSync('/proc/self/fd').length;
  try {
    checkProgram(translation, opened);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    expect(readdirSync('/proc/self/fd')).toHaveLength(files);
  }
}

test.each([
  ['sh', {}],
  ['/bin/sh', {}],
  ['absolute', {}],
  ['relative', {}],
  ['above', {}],
  ['/usr/usr/bin/sh', {}],
  ['/../../bin/./sh', {}],
  ['sh', { path: '/absent:/etc/x:/usr/bin' }],
  ['sh', { path: ':/absent', cwd: '/bin' }],
  ['mine', { path: '/bin:opt' }],
  ['./mine', { cwd: '/opt' }],
  ['bin/../opt/mine', {}],
  ['../bin/sh', { cwd: '/absent/../opt' }],
])('%s with %j is there', (name, where) => {
  expect(refusal(name, where)).toBeUndefined();
});

test.each([
  ['a folder', '/data/volume/tools/drill'],
  ['a folder by PATH', 'drill'],
  ['a file, at the end of a link', '/run/single'],
  ['a file, where the image has nothing', '/made/by/the/agent'],
])('%s of the host is where it is mounted: %s', (_, name) => {
  expect(refusal(name, { path: '/data/volume/tools' })).toBeUndefined();
});

test.each(['self', '/proc/1/exe', '/dev/init', '/sys/x', '/scratch/tool', '/data/hidden', '/bin/../scratch/a/b'])(
  '%s is of the guest, and left to the start',
  (name) => {
    expect(refusal(name)).toBeUndefined();
  },
);

test('what lies behind a link that is not UTF-8 is left to the start', () => {
  expect(refusal('/bin/bytes')).toBeUndefined();
  expect(refusal('bytes')).toBeUndefined();
});

test.each(['/absent:'.repeat(30_000), '/bin/loop:'.repeat(2000)])(
  'a PATH that takes long to look through is left to the start',
  (path) => {
    expect(refusal('nosuch', { path })).toBeUndefined();
  },
);

const ABSENT = 'executable file not found in $PATH';
test.each([
  ['nosuch', {}, `exec: "nosuch": ${ABSENT}`],
  ['sh', { path: '' }, `exec: "sh": ${ABSENT}`],
  ['plain', {}, `exec: "plain": ${ABSENT}`],
  ['etc', { path: '/' }, `exec: "etc": ${ABSENT}`],
  ['', {}, `exec: "": ${ABSENT}`],
  ['escape', {}, `exec: "escape": ${ABSENT}`],
  ['escape-absolute', {}, `exec: "escape-absolute": ${ABSENT}`],
  ['loop', {}, `exec: "loop": ${ABSENT}`],
  ['/nosuch', {}, 'exec: "/nosuch": stat /nosuch: no such file or directory'],
  ['./nosuch', { cwd: '/opt' }, 'exec: "./nosuch": stat ./nosuch: no such file or directory'],
  ['/out/secret', {}, 'exec: "/out/secret": stat /out/secret: no such file or directory'],
  ['/bin/escape', {}, 'exec: "/bin/escape": stat /bin/escape: no such file or directory'],
  ['/data/volume/../../bin/nosuch', {}, /no such file or directory$/],
  ['/bin/sh/x', {}, 'exec: "/bin/sh/x": stat /bin/sh/x: not a directory'],
  ['/bin/loop', {}, 'exec: "/bin/loop": stat /bin/loop: too many levels of symbolic links'],
  ['/etc', {}, 'exec: "/etc": permission denied'],
  ['/bin/plain', {}, 'exec: "/bin/plain": permission denied'],
])('%s with %j is refused', (name, where, text) => {
  expect(refusal(name, where)).toMatch(text);
});

test.each([300, 5000])('a name of %i characters is too long', (length) => {
  expect(refusal(`/${'x'.repeat(length)}`)).toMatch(/x: file name too long$/);
});
