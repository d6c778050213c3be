// A hostile program in a container on User-Mode Linux makes no system call of the host, does not
// change the stub in its process, takes no more of the host's memory, and does not end the kernel.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run, TSVM, uml } from './machine.js';

const SOURCE = fileURLToPath(new URL('../fixtures/guest-programs/hostile-uml.c', import.meta.url));
const CFLAGS = ['-std=gnu11', '-D_GNU_SOURCE', '-static', '-O1', '-Wall', '-Wextra', '-Werror'];

/** What the guest's kernel answers on any processor. */
const ANSWERED = [
  ...['numbers', 'change-pages', 'huge-maps', 'jump-to-stub', 'forge-list', 'fault-on-data', 'register-sequences'],
  ...['call-from-threads', 'race-exits', 'clone-flags', 'trace-others', 'forge-return', 'forge-signals'],
  ...['trap-by-instructions', 'robust-list', 'dispatch', 'pass-addresses'],
];
/** What no kernel answers. */
const REFUSED = [
  ...['vsyscall-gettimeofday', 'vsyscall-time', 'vsyscall-getcpu', 'write-code', 'run-data', 'hijack-stub'],
  'grow-remains',
];
/** What processors and hosts answer differently: the guest's kernel, or none. */
const EITHER = [
  ...['int80', 'int80-of-32-bits', 'syscall-of-32-bits', 'sysenter', 'sysenter-of-32-bits', 'int80-of-own-segment'],
  ...['lost-segment', 'segment-bases'],
];

let env: { TSVM_HOME: string };
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-uml-wall-');
  env = { TSVM_HOME: join(folder, 'home') };
  mkdirSync(join(folder, 'bin'));
  execFileSync('gcc', [...CFLAGS, '-o', join(folder, 'bin/hostile'), SOURCE]);
  execFileSync('tar', ['-C', folder, '-cf', join(folder, 'image.tar'), 'bin']);
  expect(await run(uml, [TSVM, 'import', join(folder, 'image.tar'), 'hostile'], { env })).toMatchObject({ code: 0 });
});
afterAll(() => rmSync(folder, { recursive: true }));

test.each([
  ['root, who may trace and has no filter of the container', ['--privileged', '--security-opt', 'seccomp=unconfined']],
  ['an ordinary user', ['--user', '1000', '--security-opt', 'seccomp=unconfined']],
])('as %s', async (_, options) => {
  const words = ['run', '--rm', '--network', 'none', ...options, 'hostile', '/bin/hostile'];
  // A stub that is not the kernel's any more may wait for ever.
  const { code, stdout, stderr } = await run(uml, [TSVM, ...words], { env, timeout: 240_000 });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const lines = stdout.trim().split('\n');
  const outcomes = Object.fromEntries(lines.map((line) => line.split(' ')));
  const either = Object.fromEntries(EITHER.map((name) => [name, expect.stringMatching(/^(guest|none)$/)]));
  expect(outcomes).toEqual({
    ...Object.fromEntries(ANSWERED.map((name) => [name, 'guest'])),
    ...Object.fromEntries(REFUSED.map((name) => [name, 'none'])),
    ...either,
    stub: 'found',
    alive: 'guest',
  });
});
