// Proves that the caller's terminal is as it was after a process in the foreground, however that
// ends. The terminal is a real one, made by script(1).
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../../..', import.meta.url));

let folder: string;

beforeAll(async () => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  await build({
    stdin: {
      contents: `export { inForeground } from './cli/foreground/caller.ts';
        export { holdOutput } from './cli/foreground/terminal.ts';
        export { watchForKeys } from './cli/foreground/detach-keys.ts';`,
      resolveDir: root,
    },
    ...{ bundle: true, format: 'esm', platform: 'node', target: 'node20', external: ['koffi'] },
    banner: { js: "import { createRequire as __r } from 'node:module'; const require = __r(import.meta.url);" },
    outfile: join(folder, 'foreground.mjs'),
  });
  writeFileSync(join(folder, 'program.mjs'), PROGRAM);
});

afterAll(() => rmSync(folder, { recursive: true }));

/**
 * A process in the foreground that ends with the number of the first signal, and does in between
 * what the argument says. It says when the terminal is raw.
 */
const PROGRAM = `
  import { execFileSync } from 'node:child_process';
  import { holdOutput, inForeground, watchForKeys } from './foreground.mjs';
  const [, , how, signals] = process.argv;
  let end, fail;
  const exit = new Promise((resolve, reject) => { end = resolve; fail = reject; });
  const foreground = {
    started: Promise.resolve(),
    outputChunks: 0,
    signal: (number) => how === 'ignores' ? process.stdout.write('heard\\n') : end(100 + number),
    resize() {},
    abort: fail,
  };
  const act = {
    keys: () => {},
    signal: () => {},
    ignores: () => {},
    ends: () => end(7),
    lost: () => fail(new Error('the supervisor died')),
    throws: () => setTimeout(() => { throw new Error('internal'); }),
    rejects: () => { Promise.reject(new Error('internal')); },
    exits: () => process.exit(9),
  };
  if (how === 'keys') watchForKeys(process.stdin, [16, 17], () => fail(new Error('detached'))).resume();
  else process.stdin.resume();
  setTimeout(() => {
    const settings = execFileSync('stty', ['-a'], { stdio: ['inherit', 'pipe', 'inherit'], encoding: 'utf8' });
    const flags = settings.match(/-?\\b(icanon|opost|echo)\\b/g).join(' ');
    process.stdout.write('raw ' + process.pid + ' ' + flags + ' .\\n', act[how]);
  });
  try {
    const how = { terminal: true, stdin: true };
    const held = holdOutput(how);
    process.exitCode = await inForeground(foreground, exit, { held }, { ...how, signals: signals === 'on' });
  } catch (error) {
    process.exitCode = error.message === 'internal' ? 1 : 3;
  }
  process.stdin.destroy();`;

/** Runs the program in a terminal. Resolves to what its shell says of its end and of the terminal. */
async function inTerminal(
  how: string,
  act: (program: number, terminal: ChildProcess) => void = () => {},
  signals = 'on',
): Promise<string> {
  const script = `before=$(stty -g); '${process.execPath}' program.mjs ${how} ${signals} 2> errors
    code=$?; if [ "$(stty -g)" = "$before" ]; then echo "as before $code."; else echo "changed $code."; fi`;
  const terminal = spawn('script', ['-qec', script, '/dev/null'], { cwd: folder, stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  let acted = false;
  terminal.stdout!.setEncoding('utf8').on('data', (text) => {
    said += text;
    const [, pid, flags] = /raw (\d+) (.*) \./.exec(said) ?? [];
    if (acted || pid === undefined) return;
    acted = true;
    expect(flags).toBe('-opost -icanon -echo');
    act(Number(pid), terminal);
  });
  await once(terminal, 'close');
  return /(as before|changed) \d+/.exec(said)?.[0] ?? said;
}

describe('the terminal is as it was', () => {
  test.each([
    ['the process ends', 'ends', 7],
    ['its supervisor died', 'lost', 3],
    ['tsvm throws', 'throws', 1],
    ['tsvm rejects', 'rejects', 1],
    ['tsvm exits', 'exits', 9],
  ])('if %s', async (_, how, code) => {
    expect(await inTerminal(how)).toBe(`as before ${code}`);
  });

  test('after the detach keys', async () => {
    expect(await inTerminal('keys', (_, { stdin }) => stdin!.write('ab\x10\x11'))).toBe('as before 3');
  });

  test.each([
    ['SIGTERM', 115],
    ['SIGINT', 102],
    ['SIGHUP', 101],
    ['SIGQUIT', 103],
  ] as const)('if %s ends the process', async (signal, code) => {
    expect(await inTerminal('signal', (pid) => process.kill(pid, signal))).toBe(`as before ${code}`);
  });

  test('if the process ignores three of SIGTERM', async () => {
    // Each comes when the last was heard: those that come at once count as one, and one that comes
    // after the third ends the program.
    const act = (pid: number, terminal: ChildProcess) => {
      let said = '';
      let sent = 0;
      const send = () => {
        if (sent < 3 && sent < said.split('heard').length) sent += Number(process.kill(pid, 'SIGTERM'));
      };
      terminal.stdout!.on('data', (text) => {
        said += text;
        send();
      });
      send();
    };
    expect(await inTerminal('ignores', act)).toBe('as before 3');
  });

  test.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
    ['SIGHUP', 129],
    ['SIGQUIT', 131],
    ['SIGUSR2', 140],
    ['SIGALRM', 142],
  ] as const)('if %s ends tsvm, which does not forward it', async (signal, code) => {
    expect(await inTerminal('signal', (pid) => process.kill(pid, signal), 'off')).toBe(`as before ${code}`);
  });
});

/** Has output long before the answer that its process has started, or that it has not. */
const EARLY = `
  import { holdOutput, inForeground } from './foreground.mjs';
  const [, , starts] = process.argv;
  const how = { terminal: true, stdin: true };
  const held = holdOutput(how);
  process.stdout.write('early\\n');
  const started = new Promise((resolve, reject) => setTimeout(starts === 'yes' ? resolve : reject, 300));
  const foreground = { started, outputChunks: 0, signal() {}, resize() {}, abort() {} };
  const exit = new Promise((resolve) => setTimeout(resolve, 600, 0));
  process.exitCode = await inForeground(foreground, exit, { held }, how);
  process.stdin.destroy();`;

test.each([
  ['is shown as it is, once the terminal is raw', 'yes', 'early\n'],
  ['is shown if the process does not start', 'no', 'early\r\n'],
])('output that comes before the start is told %s', async (_, starts, shown) => {
  writeFileSync(join(folder, 'early.mjs'), EARLY);
  const words = ['-qec', `'${process.execPath}' early.mjs ${starts}`, '/dev/null'];
  const terminal = spawn('script', words, { cwd: folder, stdio: ['pipe', 'pipe', 'inherit'] });
  const [said] = await Promise.all([text(terminal.stdout), once(terminal, 'close')]);
  expect(said).toBe(shown);
});

test('a command that fails before the start says why, and ends with its code', async () => {
  const env = { ...process.env, TSVM_KEY: 'key', TSVM_SERVER: 'http://127.0.0.1:1' };
  const call = `'${join(root, 'bin/tsvm')}' sandbox exec -it sb-0000000000000000 sh; echo "code $?"`;
  const terminal = spawn('script', ['-qec', call, '/dev/null'], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const [said] = await Promise.all([text(terminal.stdout), once(terminal, 'close')]);
  expect(said).toBe('tsvm: cannot reach http://127.0.0.1:1: nothing listens there\r\ncode 125\r\n');
});
