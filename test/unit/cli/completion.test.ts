// Completion offers what may follow, in each shell, and mistyped commands get a suggestion.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { suggest } from '../../../cli/suggestion.js';
import { Home } from '../../../sandbox/home/home.js';
import { makeContainer } from '../sandbox/home/containers.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let home: string;

beforeAll(async () => {
  home = mkdtempSync('/tmp/tsvm-test-');
  await makeContainer(new Home(home), 'web-1');
  await makeContainer(new Home(home), 'web-2');
});

afterAll(() => rmSync(home, { recursive: true }));

function complete(...words: string[]): string[] {
  const env = { ...process.env, TSVM_HOME: home };
  return execFileSync(TSVM, ['__complete', ...words], { encoding: 'utf8', env })
    .split('\n')
    .slice(0, -1)
    .sort();
}

describe('the candidates for the last word', () => {
  test.each([
    [['sto'], ['stop']],
    [['container', 'pr'], ['prune']],
    [['help', 'atta'], ['attach']],
    [['netw'], ['network']],
    [['network', 'pr'], ['prune']],
    [['help', 'network', 'dis'], ['disconnect']],
    [['network', 'disconnect', 'lan', 'web-1'], ['web-1']],
    [['volume', 'ls', '--fo'], ['--format']],
    [['run', '--mem'], ['--memory']],
    // The old name --time is accepted, but not offered.
    [['stop', '--ti'], ['--timeout']],
    [
      ['run', '--rm', '--accel', ''],
      ['auto', 'kvm', 'tcg', 'uml'],
    ],
    [
      ['stop', ''],
      ['web-1', 'web-2'],
    ],
    [
      ['stop', '-t', '3', 'web-1', 'web-'],
      ['web-1', 'web-2'],
    ],
    [['container', 'rm', 'web-2'], ['web-2']],
    [['cp', 'web-1'], ['web-1:']],
    [
      ['completion', ''],
      ['bash', 'fish', 'zsh'],
    ],
    [['nonsense', 'x'], []],
    [['exec', 'web-1', ''], []],
  ])('%j: %j', (words, expected) => {
    expect(complete(...words)).toEqual(expected);
  });
});

test('bash completes with the script', () => {
  const script =
    'source <(tsvm completion bash); COMP_WORDS=(tsvm stop web); COMP_CWORD=2; _tsvm; declare -p COMPREPLY';
  const env = { ...process.env, TSVM_HOME: home, PATH: `${dirname(TSVM)}:${process.env.PATH}` };
  const { stdout } = spawnSync('bash', ['-c', script], { encoding: 'utf8', env });
  expect(stdout).toContain('"web-1"');
  expect(stdout).toContain('"web-2"');
});

test.each(['zsh', 'fish'])('the script for %s names its function and asks tsvm', (shell) => {
  const { stdout, status } = spawnSync(TSVM, ['completion', shell], { encoding: 'utf8' });
  expect(status).toBe(0);
  expect(stdout).toContain('tsvm __complete');
});

describe('a mistyped word', () => {
  test.each([
    ['satrt', 'start'],
    ['pss', 'ps'],
    ['insepct', 'inspect'],
    ['log', 'logs'],
    ['xyzzy', undefined],
    ['', undefined],
  ])('%j suggests %j', (typed, meant) => {
    expect(suggest(typed, ['start', 'stop', 'ps', 'inspect', 'logs', 'rm'])).toBe(meant);
  });

  test('is reported with the suggestion', () => {
    const { stderr, status } = spawnSync(TSVM, ['satrt'], { encoding: 'utf8' });
    expect({ stderr, status }).toEqual({
      stderr: "tsvm: 'satrt' is not a tsvm command, did you mean 'start'?\nSee 'tsvm --help'.\n",
      status: 125,
    });
  });
});
