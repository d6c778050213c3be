// Images made of Debian packages run, and dpkg finds every file as its package has it.
import { mkdtempSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore } from '../../images/index.js';
import { debianImages } from '../fixtures/debian-images.js';
import { fastest, tsvmRun } from './machine.js';

/** Images, each with a program and its expected output. */
const IMAGES: [tag: string, argv: string[], says: { stdout: unknown; stderr: unknown }][] = [
  ['python3', ['python3', '-c', 'import ssl, sqlite3; print("python", 6 * 7)'], { stdout: 'python 42\n', stderr: '' }],
  ['nodejs', ['node', '-p', '"node " + 6 * 7'], { stdout: 'node 42\n', stderr: '' }],
  ['nginx', ['nginx', '-t'], { stdout: '', stderr: expect.stringMatching(/test is successful\n$/) }],
];

/** A store that the lab sees too: the images are converted here, once for all machines. */
let home: string;
let layout: string;

beforeAll(async () => {
  layout = debianImages();
  home = mkdtempSync('/var/tmp/tsvm-test-');
  for (const [tag] of IMAGES) await openStore(home).resolve(`oci:${layout}:${tag}`);
});

afterAll(() => rmSync(home, { recursive: true }));

describe.each(fastest)('on $name', (machine) => {
  test.each(IMAGES)('Debian with %s runs, each file as its package has it', async (tag, argv, says) => {
    // dpkg prints only the files that are missing or changed.
    const script = ['sh', '-c', '"$0" "$@" && dpkg --verify', ...argv];
    const result = await tsvmRun(machine, [`oci:${layout}:${tag}`, ...script], { env: { TSVM_HOME: home } });
    expect(result).toEqual({ code: 0, ...says });
  });
});
