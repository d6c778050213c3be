// A container that names no machine runs on KVM, else on User-Mode Linux, else on the emulator; `ps`,
// `inspect`, `doctor` and a warning say which and why.
import { afterAll, expect, test } from 'vitest';
import { DEBIAN, run, TSVM, uml } from './machine.js';

/** No machine is named. */
const env = { TSVM_ACCEL: '' };
const names: string[] = [];
const tsvm = (...words: string[]) => run(uml, [TSVM, ...words], { env });

afterAll(() => tsvm('rm', '-f', ...names));

/** What a container with these options runs on, and why. */
async function machineOf(name: string, ...options: string[]) {
  names.push(name);
  const started = await tsvm('run', '-d', '--name', name, '--network', 'none', ...options, DEBIAN, 'sleep', '1000');
  expect(started).toMatchObject({ code: 0 });
  const inspected = await tsvm('inspect', name);
  const { Accelerator, AcceleratorReason } = JSON.parse(inspected.stdout)[0].State;
  const listed = await tsvm('ps', '--filter', `name=${name}`, '--format', '{{.Accelerator}}');
  expect(listed.stdout).toBe(`${Accelerator}\n`);
  return { accelerator: Accelerator, reason: AcceleratorReason, said: started.stderr };
}

test('which machine is taken, and why', async () => {
  const { kvm, accelerator } = JSON.parse((await tsvm('doctor', '--format', 'json')).stdout);
  expect(accelerator).toBe(kvm.usable ? 'kvm' : 'uml');

  const one = await machineOf('takes-one');
  const several = await machineOf('takes-several', '--cpus', '2');
  if (kvm.usable) {
    const onKvm = { accelerator: 'kvm', reason: '', said: '' };
    expect([one, several]).toEqual([onKvm, onKvm]);
    return;
  }
  expect(one).toMatchObject({ accelerator: 'uml', reason: expect.stringMatching(/kvm/i) });
  expect(several).toMatchObject({
    accelerator: 'tcg',
    reason: expect.stringMatching(/kvm.*; not User-Mode Linux: it has one CPU, and 2 are asked for$/i),
  });
  expect(`${one.said}${several.said}`).toContain('--cpus 1 is safe');
});
