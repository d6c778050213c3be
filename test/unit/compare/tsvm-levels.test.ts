// The levels of this project: what `tsvm run` is called with.
import { expect, test } from 'vitest';
import { levelsOf } from '../../../compare/index.js';

const BUNDLE = {
  image: 'debian:12',
  config: {
    ...{ architecture: 'amd64', os: 'linux', created: '', Env: [], Entrypoint: [], Cmd: [], User: '' },
    ...{ WorkingDir: '', StopSignal: '', ExposedPorts: [], Volumes: [], Labels: {} },
  },
  ...{ rootfs: '/rootfs', shared: '/shared', folder: '/folder', memory: 2 ** 28 },
};

/** The words that start a sandbox of a level. */
async function startOf(name: string): Promise<readonly string[]> {
  const [level] = levelsOf([name]);
  await using prepared = await level!.prepare(BUNDLE, new AbortController().signal);
  return prepared.start('one', ['/.tsvm-gauge', 'idle']).words;
}

test.each(['tcg', 'uml', 'kvm'])('%s has the jail, and %s-nojail has none', async (name) => {
  const jailed = await startOf(name);
  expect(jailed).toEqual(expect.arrayContaining([`--accel=${name}`, '--jail=auto', '--network=none', '--read-only']));
  expect(jailed).not.toContain('--cold');
  const free = await startOf(`${name}-nojail`);
  expect(free).toEqual(jailed.map((word) => (word === '--jail=auto' ? '--jail=off' : word)));
});

test('kvm-cold differs from kvm in that its machines boot', async () => {
  const [warm, cold] = [await startOf('kvm'), await startOf('kvm-cold')];
  expect(cold).toContain('--cold');
  expect(cold.filter((word) => word !== '--cold')).toEqual(warm);
});
