// Proves that reading a file that the user names ends, whatever stands under the name.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readEnvFile } from '../../../cli/options/environment.js';
import { readLabelFile } from '../../../cli/options/labels.js';
import { parseSecurityOption } from '../../../cli/options/security.js';
import { readDockerConfig } from '../../../images/registry/docker-config.js';
import { readUserFile } from '../../../user-files/index.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const MAX = 16 * 1024 * 1024;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'folder'));
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  symlinkSync('pipe', join(folder, 'link-to-pipe'));
  symlinkSync('/dev/zero', join(folder, 'endless'));
});

afterAll(() => rmSync(folder, { recursive: true }));

function file(length: number): string {
  const path = join(folder, `file-${length}`);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, length);
  closeSync(fd);
  return path;
}

test('a regular file is read whole, up to 16 MiB', () => {
  writeFileSync(join(folder, 'text'), 'text');
  expect(readUserFile(join(folder, 'text')).toString()).toBe('text');
  expect(readUserFile(file(MAX))).toHaveLength(MAX);
  expect(() => readUserFile(file(MAX + 1))).toThrow('it is larger than 16 MiB');
});

test('/dev/null is an empty file', () => expect(readUserFile('/dev/null')).toHaveLength(0));

describe('one clear error, and no descriptor is left', () => {
  test.each([
    ['a named pipe without a writer', 'pipe', 'it is a named pipe'],
    ['a link to it', 'link-to-pipe', 'it is a named pipe'],
    ['an endless device', 'endless', 'it is larger than 16 MiB'],
    ['a folder', 'folder', 'it is a folder'],
    ['nothing', 'absent', 'ENOENT'],
  ])('for %s', (_, name, message) => {
    const path = join(folder, name);
    const before = readdirSync('/proc/self/fd').length;
    for (const read of [
      () => readEnvFile(path),
      () => readLabelFile(path),
      () => parseSecurityOption(`seccomp=${path}`),
    ]) {
      expect(read).toThrow(new RegExp(`^cannot read (env file|label file|seccomp profile) ${path}: ${message}`));
    }
    if (name !== 'absent') expect(() => readDockerConfig(path)).toThrow(`cannot read ${path}: ${message}`);
    expect(readdirSync('/proc/self/fd')).toHaveLength(before);
  });

  test('for a socket', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(folder, 'socket'), resolve));
    expect(() => readUserFile(join(folder, 'socket'))).toThrow(/ENXIO/);
    await new Promise((resolve) => server.close(resolve));
  });
});

describe('what the caller passes on as a descriptor is read', () => {
  // The error of a bad line shows that the file was read.
  test.each([
    ['-', `printf 'a b=1' | "$TSVM" create --env-file - none`],
    ['/dev/stdin', `printf 'a b=1' | "$TSVM" create --env-file /dev/stdin none`],
    ['/dev/stdin of a file', `printf 'a b=1' > text; "$TSVM" create --env-file /dev/stdin none < text`],
    ['a pipe of the shell', `"$TSVM" create --env-file <(sleep 0.1; printf 'a b=1') none`],
  ])('%s', (_, script) => {
    const { status, stderr } = spawnSync('bash', ['-c', script], {
      ...{ cwd: folder, encoding: 'utf8' as const },
      env: { ...process.env, TSVM, TSVM_HOME: join(folder, 'home') },
    });
    expect({ status, stderr }).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/^tsvm: env file \S+, line 1: variable 'a b' contains whitespaces/),
    });
  });
});
