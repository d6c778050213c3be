// A container's streams and signals are those of `tsvm run`.
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { DEBIAN, fastest, type Machine, machines, readUntil, run, TSVM, tsvmRun } from './machine.js';

const MEGABYTES = 100;

/** Runs a bash script in which `$TSVM` is the command. */
const shell = (machine: Machine, script: string) =>
  run(machine, ['bash', '-c', `set -o pipefail; ${script}`], { env: { TSVM } });

describe.each(machines)('on $name', (machine) => {
  test(`${MEGABYTES} MB through stdin and back are the same bytes`, async () => {
    const { code, stdout, stderr } = await shell(
      machine,
      `head -c ${MEGABYTES}000000 /dev/urandom | tee >(sha256sum >&2) | "$TSVM" run --rm -i ${DEBIAN} cat | sha256sum`,
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^[0-9a-f]{64} /);
    expect(stdout).toBe(stderr);
  });

  test('SIGINT ends a run whose process has not started', async () => {
    for (let said = ''; !said.includes('tsvm: SIGINT before the process was started'); ) {
      const command = machine.spawn([TSVM, 'run', '--rm', '--console', DEBIAN, 'sleep', '1000']);
      // The guest's kernel boots, its process has not started.
      await readUntil(command.stderr, 'Linux version');
      const rest = text(command.stderr);
      // On a busy host it may have started before the signal, and ignores that: the third one ends
      // it.
      const again = setInterval(() => command.kill('SIGINT'), 500);
      command.kill('SIGINT');
      expect(await command.exit).toBe(130);
      clearInterval(again);
      said = await rest;
    }
  });
});

describe.each(fastest)('on $name', (machine) => {
  test('cat returns what is piped in', async () => {
    expect(await tsvmRun(machine, ['-i', DEBIAN, 'cat'], { stdin: 'hi\n' })).toEqual({
      code: 0,
      stdout: 'hi\n',
      stderr: '',
    });
  });

  test('stdout and stderr stay separate; without -i stdin is empty', async () => {
    const script = 'cat; echo out; echo err >&2';
    const result = await tsvmRun(machine, [DEBIAN, 'sh', '-c', script], { stdin: 'not for the command' });
    expect(result).toEqual({ code: 0, stdout: 'out\n', stderr: 'err\n' });
  });

  test('a slow reader slows the process, and a reader that closes ends it silently', async () => {
    const { code, stdout, stderr } = await shell(
      machine,
      `"$TSVM" run --rm ${DEBIAN} yes | { sleep 5; head -n 1; }; echo "\${PIPESTATUS[0]}"`,
    );
    expect({ code, stderr: stderr.replace(/^yes: .*\n/, '') }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^y\n(1|141)\n$/);
  });

  test('a run ends with its process although stdin is still open', async () => {
    const command = machine.spawn([TSVM, 'run', '--rm', '-i', DEBIAN, 'head', '-n', '1']);
    command.stdin.write('first\n');
    expect(await readUntil(command.stdout, '\n')).toBe('first\n');
    expect(await command.exit).toBe(0);
  });

  test('SIGTERM reaches the process, which can handle it', async () => {
    const script = 'trap "echo got it; exit 9" TERM; echo ready; while :; do sleep 0.2; done';
    const command = machine.spawn([TSVM, 'run', '--rm', DEBIAN, 'sh', '-c', script]);
    await readUntil(command.stdout, 'ready');
    command.kill('SIGTERM');
    expect(await readUntil(command.stdout, '\n')).toContain('got it');
    expect(await command.exit).toBe(9);
  });

  test('the third SIGINT that a process ignores ends its machine', async () => {
    // The trap is for a SIGINT that arrives before the exec: the shell would handle it.
    const script = 'trap "" INT; echo ready; exec sleep 1000';
    const command = machine.spawn([TSVM, 'run', '--rm', DEBIAN, 'sh', '-c', script]);
    await readUntil(command.stdout, 'ready');
    let ended = false;
    command.exit.then(() => {
      ended = true;
    });
    // Pending signals of one kind merge into one, so three may not suffice.
    while (!ended) {
      command.kill('SIGINT');
      await sleep(500);
    }
    expect(await readUntil(command.stderr, '\n')).toBe('tsvm: got 3 SIGTERM/SIGINTs, forcefully exiting\n');
    expect(await command.exit).toBe(130);
  });
});
