// One `tsvm run`: what the container gets, and how its end is reported.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEBIAN, fastest, fastestAndUml, isUml, machines, PYTHON, run, TSVM, tsvmRun } from './machine.js';

/** A folder that the lab sees too. */
let folder: string;

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Prints the number of CPUs, and the memory in MiB. */
const SIZE = "nproc; awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo";

/** The kernel keeps some memory for its image and for a structure for each page. */
function expectMemory(total: string | undefined, given: number): void {
  expect(Number(total)).toBeGreaterThan(given * 0.96 - 30);
  expect(Number(total)).toBeLessThanOrEqual(given);
}

describe.each(machines)('on $name', (machine) => {
  // One start for what does not disturb the others: in the lab, each takes half a minute.
  test('a container has the image, a kernel of its own, one CPU, little memory and a larger disk', async () => {
    const script = `cat /etc/os-release; uname -r; ${SIZE}; head -c 80000000 /dev/zero > /big && sync && wc -c < /big
      df / | awk 'END { print $2 }'`;
    const words = ['--cpus', '1', '-m', '64M', '--disk', '1g', DEBIAN, 'sh', '-c', script];
    const { code, stdout, stderr } = await tsvmRun(machine, words);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.trimEnd().split('\n');
    const [kernel = '', processors, total, bytes, kibibytes] = lines.splice(-5);
    expect(lines).toContain('ID=debian');
    expect(kernel).toMatch(/^\d+\.\d+/);
    expect(kernel).not.toBe(release());
    expect(processors).toBe('1');
    expectMemory(total, 64);
    expect(bytes).toBe('80000000');
    expect(Number(kibibytes)).toBeGreaterThan(900_000);
    expect(Number(kibibytes)).toBeLessThanOrEqual(1_048_576);
  });

  test.each([
    ['2', '1g', 1024, '"$0" run --rm "$@"'],
    ['4', '6G', 6144, '"$0" start -a $("$0" create --rm "$@")'],
  ])('a guest has the CPUs (%s) and the memory (%s) it was given', async (cpus, memory, mebibytes, start) => {
    const words = ['--cpus', cpus, '-m', memory, DEBIAN, 'sh', '-c', SIZE];
    const { code, stdout, stderr } = await run(machine, ['sh', '-c', start, TSVM, ...words]);
    if (isUml(machine)) {
      // Its kernel is one process.
      expect({ code, stdout }).toEqual({ code: 125, stdout: '' });
      expect(stderr).toMatch(new RegExp(`^tsvm: .*a machine on uml has one CPU, not ${cpus}\n$`));
      return;
    }
    expect(code).toBe(0);
    const isUnsafe = machine.name.endsWith('by tcg');
    expect(stderr).toMatch(isUnsafe ? new RegExp(`^tsvm: .*QEMU emulates ${cpus} CPUs, .*\n$`) : /^$/);
    const [processors, total] = stdout.trim().split('\n');
    expect(processors).toBe(cpus);
    expectMemory(total, mebibytes);
  });
});

describe.each(fastest)('on $name', (machine) => {
  describe('the exit code', () => {
    test.each([
      [0, "is the command's own", ['true']],
      [3, "is the command's own", ['sh', '-c', 'exit 3']],
      [127, 'says that the command is not there', ['nosuchcommand']],
      [126, 'says that the command cannot be invoked', ['/etc/passwd']],
    ])('%d %s', async (code, _, command) => {
      const result = await tsvmRun(machine, [DEBIAN, ...command]);
      expect(result).toEqual({
        code,
        stdout: '',
        stderr: expect.stringMatching(code > 125 ? /^tsvm: [^\n]+\n$/ : /^$/),
      });
    });

    test('137 means that the guest had no memory left', async () => {
      const { code } = await tsvmRun(machine, ['-m', '96M', DEBIAN, 'tail', '/dev/zero']);
      expect(code).toBe(137);
    });

    test('124 means that --timeout expired, even if SIGTERM is ignored', async () => {
      const script = 'trap "echo asked" TERM; echo up; while :; do sleep 0.1; done';
      // On a busy host the program may not be up before the time is over: it is not asked then.
      for (let seconds = 3, said = ''; !said.includes('asked'); seconds *= 2) {
        const { code, stdout } = await tsvmRun(machine, ['--timeout', `${seconds}s`, DEBIAN, 'sh', '-c', script]);
        expect({ code, stdout }).toEqual({ code: 124, stdout: expect.stringMatching(/^(up\n)?(asked\n)?(up\n)?$/) });
        said = stdout;
      }
    });
  });

  test('environment, user, folder, host name, tmpfs and a read-only root are applied', async () => {
    const file = join(folder, 'vars');
    writeFileSync(file, '# variables\nFROM_FILE= as it is \nBOTH=file\nMINE\n');
    const script = [
      'printf "%s|" "$FROM_FILE" "$BOTH" "$MINE" "$SET" "$HOSTNAME" "$(hostname)" "$(pwd)" "$(id -u):$(id -g)"',
      'touch /etc/x 2>&1 | grep -o "Read-only file system"',
      'touch /scratch/x && grep " /scratch " /proc/mounts | grep -o "size=1024k"',
      'grep -c "$(hostname)" /etc/hosts',
    ].join('; ');
    const options = [
      ...['--rm', '--env-file', file, '-e', 'BOTH=option', '-e', 'SET=a=b', '-e', 'MINE', '-w', '/srv/new'],
      ...['-u', 'nobody:1234', '--hostname', 'box', '--read-only', '--tmpfs', '/scratch:size=1m'],
    ];
    const result = await tsvmRun(machine, [...options, DEBIAN, 'sh', '-c', script], { env: { MINE: 'mine' } });
    expect(result).toEqual({
      code: 0,
      stdout: ' as it is |option|mine|a=b|box|box|/srv/new|65534:1234|Read-only file system\nsize=1024k\n1\n',
      stderr: '',
    });
  });

  test('--entrypoint replaces the entrypoint of the image and drops its Cmd', async () => {
    const { code, stdout } = await tsvmRun(machine, ['--entrypoint', '/bin/echo', DEBIAN, 'own', 'words']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'own words\n' });
  });
});

describe.each(fastestAndUml)('on $name', (machine) => {
  test('a Python image runs a script from stdin', async () => {
    const stdin = 'import json, os, sys\nprint(json.dumps([sys.version_info[0], os.getpid()]))\n';
    const { code, stdout, stderr } = await tsvmRun(machine, ['-i', PYTHON, 'python3', '-'], { stdin });
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '[3, 1]\n', stderr: '' });
  });
});
