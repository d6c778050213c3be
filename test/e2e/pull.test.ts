// `run` pulls an image that the store lacks from a registry.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildDumpTree, writeLayeredImage } from '../fixtures/layered-image.js';
import { registryConfig, startRegistry } from '../fixtures/registry.js';
import { push } from '../unit/images/registry/scene.js';
import { fastest, type Machine, type Result, run, TSVM } from './machine.js';

const PORT = 5999;
const NAME = `127.0.0.1:${PORT}/app:1`;

/** A folder that the lab sees too. */
let folder: string;
let config: string;

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  const { layout } = writeLayeredImage(join(folder, 'image'), buildDumpTree(folder), { layers: 12 });
  await using registry = await startRegistry(join(folder, 'registry'));
  await push(layout, `${registry.host}/app:1`);
  config = registryConfig(join(folder, 'registry'), `127.0.0.1:${PORT}`);
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Runs tsvm beside a registry on the same machine: the lab has a network of its own. */
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

describe.each(fastest)('on $name', (machine) => {
  test('run pulls a missing image once', async () => {
    const first = await besideRegistry(machine, 'run', NAME);
    expect(first.code).toBe(0);
    expect(first.stdout).toContain('\n/special/zeros ');
    expect(first.stderr).toMatch(/^Unable to find image '127\.0\.0\.1:5999\/app:1' locally\n\w{12}: Pulling \d+/);
    expect(first.stderr.match(/^\w{12}: Download complete$/gm)).toHaveLength(12);
    // The registry has ended: the second run does not need it.
    const again = await run(machine, [TSVM, 'run', NAME], { env: { TSVM_HOME: join(folder, machine.name) } });
    expect(again).toEqual({ code: 0, stdout: first.stdout, stderr: '' });
  });
});
