// Clones of one container, whatever programs draw in them, have nothing in common that must be their
// own. TSVM_CLONES makes them as many as there is time and memory for.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore } from '../../images/index.js';
import { debianImages } from '../fixtures/debian-images.js';
import { isLab, machines, run, TSVM } from './machine.js';
import { script } from './script.js';

const PROGRAMS = fileURLToPath(new URL('../fixtures/guest-programs', import.meta.url));
/** How many clones run at once. */
const CLONES = Number(process.env.TSVM_CLONES ?? 4);
/** The maximum time for one of them, in milliseconds, above that of the rest. */
const TIMEOUT = 240_000;
/** What the source keeps. All else is drawn anew each time. */
const KEPT = /^(\/|address$)/;

/** A folder that every machine sees, with a home. */
let folder: string;
let home: string;
/** ID of an image with all the programs. */
let image: string;

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  home = join(folder, 'home');
  image = (await openStore(home).resolve(`oci:${debianImages()}:servers`)).digest;
});

afterAll(() => rmSync(folder, { recursive: true }));

const kvm = machines.filter((machine) => isLab(machine) || machine.name.endsWith('kvm'));

describe.each(kvm)('on $name', (machine) => {
  const here = (text: string, timeout: number) => script(machine, text, { env: { TSVM_HOME: home }, timeout });
  const clean = () =>
    run(machine, ['sh', '-c', `'${TSVM}' ps -aq | xargs -r '${TSVM}' rm -f`], { env: { TSVM_HOME: home } });

  test(`${CLONES} clones at once, their source then and their source now share nothing that must be their own`, {
    timeout: 600_000 + CLONES * TIMEOUT,
  }, async () => {
    const text = `
        tsvm run -d --name source -m 128m --disk 64m -v ${PROGRAMS}:/programs:ro ${image} perl /programs/clones/draw.pl > /dev/null
        containers=$(dirname $(dirname $(tsvm inspect -f '{{.LogPath}}' source)))
        source=$(tsvm ps -q --no-trunc)
        ended() { until test $(grep -c '"log":"end' $containers/$1/log.json) -ge $2; do sleep 1; done; }
        ended $source 1
        tsvm fork -n ${CLONES} source > /dev/null
        clones=$(tsvm ps -q --no-trunc | grep -v $source)
        for each in $clones; do ended $each 1; done
        # The agent adds entropy by this file, which is one of all mounts of a devtmpfs.
        tsvm exec --privileged source sh -c '
          mount -t devtmpfs dev /mnt; rm /mnt/urandom; mknod /mnt/urandom c 1 3; touch /again'
        tsvm fork -n 2 source 2>&1 && echo 'forked all the same'
        tsvm ps -aq | wc -l
        ls -A $containers/../snapshots
        ended $source 2
        for each in $source $clones; do echo "== $each"; cat $containers/$each/log.json; done
        tsvm rm -f source $clones > /dev/null`;
    try {
      const said = (await here(text, 540_000 + CLONES * TIMEOUT)).trimEnd();
      const [before = '', ...logs] = said.split(/^== .*\n/m);
      const refusal = expect.stringMatching(/^tsvm: add entropy: /);
      expect(before.trimEnd().split('\n')).toEqual([refusal, refusal, String(CLONES + 1)]);
      expect(logs).toHaveLength(CLONES + 1);
      const lines = logs.map((log) =>
        log
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line).log.trimEnd() as string),
      );
      // Of each clone, the first value may have been drawn before.
      const drawn = lines.flatMap((log, at) => {
        const values = log.filter((line) => line.startsWith('drawn '));
        expect(values.length).toBeGreaterThan(6);
        return at === 0 ? values : values.slice(1);
      });
      expect(new Set(drawn).size).toBe(drawn.length);
      // The source says it twice.
      const identities = lines.flatMap((log) => log.join('\n').split(/^end$/m).slice(0, -1));
      expect(identities).toHaveLength(CLONES + 2);
      const values = identities.map((text) =>
        [...text.matchAll(/^is (\S+) (.+)$/gm)].map(([, name = '', value = '']) => ({ name, value })),
      );
      const names = values[0]!.map(({ name }) => name);
      expect(names).toHaveLength(15);
      for (const [row, name] of names.entries()) {
        const all = values.map((each) => each[row]!.value);
        expect(values.map((each) => each[row]!.name)).toEqual(all.map(() => name));
        const different = KEPT.test(name) ? all.slice(1) : all;
        expect(new Set(different).size, `${name}: ${all.join(', ')}`).toBe(different.length);
      }
    } finally {
      await clean();
    }
  });
});
