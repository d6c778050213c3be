// What a jail that is required lacks is said of the process that lacks it.
import { describe, expect, test } from 'vitest';
import { type JailReport, whatIsMissing } from '../../../sandbox/jail-report.js';

const complete: JailReport = {
  ...{ files: 'namespace', network: 'namespace', processes: 'namespace', sockets: 'namespace', ipc: 'namespace' },
  ...{ user: true, uid: 1000, landlock: 4 },
};
const machine: JailReport = { ...complete, seccomp: 'kill' };
const companion: JailReport = { ...complete, seccomp: 'refuse' };
const noNamespaces: Partial<JailReport> = { ipc: null, noNamespaces: 'clone: EPERM' };
const noUser: Partial<JailReport> = { uid: 0, noUser: 'all are in use' };

const LACKS: [lacking: Partial<JailReport>, said: string][] = [
  [noNamespaces, 'no namespaces for ipc (clone: EPERM)'],
  [noUser, 'no user of its own (all are in use)'],
];

test('a complete jail lacks nothing, with and without a companion', () => {
  expect(whatIsMissing(machine, '')).toBeUndefined();
  expect(whatIsMissing({ ...machine, companion }, 'QEMU')).toBeUndefined();
});

test.each(LACKS)('%o: %s', (lacking, said) => {
  expect(whatIsMissing({ ...machine, ...lacking, companion }, 'QEMU')).toBe(said);
});

describe.each(['QEMU', 'User-Mode Linux'])('the companion is %s', (name) => {
  test.each(LACKS)('%o: %s', (lacking, said) => {
    const report = { ...machine, companion: { ...companion, ...lacking } };
    expect(whatIsMissing(report, name)).toBe(`${name}: ${said}`);
  });

  test('no filter', () => {
    const report: JailReport = { ...machine, companion: { ...companion, seccomp: 'log' } };
    expect(whatIsMissing(report, name)).toBe(`no filter of system calls confines ${name}`);
  });
});

test('no jail', () => {
  expect(whatIsMissing(undefined, '')).toBe('there is no jail');
  expect(whatIsMissing({ ...machine, seccomp: 'log' }, '')).toBe('no filter of system calls ends the machine process');
});
