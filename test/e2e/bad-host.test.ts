// A host without a usable KVM, or a file that is not a kernel, gives a one-line error.
import { describe, expect, test } from 'vitest';
import { DEBIAN, fastest, isLab, isUml, type Machine, machines, run, TSVM } from './machine.js';

// Mounts are made in a mount namespace: the host's /dev stays as it is.
const ENTER = ['unshare', '--mount', '--propagation', 'private', 'bash', '-ec'];

/** On a machine, runs the shell commands `prepare`, then tsvm with the command prefix `as`. */
const runner =
  (machine: Machine) =>
  (prepare: string, as = '', words = `--accel kvm ${DEBIAN}`) =>
    run(machine, [...ENTER, `${prepare}; ${as} "$TSVM" run --rm ${words} true`], { env: { TSVM } });

const oneLine = (message: RegExp) => ({
  code: 125,
  stdout: '',
  stderr: expect.stringMatching(new RegExp(`^tsvm: [^\\n]*${message.source}[^\\n]*\\n$`)),
});

const devices = ['null 3', 'zero 5', 'random 8', 'urandom 9'];
const nodes = devices
  .map((device) => device.split(' '))
  .map(([name, minor]) => `mknod -m 666 /dev/${name} c 1 ${minor}`);
/** Hides /dev/kvm. */
const hide = ['mount -t tmpfs none /dev', ...nodes].join('; ');

describe.each(fastest)('on $name', (machine) => {
  const runOn = runner(machine);

  test('a missing /dev/kvm is no reason to emulate with --isolation vm', async () => {
    const words = `--accel auto --isolation vm ${DEBIAN}`;
    expect(await runOn(hide, '', words)).toEqual(oneLine(/isolation vm needs it/));
  });

  test('a /dev/kvm without permission is a one-line error', async () => {
    const forbid = `${hide}; mknod -m 600 /dev/kvm c 10 232; chown 65534 /dev/kvm`;
    const bounded = 'setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search';
    expect(await runOn(forbid, bounded)).toEqual(oneLine(/\/dev\/kvm/));
  });

  test('a /dev/kvm that is another device is a one-line error', async () => {
    expect(await runOn(`${hide}; mknod -m 666 /dev/kvm c 1 3`)).toEqual(oneLine(/KVM|kvm/));
  });
});

// What a host whose KVM works has found out before is no reason for another error.
describe.each(machines)('on $name', (machine) => {
  const runOn = runner(machine);

  test('a missing /dev/kvm is a one-line error', async () => {
    expect(await runOn(hide)).toEqual(oneLine(/\/dev\/kvm/));
  });

  test('a --kernel file that is not a kernel is a one-line error', async () => {
    const accel = isLab(machine) ? 'kvm' : isUml(machine) ? 'uml' : 'tcg';
    expect(await runOn('true', '', `--accel ${accel} --kernel /etc/passwd ${DEBIAN}`)).toEqual(oneLine(/kernel/));
  });
});
