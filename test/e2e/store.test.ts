// The image store survives kills of its writers, and works read-only.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildDumpTree } from '../fixtures/layered-image.js';
import { writeLayout } from '../fixtures/oci-layout.js';
import { tar } from '../fixtures/tar-writer.js';
import { fastest, run, TSVM } from './machine.js';

const ROUNDS = 8;

/** A folder that the lab sees too, with the layouts `one` and `two`. */
let folder: string;

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  const program = { path: 'bin/dump', mode: 0o755, data: readFileSync(buildDumpTree(folder)) };
  for (const name of ['one', 'two']) {
    const layers = [tar([program]), tar([{ path: `tree/${name}`, data: name }])];
    writeLayout(join(folder, name), layers, { tag: `${name}:1`, config: { Cmd: ['/bin/dump', '/tree'] } });
  }
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Repeatedly kills two writing commands at random moments, then runs each listed image. */
const KILL_AND_RUN = `
  for round in $(seq ${ROUNDS}); do
    "$TSVM" load -q -i "$FOLDER/one" > /dev/null & first=$!
    if [ $((round % 2)) = 0 ]; then "$TSVM" prune -af > /dev/null & else "$TSVM" load -q -i "$FOLDER/two" > /dev/null & fi
    second=$!
    sleep "$((RANDOM % 2)).$((RANDOM % 10))"; kill -9 $first
    sleep "0.$((RANDOM % 10))"; kill -9 $second
    wait
  done 2> /dev/null
  "$TSVM" load -q -i "$FOLDER/one"
  for image in $("$TSVM" images --format '{{.Repository}}:{{.Tag}}'); do
    "$TSVM" run --rm "$image" > "$FOLDER/out" || exit 1
    grep -q "${'$'}{image%:1}" "$FOLDER/out" || exit 2
  done
  find "$TSVM_HOME"/store-*/tmp -mindepth 1
`;

/** Uses a home that a mount makes read-only for these processes. */
const READ_ONLY = `
  mount --bind "$TSVM_HOME" "$TSVM_HOME" && mount -o remount,ro,bind "$TSVM_HOME" || exit 1
  "$TSVM" images --format '{{.Repository}}'
  "$TSVM" run --rm one:1 | grep -o one
  "$TSVM" rmi one:1
`;

describe.each(fastest)('on $name', (machine) => {
  const env = () => ({ TSVM, FOLDER: folder, TSVM_HOME: join(folder, machine.name.replaceAll(' ', '-')) });

  test(`images of a store whose writers were killed ${2 * ROUNDS} times run`, async () => {
    const { code, stdout } = await run(machine, ['bash', '-c', KILL_AND_RUN], { env: env() });
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'Loaded image: one:1\n' });
  });

  test('a read-only home runs its images and refuses to remove them', async () => {
    expect(
      (await run(machine, ['bash', '-c', '"$TSVM" prune -af; "$TSVM" load -i "$FOLDER/one"'], { env: env() })).code,
    ).toBe(0);
    const { code, stdout, stderr } = await run(machine, ['unshare', '-m', 'bash', '-c', READ_ONLY], { env: env() });
    expect({ code, stdout }).toEqual({ code: 125, stdout: 'one\none\n' });
    expect(stderr).toMatch(/^(.*warning.*\n)*tsvm: the image store .* is read-only\n$/);
  });
});
