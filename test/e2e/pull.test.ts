// `run` pulls an image that the store lacks from a registry.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildDumpTree, writeLayeredImage } from '../fixtures/layered-image.js';
import { type RunningRegistry, startRegistry } from '../fixtures/registry.js';
import { push } from '../unit/images/registry/scene.js';
import { fastest, run, TSVM } from './machine.js';

let folder: string;
let registry: RunningRegistry;

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  const { layout } = writeLayeredImage(join(folder, 'image'), buildDumpTree(folder), { layers: 12 });
  registry = await startRegistry(join(folder, 'registry'));
  await push(layout, `${registry.host}/app:1`);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

describe.each(fastest)('on $name', (machine) => {
  test('run pulls a missing image once', async () => {
    const name = `${registry.host}/app:1`;
    const words = [TSVM, 'run', name];
    const env = { TSVM_HOME: join(folder, machine.name) };
    const first = await run(machine, words, { env });
    expect(first.code).toBe(0);
    expect(first.stdout).toContain('\n/special/zeros ');
    const [unable, ...lines] = first.stderr.split('\n');
    expect(unable).toBe(`Unable to find image '${name}' locally`);
    expect(lines[0]).toMatch(/^\w{12}: Pulling \d+/);
    expect(lines.filter((line) => /^\w{12}: Download complete$/.test(line))).toHaveLength(12);
    // The second run does not need the registry.
    await registry[Symbol.asyncDispose]();
    const again = await run(machine, words, { env });
    expect(again).toEqual({ code: 0, stdout: first.stdout, stderr: '' });
  });
});
