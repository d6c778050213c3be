// `tsvm compare` on each machine: a level with a kernel of its own is measured, answers every probe,
// and no door that opens in it is the host's.
import { describe, expect, test } from 'vitest';
import { type Report, ReportSchema } from '../../compare/index.js';
import { OPERATIONS, TCP_OPERATIONS } from '../../compare/measures.js';
import { PROBES } from '../../compare/probe-list.js';
import { tar } from '../fixtures/tar-writer.js';
import { isLab, type Machine, machines, run, TSVM } from './machine.js';

/** It has nothing but a folder. */
const IMAGE = 'compare-empty:1';

async function compare(machine: Machine, words: readonly string[]): Promise<Report> {
  const imported = await run(machine, [TSVM, '-q', 'import', '-', IMAGE], {
    stdin: tar([{ path: 'etc/', type: '5', mode: 0o755 }]),
  });
  expect([imported.code, imported.stderr]).toEqual([0, '']);
  const { code, stdout, stderr } = await run(machine, [TSVM, '-q', 'compare', '--format', 'json', ...words, IMAGE]);
  expect([code, stderr]).toEqual([0, '']);
  return ReportSchema.parse(JSON.parse(stdout));
}

const levelOf = (machine: Machine): string => (isLab(machine) ? 'kvm' : machine.name.split(' ').at(-1)!);

/** The programs of the host that code in a machine faces. Debian's User-Mode Linux is several processes. */
const FACES: Record<string, string[]> = {
  kvm: ['node'],
  tcg: ['node', 'qemu-system-x86'],
  uml: ['kernel', 'node'],
};

// All measures take seven minutes in the lab: there, the probes alone try its level.
describe.each(machines.filter((machine) => !isLab(machine)))('on $name', (machine) => {
  const level = levelOf(machine);

  test('the level of its machines gives every measure', async () => {
    const report = await compare(machine, ['--levels', level, '--rounds', '1', '--at-once', '2']);
    expect(report).toMatchObject({ complete: true, rounds: 1, levels: [{ state: 'measured' }] });
    expect(report.levels[0]?.notMeasured).toEqual([]);
    const operations = [...OPERATIONS, ...TCP_OPERATIONS].map(({ name }) => name);
    const names = ['start', 'memory', 'cache', 'enter', ...operations, 'start-2', 'memory-2'];
    expect(report.levels[0]?.measures.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
    const { allowed, tried, made, processes = [] } = report.levels[0]?.surface ?? {};
    // The tuned kernel's file has another name than Debian's.
    const faces = processes.filter((each) => each.faces).map(({ name }) => name.replace('vmlinux', 'kernel'));
    expect([...new Set(faces)].sort()).toEqual(FACES[level]);
    expect(allowed?.length).toBeGreaterThan(20);
    expect(allowed?.length).toBeLessThan(150);
    expect(tried).toBeLessThanOrEqual(allowed?.length ?? 0);
    expect(made?.map(({ name }) => name)).not.toContain('getppid');
  });
});

describe.each(machines)('on $name', (machine) => {
  test('the level of its machines answers every probe, and none reaches the host', async () => {
    const [found] = (await compare(machine, ['--levels', levelOf(machine), '--probes'])).levels;
    expect(found?.probes.map(({ name }) => name)).toEqual(PROBES.map(({ name }) => name));
    const doors = PROBES.filter(({ kind }) => kind !== 'value').map(({ name }) => name);
    const host = found?.probes.filter(({ name, verdict }) => verdict === 'host' && doors.includes(name));
    expect(host?.map(({ name }) => name)).toEqual([]);
  });
});
