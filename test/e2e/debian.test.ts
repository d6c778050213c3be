import { mkdtempSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore } from '../../images/index.js';
import { debianImages } from '../fixtures/debian-images.js';
import { machines, tsvmRun } from './machine.js';

/** Images, and a program of each with what it says. */
const IMAGES: [tag: string, argv: string[], says: RegExp][] = [
  ['python3', ['python3', '-c', 'import ssl, sqlite3; print("python", 6 * 7)'], /^python 42\n$/],
  ['nodejs', ['node', '-p', '"node " + 6 * 7'], /^node 42\n$/],
  ['nginx', ['nginx', '-t'], /test is successful\n$/],
];

/** A store that the lab has too: the images are converted here, once for all machines. */
let home: string;
let layout: string;

beforeAll(async () => {
  layout = debianImages();
  home = mkdtempSync('/var/tmp/tsvm-test-');
  for (const [tag] of IMAGES) await openStore(home).resolve(`oci:${layout}:${tag}`);
});

afterAll(() => rmSync(home, { recursive: true }));

describe.each(machines)('on $name', (machine) => {
  test.each(IMAGES)(
    'Debian with %s runs, and each of its files is as the packages have it',
    async (tag, argv, says) => {
      const env = { TSVM_HOME: home };
      const { code, stdout, stderr } = await tsvmRun(machine, [`oci:${layout}:${tag}`, ...argv], { env });
      expect(code).toBe(0);
      expect(tag === 'nginx' ? stderr : stdout).toMatch(says);
      // It names what is missing or changed.
      const verified = await tsvmRun(machine, [`oci:${layout}:${tag}`, 'dpkg', '--verify'], { env });
      expect(verified).toEqual({ code: 0, stdout: '', stderr: '' });
    },
  );
});
