// What public bug reports of other engines say that went wrong there goes right here. reports.md
// names each report and its test. All of them share one container.
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fastest, isUml, PYTHON, type RunOptions, readUntil, run, TSVM, tsvmRun } from './machine.js';

const PROGRAMS = fileURLToPath(new URL('../fixtures/guest-programs', import.meta.url));
const folder = `/tmp/tsvm-reports-${process.pid}`;
const name = `reports-${process.pid}`;

/** What is mounted. A file may cover one of /etc and one of /proc. */
const MOUNTS = [
  ...['-v', `${PROGRAMS}:/programs:ro`, '-v', `${folder}/bind:/bind`, '-v', '/volume', '--tmpfs', '/ram'],
  ...['--mount', 'type=tmpfs,target=/dev/shm,tmpfs-size=100m', '-v', `${folder}/bind/one:/single:ro`],
  ...['-v', `${folder}/resolv.conf:/etc/resolv.conf:ro`, '-v', `${folder}/uptime:/proc/uptime:ro`],
];

/** Prints a line that is longer than a pipe's page, and one whose characters have two bytes each. */
const LONG_LINES = `python3 -c "print(16400 * chr(120)); print(18000 * chr(233))"`;

describe.each(fastest)('on $name', (machine) => {
  const here = async (script: string, options?: RunOptions) => {
    const { code, stdout, stderr } = await run(machine, ['bash', '-c', script], options);
    expect({ code, stderr }, stdout + stderr).toEqual({ code: 0, stderr: '' });
    return stdout;
  };
  /** Runs a command in the container. */
  const exec = (options: string[], ...argv: string[]) => run(machine, [TSVM, 'exec', ...options, name, ...argv]);
  const says = async (options: string[], ...argv: string[]) => {
    const { code, stdout, stderr } = await exec(options, ...argv);
    return code === 0 && stderr === '' ? stdout.trimEnd() : { code, stdout, stderr };
  };

  beforeAll(async () => {
    await here(`mkdir -p ${folder}/bind/low/gone; cd ${folder}
      echo one > bind/one; ln bind/one bind/two; echo low > bind/low/file; touch bind/low/gone/file
      echo 'nameserver 192.0.2.7' > resolv.conf; echo 'up for ever' > uptime`);
    const words = ['--name', name, '--network', 'none', '--group-add', '5000', '-w', '/made/by/w', ...MOUNTS];
    words.push('-e', 'TWICE=one', '-e', 'TWICE=two');
    await here(
      `'${TSVM}' run -d ${words.map((word) => `'${word}'`).join(' ')} ${PYTHON} sh -c '${LONG_LINES}; exec sleep infinity'`,
    );
  });

  afterAll(async () => {
    await here(`'${TSVM}' rm -fv ${name}; rm -rf ${folder}`);
  });

  test('files are what they are on a disk: in a folder, a volume, a tmpfs and the root', async () => {
    const folders = ['/bind/files', '/volume/files', '/ram/files', '/files'];
    const script = `mkdir ${folders.join(' ')}; exec python3 /programs/reported-files.py ${folders.join(' ')}`;
    expect(await says([], 'sh', '-c', script)).toBe('all well');
    expect(await here(`cd ${folder}/bind/files; stat -c %a new-755-0 new-444-1000`)).toBe('755\n444\n');
  });

  test('mounts are what they were asked to be', async () => {
    const script = `df -k --output=size /dev/shm | tail -n 1 | tr -d ' '; cat /single; stat -c %h /single
      cat /etc/resolv.conf /proc/uptime; stat -c '%u %g %a' /made/by/w; pwd`;
    expect(await says([], 'sh', '-c', script)).toBe(
      '102400\none\n2\nnameserver 192.0.2.7\nup for ever\n0 0 755\n/made/by/w',
    );
  });

  test('process 1 has each variable once, and limits that programs can count to', async () => {
    const script = `tr '\\0' '\\n' < /proc/1/environ | grep TWICE; ulimit -n; ulimit -Hn`;
    expect(await says([], 'sh', '-c', script)).toBe('TWICE=two\n1024\n524288');
  });

  test('logs -t has one time for each line, however long', async () => {
    const logs = machine.spawn([TSVM, 'logs', '-ft', name]);
    const said = await readUntil(logs.stdout, (text) => text.split('\n').length > 2);
    logs.kill('SIGKILL');
    expect(said.replace(/^\S+Z /gm, '')).toBe(`${'x'.repeat(16400)}\n${'é'.repeat(18000)}\n`);
  });

  test('an overlay in the container over a mounted folder leaves the folder as it is', async () => {
    const script = `mkdir -p /ram/upper /ram/work /merged
      mount -t overlay -o lowerdir=/bind/low,upperdir=/ram/upper,workdir=/ram/work overlay /merged
      cd /merged; echo more >> file; chmod 600 file; mv file moved; rm -r gone; mkdir new; cat moved; ls`;
    expect(await says(['--privileged'], 'sh', '-ec', script)).toBe('low\nmore\nmoved\nnew');
    expect(await here(`cd ${folder}/bind/low; cat file; find . | sort`)).toBe('low\n.\n./file\n./gone\n./gone/file\n');
  });

  test('a user has their groups and their home, in the image or not', async () => {
    const script = 'id -u; id -g; id -G; echo "$HOME"';
    expect(await says([], 'sh', '-c', script)).toBe('0\n0\n0 5000\n/root');
    expect(await says(['-u', '1234'], 'sh', '-c', script)).toBe('1234\n0\n0 5000\n/');
    expect(await says(['-u', '1234:2000'], 'sh', '-c', script)).toBe('1234\n2000\n2000 5000\n/');
    expect(await says(['-u', 'nobody'], 'sh', '-c', script)).toBe('65534\n65534\n65534 5000\n/nonexistent');
  });

  test('exec finds a relative program from its folder, and ends with the codes of a shell', async () => {
    expect(await says(['-w', '/usr/bin'], './id', '-u')).toBe('0');
    for (const [code, options, ...argv] of [
      [1, [], 'false'],
      [126, [], '/etc'],
      [126, [], '/etc/shadow'],
      [127, [], ''],
      [127, [], 'no-such-program'],
      [127, ['-t'], 'no-such-program'],
      [127, ['-w', '/nonexistent'], 'true'],
      [137, [], 'sh', '-c', 'kill -9 $$'],
    ] as [number, string[], ...string[]][]) {
      expect({ argv, code: (await exec(options, ...argv)).code }).toEqual({ argv, code });
    }
    expect((await run(machine, [TSVM, 'exec', `${name}-not`, 'true'])).code).toBe(125);
    const { code, stderr } = await tsvmRun(machine, ['-t', '--network', 'none', PYTHON, 'no-such-program']);
    expect({ code, lines: stderr.trim().split('\n').length }).toEqual({ code: 127, lines: 1 });
  });

  test('exec -i passes the end of its input on, and ends with its program though others hold its streams', async () => {
    const helper = run(machine, [TSVM, 'exec', name, 'sh', '-c', 'sleep infinity & echo started']);
    const { stdout } = await run(machine, [TSVM, 'exec', '-i', name, 'cat'], { stdin: 'hello' });
    expect(stdout).toBe('hello');
    const open = machine.spawn([TSVM, 'exec', '-i', name, 'seq', '5000']);
    expect(await readUntil(open.stdout, '\n5000\n')).toMatch(/^1\n2\n/);
    expect(await open.exit).toBe(0);
    open.stdin.end();
    expect(await helper).toEqual({ code: 0, stdout: 'started\n', stderr: '' });
  });

  test('the clock is right after a pause', async () => {
    const pause = `'${TSVM}' pause ${name}; sleep 5; '${TSVM}' unpause ${name}`;
    if (isUml(machine)) expect(await run(machine, ['sh', '-c', pause])).toMatchObject({ code: 125, stdout: '' });
    else await here(pause);
    const before = Date.now() / 1000;
    const inside = Number(await says([], 'date', '+%s'));
    expect(inside).toBeGreaterThan(before - 3);
    expect(inside).toBeLessThan(Date.now() / 1000 + 3);
  });

  test('a change of the size of a terminal that exec does not have changes nothing', async () => {
    const command = machine.spawn([TSVM, 'exec', '-i', name, 'sh', '-c', 'echo ready; cat']);
    await readUntil(command.stdout, 'ready\n');
    for (let count = 0; count < 3; count++) command.kill('SIGWINCH');
    command.stdin.end('hello');
    expect(await readUntil(command.stdout, 'hello')).toBe('hello');
    expect(await command.exit).toBe(0);
  });

  test("exec -it has the terminal's size from its first program on, and leaves the terminal as it was", async () => {
    const script = `stty rows 33 cols 111; before=$(stty -a); '${TSVM}' exec -it ${name} stty size
      test "$(stty -a)" = "$before" && echo same`;
    // At the end of its input script(1) writes to the terminal: this input has none.
    const said = await here(`script -qec "$script" /dev/null <> <(:)`, { env: { script, SHELL: '/bin/bash' } });
    expect(said.split('\r\n')).toEqual(['33 111', 'same', '']);
  });
});
