// The commands of private networks, in a home without containers.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let home: string;

beforeEach(() => {
  home = mkdtempSync('/tmp/tsvm-test-');
});

afterEach(() => rmSync(home, { recursive: true }));

function network(...args: string[]) {
  const env = { ...process.env, TSVM_HOME: home };
  const { status, stdout, stderr } = spawnSync(TSVM, ['network', ...args], { encoding: 'utf8', env });
  return { status, stdout, stderr };
}

const said = (stdout: string) => ({ status: 0, stdout, stderr: '' });

test('a network is created, listed, inspected and removed', () => {
  const id = network('create', '--label', 'team=a', '--internal', 'lan').stdout.trim();
  expect(id).toMatch(/^[0-9a-f]{64}$/);
  expect(network('ls')).toEqual(
    said(`NETWORK ID     NAME   DRIVER    SCOPE\n${id.slice(0, 12)}   lan    private   local\n`),
  );
  expect(network('ls', '-q', '--no-trunc', '-f', 'label=team=a', '-f', 'driver=private')).toEqual(said(`${id}\n`));
  expect(network('ls', '--format', '{{.Name}} {{.Internal}} {{.Labels}}')).toEqual(said('lan true team=a\n'));
  expect(JSON.parse(network('inspect', 'lan').stdout)).toEqual([
    {
      ...{ Name: 'lan', Id: id, Scope: 'local', Driver: 'private', Internal: true },
      Created: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      Containers: {},
      Labels: { team: 'a' },
    },
  ]);
  expect(network('inspect', '-f', '{{.Name}}', id.slice(0, 12))).toEqual(said('lan\n'));
  expect(network('rm', 'lan')).toEqual(said('lan\n'));
  expect(network('ls', '-q')).toEqual(said(''));
});

test('a missing network is an error, except for rm --force; the others are removed', () => {
  network('create', 'lan');
  expect(network('rm', 'none', 'lan')).toMatchObject({ status: 125, stdout: 'lan\n' });
  expect(network('rm', '-f', 'none')).toEqual(said(''));
  expect(network('inspect', 'none')).toMatchObject({ status: 125, stdout: '[]\n' });
});

test('prune removes unused networks, selected by their labels', () => {
  for (const [name, tier] of [
    ['one', 'a'],
    ['two', 'b'],
  ] as const)
    network('create', '--label', `tier=${tier}`, name);
  expect(network('prune', '-f', '--filter', 'label=tier=b')).toEqual(said('Deleted Networks:\ntwo\n'));
  expect(network('ls', '--format', '{{.Name}}')).toEqual(said('one\n'));
});
