// Proves that a name belongs to one container at a time, whatever processes compete for it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Container } from '../../../../sandbox/containers/container.js';
import { checkName } from '../../../../sandbox/home/container-names.js';
import { Home } from '../../../../sandbox/home/home.js';
import { randomName } from '../../../../sandbox/home/random-name.js';
import { bundleProgram } from './bundle.js';
import { makeContainer } from './containers.js';

let home: Home;

beforeEach(() => {
  home = new Home(mkdtempSync('/tmp/tsvm-test-'));
});

afterEach(() => rmSync(home.path, { recursive: true }));

test('one of ten processes that claim the same name gets it', async () => {
  const program = join(home.path, 'claim.cjs');
  const env = bundleProgram(
    `import { Home } from './sandbox/home/home.ts';
      import { makeContainer } from './test/unit/sandbox/home/containers.ts';
      (async () => {
        for (const name of ['one', 'two', 'three']) {
          await makeContainer(new Home(process.argv[2]), name).then(() => console.log(name), (error) => console.log(error.code));
        }
      })();`,
    program,
  );
  const said = await Promise.all(
    Array.from({ length: 10 }, async () => {
      const child = spawn(process.execPath, [program, home.path], { env, stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      child.stdout.on('data', (chunk) => {
        text += chunk;
      });
      await once(child, 'close');
      return text.trimEnd().split('\n');
    }),
  );
  const words = said.flat();
  for (const name of ['one', 'two', 'three']) expect(words.filter((word) => word === name)).toHaveLength(1);
  expect(words.filter((word) => word === 'conflict')).toHaveLength(27);
});

test('a name is free again when its container was removed or has vanished', async () => {
  const first = await makeContainer(home, 'box');
  await expect(makeContainer(home, 'box')).rejects.toMatchObject({ code: 'conflict' });
  // As after a crash between the removal of the folder and of the name.
  first.remove(home.runtime);
  const second = await makeContainer(home, 'box');
  expect(home.containers.names.ownerOf('box')).toBe(second.id);
  await Container.find(home, 'box').remove();
  expect(home.containers.names.ownerOf('box')).toBeUndefined();
});

test('a renamed container has only the new name', async () => {
  const { id } = await makeContainer(home, 'box');
  await makeContainer(home, 'other');
  const container = Container.find(home, 'box');
  await expect(container.rename('other')).rejects.toMatchObject({ code: 'conflict' });
  await container.rename('chest');
  expect(home.containers.names.all().get(id)).toBe('chest');
  expect(home.containers.names.ownerOf('box')).toBeUndefined();
  await expect(container.rename('-x')).rejects.toMatchObject({ code: 'bad-spec' });
});

test.each(['a', '', '.x', '-x', '../x', 'a/b', 'ü1', 'x'.repeat(256), 'a b', 'a\n'])(
  '%j is not a valid name',
  (name) => {
    expect(() => checkName(name)).toThrow(/invalid container name/);
  },
);

test('random names are valid and rarely repeat', () => {
  const names = Array.from({ length: 1000 }, () => randomName(9));
  for (const name of names) checkName(name);
  expect(new Set(names).size).toBeGreaterThan(990);
});
