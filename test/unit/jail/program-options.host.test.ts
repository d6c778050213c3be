// What the launcher gives a program that asks for it: files of its own, addresses, a filter.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LIBRARIES, option } from '../../../jail/launcher.js';
import { type BpfInstruction, encodeFilter } from '../../../seccomp/bpf.js';
import { compileProfile } from '../../../seccomp/compile.js';
import { umlProfile } from '../../../vmm/outside/uml-system-calls.js';

const here = fileURLToPath(new URL('.', import.meta.url));
let folder: string;

beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-jail-');
  chmodSync(folder, 0o755);
  execFileSync('make', ['-s', '-C', join(here, '../../../jail'), `OUT=${folder}`]);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a shell in a jail with these options as well. The filter is descriptor 3. */
function shell(uid: number, options: string[], script: string, filter: readonly BpfInstruction[] = []) {
  const path = join(folder, 'filter');
  writeFileSync(path, encodeFilter(filter));
  const fd = openSync(path, 'r');
  const words = [...option('--read', [...LIBRARIES, '/usr/bin', '/bin']), ...options, '--', '/bin/dash', '-c', script];
  const user = uid === 0 ? [] : ['--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups'];
  try {
    return spawnSync('setpriv', [...user, join(folder, 'tsvm-jail'), ...words], {
      ...({ encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe', fd], cwd: '/' } as const),
    });
  } finally {
    closeSync(fd);
  }
}

describe.each([
  ['root', 0],
  ['an ordinary user', 12345],
])('for %s', (_, uid) => {
  test('a program has room for files of its own, and no more', () => {
    const script = `cd /dev/shm && cp /usr/bin/true . && ./true && echo ran
      head -c 1100000 /dev/zero > big; stat -c %s big; touch /here; ls -A /dev/shm`;
    const said = shell(uid, ['--scratch', '1048576'], script).stdout.trim().split('\n');
    expect(said[0]).toBe('ran');
    expect(Number(said[1])).toBeLessThan(1_048_576);
    expect(said.slice(2)).toEqual(['big', 'true']);
  });

  test('a program has the addresses that its file names', () => {
    expect(shell(uid, ['--personality', '40000'], 'cat /proc/self/personality').stdout).toBe('00040000\n');
  });

  test('a program has a stack of the size that it was given, and so have its processes', () => {
    expect(shell(uid, ['--stack', '262144'], 'ulimit -s; ulimit -Hs; dash -c "ulimit -s"').stdout).toBe(
      '256\n256\n256\n',
    );
  });

  test('a program takes no more memory, files and CPU than its limits say', () => {
    const dd = (megabytes: number) => `dd if=/dev/zero of=/dev/null bs=${megabytes}M count=1 2>&1 | tail -n 1`;
    const devices = option('--device', ['zero', 'null']);
    const memory = shell(uid, [...devices, '--memory', '67108864'], `${dd(32)}; ${dd(128)}`);
    expect(memory.stdout).toMatch(/^33554432 bytes .* copied.*\ndd: memory exhausted.*\n$/);
    expect(shell(uid, ['--files', '16'], 'ulimit -n; ulimit -Hn').stdout).toBe('16\n16\n');
    const write = 'head -c 2000 /bin/dash > /dev/shm/file; stat -c %s /dev/shm/file';
    expect(shell(uid, ['--scratch', '65536', '--file-size', '0'], write).stdout).toBe('0\n');
    const { status, signal } = shell(uid, ['--cpu-seconds', '1'], 'while :; do :; done');
    expect(signal ?? status).toBe('SIGKILL');
  });

  test('a program has the filter that it was given: the one of User-Mode Linux', () => {
    const filter = compileProfile(umlProfile('SCMP_ACT_ERRNO'), { capabilities: [], kernelRelease: '' });
    const { stdout, stderr } = shell(uid, ['--keep', '3', '--filter', '3'], 'kill -ABRT $$; echo alive', filter);
    expect(stderr).toContain('Operation not permitted');
    expect(stdout).toBe('alive\n');
  });
});
