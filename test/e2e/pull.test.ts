import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { registryConfig, startRegistry } from '../fixtures/registry.js';
import { DEBIAN, type Machine, machines, type Result, run, TSVM } from './machine.js';

const PORT = 5999;
const NAME = `127.0.0.1:${PORT}/debian:12`;

/** A folder that the lab has too. */
let folder: string;
let config: string;

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  const archive = join(folder, 'debian.tar');
  execFileSync(TSVM, ['save', '-o', archive, DEBIAN]);
  await using registry = await startRegistry(join(folder, 'registry'));
  const to = `docker://${registry.host}/debian:12`;
  execFileSync('skopeo', ['copy', '-q', '--dest-tls-verify=false', `oci-archive:${archive}`, to]);
  config = registryConfig(join(folder, 'registry'), `127.0.0.1:${PORT}`);
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Runs tsvm beside a registry. The lab has a network of its own, so that each machine has its own registry. */
function besideRegistry(machine: Machine, ...words: string[]): Promise<Result> {
  const script = `
    docker-registry serve ${config} >/dev/null 2>&1 &
    until (: < /dev/tcp/127.0.0.1/${PORT}) 2>/dev/null; do sleep 0.1; done
    "$@"; code=$?
    kill %1
    exit $code`;
  const env = { TSVM_HOME: join(folder, machine.name) };
  return run(machine, ['bash', '-c', script, 'bash', TSVM, ...words], { env });
}

describe.each(machines)('on $name', (machine) => {
  test('run pulls the image that it lacks, once', async () => {
    const first = await besideRegistry(machine, 'run', NAME, 'cat', '/etc/debian_version');
    expect(first).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^12\.\d+\n$/),
      stderr: expect.stringMatching(
        /^Unable to find image '127\.0\.0\.1:5999\/debian:12' locally\n(.*\n)*\w{12}: Download complete\n/,
      ),
    });
    // The registry is gone, and nobody asks for it.
    const words = [TSVM, 'run', NAME, 'echo', 'again'];
    expect(await run(machine, words, { env: { TSVM_HOME: join(folder, machine.name) } })).toEqual({
      code: 0,
      stdout: 'again\n',
      stderr: '',
    });
  });
});
