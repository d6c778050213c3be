// Proves that the death of any process of a pod, at any time, is told truthfully by podman, and
// that nothing is left of it.
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { Random } from '../fixtures/random.js';
import { IMAGE, Podman } from './podman.js';

const NAMES = ['one', 'two'];
/** By the command line. */
const ROLES = {
  conmon: /^\S*conmon .*-c /,
  stub: /tsvm-oci create /,
  keeper: /keeper\.js create/,
  // With User-Mode Linux, its kernel too.
  machine: /machine\.cjs|^\S+ mem=/,
};
type Role = keyof typeof ROLES;
/** Of each role. */
const KILLS = Number(process.env.TSVM_KILLS ?? 2);
/** Milliseconds after which the containers of a pod may run. */
const START = 2500;
const SEED = Number(process.env.TSVM_KILLS_SEED ?? 18);

let podman: Podman;

beforeAll(() => {
  podman = new Podman('tsvm-oci-kills');
});
afterAll(() => podman[Symbol.dispose]());

function processes(role: Role): string[] {
  const lines = podman.engine.run(['ps', '-e', '-o', 'pid=,args=']).stdout.split('\n');
  const found = lines.flatMap((line) => {
    const [, pid = '', words = ''] = /^ *(\d+) (.*)$/.exec(line) ?? [];
    return ROLES[role].test(words) ? [pid] : [];
  });
  return found;
}

/** Kills one process of a role once there is one. */
async function killOne(role: Role, random: Random): Promise<void> {
  for (;;) {
    const found = processes(role);
    // It may end in between, as a call does.
    if (found.length > 0 && podman.engine.run(['kill', '-KILL', random.pick(found)]).status === 0) return;
    await setTimeout(20);
  }
}

/** A container that podman says runs does run, and no other one. */
const isTrue = (id: string) => {
  const isRunning = podman.inspect(id, '.State.Status') === 'running';
  return (podman.call('exec', id, 'echo', 'here').stdout === 'here\n') === isRunning;
};

test.each(Object.keys(ROLES) as Role[])('a killed %s, while a pod starts and while it runs', async (role) => {
  const random = new Random(SEED + role.length);
  onTestFinished(() => {
    podman.call('pod', 'rm', '--force', '--time', '0', 'killed');
  });
  for (let kills = 0; kills < KILLS; kills++) {
    podman.makePod('killed', '--network', 'none');
    for (const name of NAMES) {
      const made = podman.call('create', '--pod', 'killed', '--name', name, IMAGE, 'sleep', '1000');
      expect(made).toMatchObject({ status: 0, stderr: '' });
    }
    const start = podman.start('pod', 'start', 'killed');
    const started = once(start, 'exit');
    if (random.chance(0.5)) await setTimeout(random.below(START));
    else await started;
    await killOne(role, random);
    await started;
    const infra = JSON.parse(podman.call('pod', 'inspect', 'killed').stdout).InfraContainerID;
    for (const id of [infra, ...NAMES]) await expect.poll(() => isTrue(id)).toBe(true);

    expect(podman.call('pod', 'rm', '--force', '--time', '0', 'killed').status).toBe(0);
    await expect.poll(() => podman.engine.containers).toEqual([]);
    // podman has the runtime delete a container by conmon, with any runtime.
    const { states } = podman;
    if (role !== 'conmon') expect(states).toEqual([]);
    for (const id of states) expect(podman.runtime('delete', '--force', id)).toMatchObject({ status: 0, stderr: '' });
    expect(podman.left).toEqual([]);
  }
});
