// Java, Go, Cargo, npm, podman, Chromium and gcc build and run programs in containers as on any host.
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { DEBIAN, fastest, fastestAndUml, type Machine, tsvmRun } from './machine.js';

const HELLO = fileURLToPath(new URL('../fixtures/guest-programs/hello', import.meta.url));
/** The image that `./quickstart --setup-only --test` makes. */
const PROGRAMS = 'programs:12';
/** This machine's own Node.js and npm. */
const NODE = dirname(dirname(process.execPath));

/** Returns a function that runs a command in a container which has the sources, and returns its output. */
const runner =
  (machine: Machine) =>
  async (options: string[], ...argv: string[]): Promise<string> => {
    const words = ['--network', 'none', '-v', `${HELLO}:/hello:ro`, '-w', '/work', ...options, ...argv];
    const { code, stdout, stderr } = await tsvmRun(machine, words);
    expect(code, stdout + stderr).toBe(0);
    return stdout;
  };

describe.each(fastestAndUml)('on $name', (machine) => {
  const runs = runner(machine);

  test('gcc builds and runs a program of two files', async () => {
    const script = 'gcc -O2 -pipe -Wall -Werror -o hello /hello/c/*.c && ./hello';
    expect(await runs([], PROGRAMS, 'sh', '-c', script)).toBe('c 42\n');
  });
});

describe.each(fastest)('on $name', (machine) => {
  const runs = runner(machine);

  test('java compiles and runs a program with a pool of threads', async () => {
    const options = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
    expect(await runs([], PROGRAMS, 'java', ...options, '/hello/java/Pool.java')).toBe('java 2047968000\n');
  });

  test('go builds and runs a module of two packages', async () => {
    const script = 'cp -r /hello/go/. . && go build -o hello . && ./hello';
    expect(await runs(['-m', '1g'], PROGRAMS, 'sh', '-c', script)).toBe('go 42\n');
  });

  test('cargo builds and runs a package', async () => {
    const script = 'cp -r /hello/cargo/. . && cargo build --offline && target/debug/hello';
    expect(await runs(['-m', '1g'], PROGRAMS, 'sh', '-c', script)).toBe('cargo 42\n');
  });

  test('npm installs a package from an archive', async () => {
    const script = `cp -r /hello/npm/app . && tar -czf greet.tgz -C /hello/npm --transform s/greet/package/ greet
      cd app && npm install --silent --no-audit --no-fund --offline ../greet.tgz && node -p 'require("greet")(20, 22)'`;
    const options = ['-v', `${NODE}:${NODE}:ro`, '-e', `PATH=${NODE}/bin:/usr/bin:/bin`];
    expect(await runs(options, DEBIAN, 'sh', '-c', script)).toBe('npm 42\n');
  });

  test('podman makes an image and runs a container of it, on an overlay and with limits', async () => {
    const options = ['-m', '1g', '--privileged', '--tmpfs', '/var/lib/containers', '-e', 'STORAGE_DRIVER=overlay'];
    expect(await runs(options, PROGRAMS, '/hello/podman.sh')).toBe('podman 42\n');
  });

  test('chromium runs the script of a page', async () => {
    const options = ['-m', '1g', '--shm-size', '256m'];
    const chromium = ['chromium-headless-shell', '--no-sandbox', '--disable-gpu'];
    const page = await runs(options, PROGRAMS, ...chromium, '--dump-dom', 'file:///hello/page/index.html');
    expect(page).toContain('<ul id="list"><li>1</li><li>4</li><li>9</li></ul>');
  });
});
