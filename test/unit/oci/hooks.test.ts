// Proves how a hook runs: its words, its environment, the state on its standard input, its deadline, and what
// is told of one that fails.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { builtFile } from '../../../installation/index.js';
import { parseConfig } from '../../../oci/config/config.js';
import { runCreateHooks, runHooksToTheEnd } from '../../../oci/keeper/hooks.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-hooks-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const sh = (script: string, more: object = {}) => ({ path: '/bin/sh', args: ['sh', '-c', script], ...more });
const state = () => ({
  ociVersion: '1.1.0',
  id: 'x',
  bundle: folder,
  annotations: { a: 'b' },
  status: 'creating',
  pid: 7,
});
const signal = new AbortController().signal;
const create = (hooks: object, end = signal) => runCreateHooks(hooks, state(), { root: '/', signal: end });

/** False for one that is dead and not reaped yet. */
const isAlive = (pid: number) => existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`).length > 0;

test('a hook has its words, its environment alone, the bundle as its folder, and the state', async () => {
  await create({
    prestart: [sh('/usr/bin/env >env; cat >state', { env: ['A=b=c', 'EMPTY='] })],
    createRuntime: [{ path: '/bin/sh', args: ['named', '-c', 'echo $0 >words', 'word'] }],
  });
  expect(readFileSync(join(folder, 'env'), 'utf8').split('\n')).toEqual(
    expect.arrayContaining(['A=b=c', 'EMPTY=', `PWD=${folder}`]),
  );
  expect(readFileSync(join(folder, 'env'), 'utf8')).not.toContain('HOME=');
  expect(readFileSync(join(folder, 'words'), 'utf8')).toBe('word\n');
  expect(JSON.parse(readFileSync(join(folder, 'state'), 'utf8'))).toEqual(state());
});

test('hooks run in their order, and the first one that fails is the last', async () => {
  const note = (word: string) => sh(`echo ${word} >>order`);
  const failed = create({
    createRuntime: [note('third'), sh('echo fourth >>order; echo of no use >&2; exit 3'), note('never')],
    prestart: [note('first'), note('second')],
  });
  await expect(failed).rejects.toThrow('createRuntime hook #1 (/bin/sh): exit code 3: of no use');
  expect(readFileSync(join(folder, 'order'), 'utf8')).toBe('first\nsecond\nthird\nfourth\n');
});

test.each([
  ['is killed', sh('kill -9 $$'), 'prestart hook #0 (/bin/sh): signal SIGKILL'],
  ['is not there', { path: '/nowhere/at/all' }, 'prestart hook #0 (/nowhere/at/all): spawn /nowhere/at/all ENOENT'],
  [
    'complains without end',
    sh('yes long | head -c 1000000 >&2; sleep 1000 2>&1 & exit 1'),
    /^prestart hook #0 \(\/bin\/sh\): exit code 1: (?:long )+(?:l|lo|lon|long)?$/,
  ],
])('the engine is told in one line of a hook that %s', async (_, hook, message) => {
  await expect(create({ prestart: [hook] })).rejects.toThrow(message);
});

test('a hook that reads nothing is no failure', async () => {
  await create({ prestart: [{ path: '/bin/true' }] });
});

test('at the end of its time, and with the end of the container, a hook is killed with its children', async () => {
  const slow = sh('sleep 271828 & echo $! >child; wait');
  const child = () => Number(readFileSync(join(folder, 'child'), 'utf8'));
  const hasChild = () => expect.poll(() => existsSync(join(folder, 'child')) && child() > 0).toBe(true);
  // A busy host may take longer than a second for its start.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
  const late = expect(create({ prestart: [{ ...slow, timeout: 1 }] })).rejects.toThrow('timed out after 1 s');
  await hasChild();
  vi.advanceTimersByTime(1000);
  await late;
  vi.useRealTimers();
  await expect.poll(() => isAlive(child())).toBe(false);
  rmSync(join(folder, 'child'));
  const end = new AbortController();
  const running = create({ prestart: [slow] }, end.signal);
  await hasChild();
  end.abort();
  await expect(running).rejects.toThrow('signal SIGKILL');
  await expect.poll(() => isAlive(child())).toBe(false);
});

test('a poststop hook that never ends is killed with the command that deletes the container', async () => {
  const home = mkdtempSync(join(folder, 'state-'));
  const hooks = [sh(`echo $$ >${home}/pid; exec sleep 161803`), sh(`touch ${home}/next`)];
  writeFileSync(join(home, 'poststop'), JSON.stringify({ hooks, state: state() }));
  const stdio = ['ignore', 'ignore', 'inherit', 'pipe'] as const;
  const keeper = spawn(process.execPath, [builtFile('keeper.js'), 'poststop', home], { stdio: [...stdio] });
  onTestFinished(() => void keeper.kill('SIGKILL'));
  const ended = once(keeper, 'exit');
  const pid = () => Number(readFileSync(join(home, 'pid'), 'utf8'));
  await expect.poll(() => existsSync(join(home, 'pid')) && pid() > 0, { timeout: 60_000 }).toBe(true);
  // The end of its socket.
  keeper.stdio[3]?.destroy();
  await ended;
  expect(isAlive(pid())).toBe(false);
  expect(existsSync(join(home, 'next'))).toBe(false);
});

test('where a failure changes nothing, the others run, and each is a warning', async () => {
  const warnings: string[] = [];
  await runHooksToTheEnd('poststop', [sh('exit 1'), sh('touch after'), sh('exit 2')], {
    state: state(),
    signal,
    onWarning: (text) => warnings.push(text),
  });
  expect(warnings).toEqual(['poststop hook #0 (/bin/sh): exit code 1', 'poststop hook #2 (/bin/sh): exit code 2']);
  expect(existsSync(join(folder, 'after'))).toBe(true);
});

test.each([
  ['a path that is not absolute', { path: 'sh' }, 'hooks.prestart.0.path'],
  ['a timeout of nothing', { path: '/bin/sh', timeout: 0 }, 'hooks.prestart.0.timeout'],
  ['a word with a NUL', { path: '/bin/sh', args: ['a\0'] }, 'hooks.prestart.0.args.0: has a NUL'],
])('%s is refused', (_, hook, message) => {
  const config = { ociVersion: '1.1.0', root: { path: 'r' }, linux: {}, hooks: { prestart: [hook] } };
  expect(() => parseConfig(config)).toThrow(message);
});
