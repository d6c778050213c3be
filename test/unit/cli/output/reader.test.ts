// A command whose reader goes away ends as one that SIGPIPE kills, whether it writes or waits.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const TSVM = fileURLToPath(new URL('../../../../bin/tsvm', import.meta.url));

let home: string;

beforeAll(() => {
  home = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(home, 'containers'));
  const event = {
    time: '2026-01-01T00:00:00Z',
    Type: 'container',
    Action: 'start',
    Actor: { ID: '1', Attributes: {} },
  };
  writeFileSync(join(home, 'containers/events.json'), `${JSON.stringify(event)}\n`.repeat(10_000));
});

afterAll(() => rmSync(home, { recursive: true }));

/** Runs a pipeline. Returns the exit codes of its parts, and what the last one printed. */
function bash(script: string): { codes: number[]; stdout: string; stderr: string } {
  const env = { ...process.env, TSVM, TSVM_HOME: home };
  const { stdout, stderr } = spawnSync('bash', ['-c', `${script}; echo "codes \${PIPESTATUS[@]}"`], {
    encoding: 'utf8',
    env,
    timeout: 60_000,
  });
  const [said = '', codes = ''] = stdout.split('codes ');
  return { codes: codes.trim().split(' ').map(Number), stdout: said, stderr };
}

/** Runs a command whose output has no reader from the start. */
const PIPE = 'perl -e \'pipe R, W; open STDOUT, ">&W"; close W; close R; exec @ARGV\'';
const SOCKET =
  'perl -MSocket -e \'socketpair A, B, AF_UNIX, SOCK_STREAM, 0; open STDOUT, ">&A"; close A; close B; exec @ARGV\'';

test.each([
  ['help', `${PIPE} "$TSVM" --help`],
  ['the help of a command', `${PIPE} "$TSVM" run --help`],
  ['a list', `${PIPE} "$TSVM" ps`],
  ['events that are there', '"$TSVM" events --since 2025-01-01T00:00:00Z | head -n 1'],
  ['events to come', `${PIPE} "$TSVM" events`],
  ['events to come, on a socket', `${SOCKET} "$TSVM" events`],
  ['an error on a closed stderr', `${PIPE} sh -c 'exec "$TSVM" nosuch 2>&1'`],
])('%s', (_, script) => {
  expect(bash(script)).toMatchObject({ codes: expect.arrayContaining([141]), stderr: '' });
});

test('a reader that stays gets everything', () => {
  const { codes, stdout } = bash('"$TSVM" events --since 2025-01-01T00:00:00Z --until 0s | wc -l');
  expect([codes, stdout.trim()]).toEqual([[0, 0], '10000']);
});

test('another failure of a write is told, and is no success', () => {
  expect(bash('"$TSVM" images > /dev/full')).toMatchObject({
    codes: [125],
    stderr: 'tsvm: cannot write the output: ENOSPC: no space left on device, write\n',
  });
});
