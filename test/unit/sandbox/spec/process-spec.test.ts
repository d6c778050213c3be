// Image config and run spec merge into one process by Docker's rules.
import { describe, expect, test } from 'vitest';
import type { ImageConfig } from '../../../../images/index.js';
import { resolveProcess } from '../../../../sandbox/spec/process-spec.js';
import type { RunSpec } from '../../../../sandbox/spec/run-spec.js';

const IMAGE: ImageConfig = {
  architecture: 'amd64',
  os: 'linux',
  created: '',
  Env: [],
  Entrypoint: [],
  Cmd: [],
  User: '',
  WorkingDir: '',
  StopSignal: '',
  ExposedPorts: [],
  Volumes: [],
  Labels: {},
};

function resolve(image: Partial<ImageConfig>, spec: Partial<RunSpec> = {}) {
  return resolveProcess({ ...IMAGE, Cmd: ['true'], ...image }, { image: 'i', command: [], ...spec }, 'box');
}

describe('the command', () => {
  const E = ['/entry', '-e'];
  const C = ['cmd', 'arg'];
  test.each<[string, string[], string[], string | undefined, string[], string[]]>([
    ['is the image Cmd', [], C, undefined, [], C],
    ['is the image Entrypoint', E, [], undefined, [], E],
    ['is the image Entrypoint with its Cmd as arguments', E, C, undefined, [], [...E, ...C]],
    ["is the caller's in the place of Cmd", [], C, undefined, ['ls'], ['ls']],
    ["has the caller's words for the image Entrypoint", E, C, undefined, ['ls'], [...E, 'ls']],
    ['is --entrypoint alone, without the image Cmd', E, C, '/other', [], ['/other']],
    ["is --entrypoint with the caller's words", E, C, '/other', ['x'], ['/other', 'x']],
    ["is the caller's words alone when --entrypoint is empty", E, C, '', ['x'], ['x']],
  ])('%s', (_, Entrypoint, Cmd, entrypoint, command, argv) => {
    expect(resolve({ Entrypoint, Cmd }, entrypoint === undefined ? { command } : { entrypoint, command }).argv).toEqual(
      argv,
    );
  });

  test.each([
    ['neither image nor caller name one', {}, {}],
    ['--entrypoint is empty and the caller names none', { Cmd: C }, { entrypoint: '' }],
  ])('is missing when %s', (_, image, spec) => {
    expect(() => resolve({ Cmd: [], ...image }, spec)).toThrow('no command specified');
  });
});

describe('the environment', () => {
  test('has PATH and HOSTNAME, and TERM with a terminal', () => {
    expect(resolve({}).env).toEqual([expect.stringMatching(/^PATH=\/usr\/local\/sbin:/), 'HOSTNAME=box']);
    expect(resolve({}, { terminal: true }).env).toContain('TERM=xterm');
  });

  test("takes the image's variables over the defaults, and the caller's over both", () => {
    const { env } = resolve({ Env: ['PATH=/image', 'A=image', 'B=image'] }, { env: { A: 'caller', HOSTNAME: 'mine' } });
    expect(env).toEqual(['PATH=/image', 'HOSTNAME=mine', 'A=caller', 'B=image']);
  });

  test('lacks a variable that the caller removes', () => {
    expect(resolve({ Env: ['A=image'] }, { env: { A: null } }).env).not.toContain('A=image');
  });

  test('holds the last of several values', () => {
    expect(resolve({ Env: ['A=1', 'A=2'] }).env.filter((entry) => entry.startsWith('A='))).toEqual(['A=2']);
  });
});

test("user and working directory are the image's unless the caller gives others", () => {
  expect(resolve({ User: 'app:5', WorkingDir: '/srv' })).toMatchObject({ user: 'app:5', cwd: '/srv' });
  expect(resolve({ User: 'app', WorkingDir: '/srv' }, { user: '0', cwd: '/' })).toMatchObject({
    user: '0',
    cwd: '/',
  });
  expect(resolve({})).toMatchObject({ user: '', cwd: '/' });
});
