// What the gauge says of a sandbox is judged by what the host has: the same kernel, or one of its own.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PROBES } from '../../../compare/probe-list.js';
import { readProbes } from '../../../compare/probes.js';

const host = { boot: 'aaaa', release: '6.18', memory: '1000', process: 'node' };

const verdicts = (text: string) =>
  Object.fromEntries(readProbes(text, host).map(({ name, verdict }) => [name, verdict]));

test("an open door of the host's kernel is the host's, one of another kernel is the sandbox's own", () => {
  expect(verdicts('boot = aaaa\nrelease = 6.18\nbpf open \nclock closed Operation not permitted\n')).toEqual({
    boot: 'host',
    release: 'host',
    bpf: 'host',
    clock: 'closed',
  });
  expect(verdicts('boot = bbbb\nrelease = 6.18\nbpf open \n')).toEqual({ boot: 'own', release: 'host', bpf: 'own' });
});

test('a kernel without boot_id is told by its release', () => {
  expect(verdicts('boot = \nrelease = 4.4.0\nptrace open \n')).toMatchObject({ boot: 'closed', ptrace: 'own' });
});

test('a boot_id that is made up does not hide the kernel, nor does a kernel of the same release hide another', () => {
  const times = { ...host, 'boot-time': '1795859180' };
  const made = 'boot = bbbb\nrelease = 6.18\nbpf open \n';
  const of = (time: string) => readProbes(`${made}boot-time = ${time}\n`, times).find(({ name }) => name === 'bpf');
  expect(['1795859180', '1795859181', '1795859190', ''].map((time) => of(time)?.verdict)).toEqual([
    'host',
    'host',
    'own',
    'own',
  ]);
});

test('docs/compare.md has every probe with what it looks for and its source', () => {
  const text = readFileSync(new URL('../../../docs/compare.md', import.meta.url), 'utf8');
  for (const { name, title, source } of PROBES) expect(text).toContain(`| \`${name}\` | ${title} | ${source} |`);
});

test("what is reached outside of the kernel is the host's, whatever the kernel is", () => {
  expect(verdicts('boot = bbbb\nloopback open \nprocess = node\n')).toEqual({
    boot: 'own',
    process: 'host',
    loopback: 'host',
  });
});

test('what the gauge left out is left out, and what it says beside is ignored', () => {
  expect(verdicts('')).toEqual({});
  expect(verdicts('nonsense open \n= = =\nbpf maybe\n')).toEqual({});
});
