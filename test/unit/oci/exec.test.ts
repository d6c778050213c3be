// Proves which process `exec` runs: one that is described, or words beside the container's own process.
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../oci/config/config.js';
import { readExec } from '../../../oci/config/exec.js';

const own = {
  user: { uid: 7, gid: 8, umask: 0o77, additionalGids: [9] },
  args: ['init'],
  cwd: '/own',
  env: ['A=1'],
  terminal: true,
  consoleSize: { height: 1, width: 2 },
  capabilities: { bounding: ['CAP_KILL'], effective: ['CAP_KILL'], permitted: ['CAP_KILL'], ambient: ['CAP_CHOWN'] },
  rlimits: [{ type: 'RLIMIT_NOFILE', soft: 5, hard: 6 }],
  noNewPrivileges: true,
};
const config = parseConfig({
  ociVersion: '1.0.2',
  root: { path: 'rootfs' },
  process: own,
  linux: { namespaces: [] },
});
const words = {
  ...{ args: ['true'], env: [], groups: [], capabilities: [], terminal: false, noNewPrivileges: false },
};
const read = (request: object) => readExec(config, JSON.stringify({ console: false, ...request }));

describe('exec', () => {
  test('runs exactly the process that a file describes', () => {
    const process = { args: ['a'], cwd: '/', user: { uid: 0, gid: 0 } };
    expect(read({ process, console: true })).toEqual({ process, hasConsole: true });
  });

  test("runs words with the container's own user, folder, environment, limits and capabilities", () => {
    const { process } = read({ words });
    expect(process).toMatchObject({ args: ['true'], cwd: '/own', env: ['A=1'], user: own.user, terminal: false });
    expect(process).toMatchObject({ rlimits: own.rlimits, noNewPrivileges: true, capabilities: own.capabilities });
    expect(process.consoleSize).toBeUndefined();
  });

  test('runs words with what they say', () => {
    const { process } = read({
      words: { ...words, env: ['B=2'], user: '1', groups: ['5'], cwd: '/w', capabilities: ['CAP_SYS_ADMIN'] },
    });
    expect(process).toMatchObject({ cwd: '/w', env: ['A=1', 'B=2'] });
    expect(process.user).toEqual({ uid: 1, gid: 0, umask: 0o77, additionalGids: [5] });
    const more = ['CAP_KILL', 'CAP_SYS_ADMIN'];
    expect(process.capabilities).toMatchObject({ bounding: more, effective: more, permitted: more });
    expect(process.capabilities?.ambient).toEqual(['CAP_CHOWN']);
  });

  test.each([
    [{}, 'exec: there is no process'],
    [{ process: {} }, /^exec: process\.user: /],
    [{ words: { ...words, args: [] } }, 'exec: words.args: no command is given'],
    [{ words: { ...words, user: 'sam' } }, 'exec: words.user: use UID or UID:GID, in numbers'],
    [{ words: { ...words, cwd: 'x' } }, /^exec: words\.cwd: /],
  ])('%j is refused by its field', (request, message) => {
    expect(() => read(request)).toThrow(message);
  });

  test('refuses what is no JSON', () => {
    expect(() => readExec(config, '{')).toThrow('exec: the process is no JSON');
  });
});
